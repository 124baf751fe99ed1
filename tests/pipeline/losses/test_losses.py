"""InfoNCE and the language loss against references written out here."""

import math

import pytest
import torch

from pipeline.errors import ConfigError
from pipeline.losses.contrastive import InfoNCE, precision_at_1
from pipeline.losses.language import NextToken


def reference_info_nce(queries: torch.Tensor, candidates: torch.Tensor, temperature: float) -> float:
    """Eq. 3 term by term."""
    total = 0.0
    for i, query in enumerate(queries):
        terms = [math.exp(float(query @ candidate) / temperature) for candidate in candidates]
        total -= math.log(terms[i] / sum(terms))
    return total / len(queries)


def owners(queries: int, hard: int = 0) -> torch.Tensor:
    """Positives are their queries'; hard negatives are all of query 0."""
    return torch.tensor([*range(queries), *[0] * hard])


def test_info_nce_equals_the_reference_and_log_n_when_all_are_equal() -> None:
    torch.manual_seed(0)
    queries, candidates = (torch.nn.functional.normalize(torch.randn(n, 8), dim=1) for n in (5, 9))
    found = float(InfoNCE(temperature=0.3)(queries, candidates, torch.arange(9), owners(5, 4)))
    assert math.isclose(found, reference_info_nce(queries, candidates, 0.3), rel_tol=1e-5)
    same = torch.ones(6, 4) / 2
    assert math.isclose(float(InfoNCE(temperature=0.02)(same, same, torch.arange(6), owners(6))), math.log(6), rel_tol=1e-6)


def test_masked_duplicates_are_no_negatives() -> None:
    """Candidates 0 and 2 are the same item: with the mask each query that wants it competes with the other items only."""
    same, items = torch.ones(4, 4) / 2, torch.tensor([7, 8, 7, 9])
    masked = InfoNCE(temperature=0.02, mask_duplicates=True)(same, same, items, owners(4))
    assert math.isclose(float(masked), (2 * math.log(3) + 2 * math.log(4)) / 4, rel_tol=1e-6)
    assert math.isclose(float(InfoNCE(temperature=0.02)(same, same, items, owners(4))), math.log(4), rel_tol=1e-6)


def test_a_hard_negative_may_be_a_duplicate_too() -> None:
    """Positives 7 and 8, hard negatives 8 and 9, all embeddings equal: query 1 loses the candidate that is its own item."""
    same, items = torch.ones(4, 4) / 2, torch.tensor([7, 8, 8, 9])
    masked = InfoNCE(temperature=0.02, mask_duplicates=True)(same[:2], same, items, owners(2, 2))
    assert math.isclose(float(masked), (math.log(4) + math.log(3)) / 2, rel_tol=1e-6)
    assert math.isclose(float(InfoNCE(temperature=0.02)(same[:2], same, items, owners(2, 2))), math.log(4), rel_tol=1e-6)


def test_hard_negatives_are_of_every_query_or_of_their_own_alone() -> None:
    """Three queries and four hard negatives, all embeddings equal: two of query 0, one of query 2, one of nobody."""
    same, items, own = torch.ones(7, 4) / 2, torch.arange(7), torch.tensor([0, 1, 2, 0, 0, 2, -1])
    shared = InfoNCE(temperature=0.02)(same[:3], same, items, own)
    assert math.isclose(float(shared), math.log(7), rel_tol=1e-6)
    alone = InfoNCE(temperature=0.02, hard="own")(same[:3], same, items, own)
    assert math.isclose(float(alone), (math.log(5) + math.log(3) + math.log(4)) / 3, rel_tol=1e-6)


def test_equal_embeddings_score_chance_never_one() -> None:
    same = torch.ones(10, 4) / 2
    assert math.isclose(precision_at_1(same, same), 0.1, rel_tol=1e-6)
    assert precision_at_1(torch.eye(4), torch.eye(4)) == 1.0


