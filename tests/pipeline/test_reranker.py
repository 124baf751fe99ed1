"""A reranker's scores against transformers' own forward of each pair alone, and what is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.errors import ConfigError
from pipeline.inference import EmbeddingModel, load_untrained
from pipeline.model.compression import Chorus
from pipeline.model.pooling import LastToken
from pipeline.phase import Mixture
from pipeline.recipe import Recipe
from pipeline.recipes.magic import ANSWERS
from pipeline.reranker import Reranker
from pipeline.roles import Role
from pipeline.sample import Side, Turn, joined
from pipeline.targets import Relevance
from tests.pipeline.conftest import disturb
from tests.pipeline.corpus import picture, sentence, small_recipe
from tests.pipeline.own_forward import own_states


def comparing(**phase: object) -> Recipe:
    """The small recipe as a reranker's."""
    base = small_recipe()
    fields = {
        "layout": ANSWERS,
        "mixture": Mixture(pairs=4, sub_batch=1, outside=0, own_sides=("query",)),
        "target": Relevance(least=1, most=2),
        "contrastive_weight": 0.0,
        "language_weight": 1.0,
    }
    phase_of_it = replace(base.phase, **{**fields, **phase})  # type: ignore[arg-type]
    return replace(base, tokens=Chorus(count=0), pooling=LastToken(Role.CONTEXT), phases=(phase_of_it,))


@pytest.fixture(scope="module")
def model(model_folder: Path) -> EmbeddingModel:
    loaded = load_untrained(model_folder, comparing())
    disturb(loaded.embedder)
    return loaded


def pairs() -> list[tuple[Side, Side]]:
    """A query with two pictures among its words, one whose picture has no place there, and texts."""
    rng = np.random.default_rng(7)
    two = Side(instruction="Find ", text="<|image_1|> beside <|image_2|>", images=(picture(rng, 84, 56), picture(rng)))
    bare = Side(text=sentence(rng), images=(picture(rng),))
    return [(two, bare), (bare, Side(text=sentence(rng))), (Side(text=sentence(rng)), two), (bare, bare)]


def test_pictures_are_numbered_on_where_sides_are_joined() -> None:
    one = Side(instruction="See <|image_1|>, ", text="<|image_2|> too", images=(b"a", b"b"))
    found = joined(
        [("Query:", one), ("Candidate 1:", Side(text=" words ")), ("Candidate 2:", Side(text="last", images=(b"c", b"d")))]
    )
    assert found.text == (
        "Query:\nSee <|image_1|>, <|image_2|> too\nCandidate 1:\nwords\nCandidate 2:\n<|image_3|><|image_4|>last"
    )
    assert found.images == (b"a", b"b", b"c", b"d") and not found.instruction and not found.turns


@torch.no_grad()
def test_scores_are_those_of_each_pair_alone_in_transformers_own_forward(model: EmbeddingModel) -> None:
    reranker, expected = Reranker.of(model), []
    ordered = pairs()
    for query, candidate in ordered:
        side = reranker.words.compared(query, [candidate])
        row = model.reader.row(side, (Turn(question="Does the candidate answer the query? Say Yes or No."),), slot=0)
        logits = model.embedder.backbone.model.lm_head(own_states(model.embedder, row)[-1])
        yes, no = (int(model.builder.vocabulary.encode(word)[0]) for word in ("Yes", "No"))
        expected.append(float(torch.logit(torch.softmax(logits[[yes, no]].double(), dim=0)[0])))
    found = reranker.scores(ordered)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert found.dtype == np.float32 and len({round(score, 4) for score in expected}) > 1
    np.testing.assert_allclose(reranker.scores(ordered[::-1]), found[::-1], atol=1e-4)
    assert len(reranker.scores([])) == 0


def test_candidates_that_the_model_is_sure_about_are_not_tied(model: EmbeddingModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two whose P(yes) is 1 in float32."""
    reranker = Reranker.of(model)
    logits = torch.zeros(2, model.embedder.backbone.vocab_size)
    logits[:, reranker.yes] = torch.tensor([30.0, 20.0])
    monkeypatch.setattr(type(model.embedder.backbone), "logits", lambda self, states: logits)
    query = Side(text="a")
    assert reranker.scores([(query, Side(text="b")), (query, Side(text="c"))]).tolist() == [30.0, 20.0]


def test_what_was_not_trained_to_rerank_is_refused(model_folder: Path, recipe: Recipe) -> None:
    with pytest.raises(ConfigError, match="recipe tiny was not trained to rerank; name a checkpoint of one that was"):
        Reranker.of(load_untrained(model_folder, recipe))
    same = load_untrained(model_folder, comparing())
    same = replace(same, builder=replace(same.builder, vocabulary=replace(same.builder.vocabulary, encode=lambda text: [5])))
    with pytest.raises(ConfigError, match="begins Yes and No with the same token"):
        Reranker.of(same)