def test_precision_at_1_by_hand() -> None:
    """A query looks along its own row: right; wrong, though no other query scores its positive higher; tied with a negative."""
    candidates = torch.eye(4)
    queries = torch.tensor([[0.9, 0.2, 0.3, 0.1], [0.6, 0.5, 0.1, 0.2], [0.1, 0.4, 0.7, 0.7]])
    assert math.isclose(precision_at_1(queries, candidates), (1 + 0 + 1 / 2) / 3, rel_tol=1e-6)


def test_language_loss_is_a_mean_per_sample_then_over_samples() -> None:
    """Hand-worked: samples of 1 and 3 tokens with losses 4 and (1, 2, 3): sample mean (4 + 2) / 2 = 3, token mean 10 / 4."""
    losses, row_tokens, groups = torch.tensor([4.0, 1.0, 2.0, 3.0]), torch.tensor([1, 3, 3, 3]), torch.tensor([0, 0, 0, 0])
    for mean, expected in (("sample_mean", 3.0), ("token_mean", 2.5)):
        loss = NextToken(mean=mean)
        units = loss.units(1) + loss.units(3)
        assert float(loss.sums(losses, row_tokens, groups, 2)[0]) / units == expected


def test_own_and_outside_answers_have_means_of_their_own_or_one() -> None:
    """Hand-worked: own losses 4 and (1, 3), outside 6. Sample means 4, 2 and 6: apart 3 + 6 = 9, together 12 / 3 = 4.
    Token means: apart 8 / 3 + 6, together 14 / 4.
    """
    losses, row_tokens, groups = torch.tensor([4.0, 1.0, 3.0, 6.0]), torch.tensor([1, 2, 2, 1]), torch.tensor([0, 0, 0, 1])
    found = {}
    for mean in ("sample_mean", "token_mean"):
        for kind in ("apart", "together"):
            loss = NextToken(mean=mean, groups=kind)
            units = torch.tensor([loss.units(1) + loss.units(2), loss.units(1)])
            found[mean, kind] = float((loss.sums(losses, row_tokens, groups, 2) / loss.divisors(units, 9)).sum())
    expected = {
        ("sample_mean", "apart"): 9.0, ("sample_mean", "together"): 4.0,
        ("token_mean", "apart"): 8 / 3 + 6, ("token_mean", "together"): 3.5,
    }  # fmt: skip
    assert found == pytest.approx(expected)
    assert NextToken().divisors(torch.zeros(2), 9).tolist() == [1.0, 1.0]


def test_own_answers_may_be_divided_by_the_pairs_of_the_batch() -> None:
    """Hand-worked: of eight pairs two are asked, with means 4 and (1 + 3) / 2; a conversation has 6: 6 / 8 + 6."""
    losses, row_tokens, groups = torch.tensor([4.0, 1.0, 3.0, 6.0]), torch.tensor([1, 2, 2, 1]), torch.tensor([0, 0, 0, 1])
    loss = NextToken(per="pairs")
    sums, units = loss.sums(losses, row_tokens, groups, 2), torch.tensor([2.0, 1.0])
    assert (sums / loss.divisors(units, 8)).tolist() == [6 / 8, 6.0]
    assert (sums / NextToken().divisors(units, 8)).tolist() == [3.0, 6.0]
    with pytest.raises(ConfigError, match=r"language\.per: pairs takes rows' own means"):
        NextToken(per="pairs", mean="token_mean")


def test_groups_are_summed_apart_and_chunks_add_up() -> None:
    loss = NextToken()
    losses, row_tokens, groups = torch.tensor([4.0, 1.0, 3.0]), torch.tensor([1, 2, 2]), torch.tensor([0, 1, 1])
    whole = loss.sums(losses, row_tokens, groups, 2)
    parts = sum(loss.sums(losses[i : i + 1], row_tokens[i : i + 1], groups[i : i + 1], 2) for i in range(3))
    assert whole.tolist() == [4.0, 2.0] == parts.tolist()
    assert loss.units(0) == 0.0
