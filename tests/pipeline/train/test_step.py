"""Gradient caching against the plain full-batch gradient, for every ZeRO stage, chunking and number of ranks."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.batch import pack
from pipeline.errors import DataError
from pipeline.losses.language import NextToken
from pipeline.losses.weights import Stepwise
from pipeline.recipe import Recipe
from pipeline.sample import Turn
from pipeline.train.build import build_embedder, chorus_ids
from pipeline.train.dataloader.step_dataset import StepDataset
from pipeline.train.distributed import PATIENCE
from pipeline.train.step import train_step
from tests.pipeline.corpus import corpus, measured, small_recipe, variant
from tests.pipeline.train.ranks import again_recipe, gradients, half_recipe, make, run_of, summed, taken_again, trial

Gradients = dict[str, torch.Tensor]
Case = tuple[str, int]
REPOSITORY = Path(__file__).parents[3]


def plain_gradients(
    folder: Path, recipe: Recipe, step: int = 0, weights: tuple[float, float] = (1.0, 0.5)
) -> dict[str, torch.Tensor]:
    """The definition: one packed batch of all rows, one graph, Eq. 5 written out, no cache, no chunks, no DeepSpeed."""
    phase = recipe.phase
    embedder, opened = build_embedder(folder, recipe, dtype=torch.float32)
    vocabulary = opened.vocabulary(chorus_ids(opened, recipe))
    dataset = StepDataset(measured(corpus(), recipe, vocabulary), recipe, vocabulary)
    rows = dataset.global_rows(dataset.draw(step), step)
    batch = pack(rows, recipe.phase.layout, recipe.pooling.positions)
    outputs = embedder(batch)
    contrastive = torch.zeros(())
    if phase.mixture.pairs:
        embeddings = torch.zeros(len(batch.slots), embedder.width).index_put((batch.slots,), outputs.embeddings)
        queries, candidates = embeddings[: phase.mixture.pairs], embeddings[phase.mixture.pairs :]
        scores = queries @ candidates.T / 0.02
        contrastive = -(scores.diagonal() - scores.logsumexp(dim=1)).mean()
    means: dict[int, list[torch.Tensor]] = {0: [], 1: []}
    place = 0
    for row in rows:
        if row.num_scored:
            means[row.loss_group].append(outputs.token_losses[place : place + row.num_scored].mean())
            place += row.num_scored
    groups = [means[0] + means[1]] if recipe.phase.language.groups == "together" else [found for found in means.values() if found]
    language = sum((torch.stack(group).mean() for group in groups), torch.zeros(()))
    (weights[0] * contrastive + weights[1] * language).backward()
    return {name: p.grad for name, p in embedder.named_parameters() if p.grad is not None}


def worst(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> float:
    """Largest relative difference over tensors, in the l2 norm; no tensor may be missing."""
    assert set(expected) <= set(found), sorted(set(expected) - set(found))
    return max(
        float((found[name] - tensor).norm() / (tensor.norm() + 1e-12))
        for name, tensor in expected.items()
        if tensor.norm() > 1e-6
    )


@pytest.mark.parametrize(("budget", "kept"), [(10**6, 0), (300, 0), (300, 2), (300, 100)])
def test_cached_gradients_equal_the_full_batch(model_folder: Path, budget: int, kept: int) -> None:
    recipe = small_recipe(chunk_tokens=budget, kept_chunks=kept)
    assert worst(gradients(model_folder, recipe), plain_gradients(model_folder, recipe)) < 1e-5


@pytest.mark.parametrize("budget", [10**6, 300])
def test_hard_negatives_are_candidates_of_every_query(model_folder: Path, budget: int) -> None:
    recipe = variant("together", chunk_tokens=budget)
    found = trial(model_folder, recipe)
    assert worst(found["gradients"], plain_gradients(model_folder, recipe)) < 1e-5
    fewer = trial(model_folder, variant("joint"))["report"]
    assert found["report"]["contrastive"] > fewer["contrastive"], "more candidates, a larger sum below the line"


@pytest.mark.parametrize("name", ["answers", "retrieval"])
def test_either_kind_of_rows_may_be_missing(model_folder: Path, name: str) -> None:
    recipe = variant(name, kept_chunks=1)
    found = trial(model_folder, recipe)
    assert worst(found["gradients"], plain_gradients(model_folder, recipe)) < 1e-5
    kinds = {"answers": {"outside_language"}, "retrieval": {"contrastive", "precision_at_1"}}
    assert {name for name, value in found["report"].items() if value is not None} == kinds[name] | {"gradient_norm", "pairs"}
    full_and_compressed = {"held_out/outside_language_full", "held_out/outside_language_compressed"}
    held_out = {"answers": full_and_compressed, "retrieval": {"held_out/contrastive", "held_out/precision_at_1"}}
    assert set(found["held_out"]) == held_out[name]


def test_one_mean_over_own_and_outside_answers(model_folder: Path) -> None:
    recipe = small_recipe().with_phase(language=NextToken(groups="together"))
    assert worst(gradients(model_folder, recipe), plain_gradients(model_folder, recipe)) < 1e-5


@pytest.mark.parametrize(("step", "weights"), [(1, (1.0, 5.0)), (3, (1.0, 0.0)), (4, (0.0, 2.0))])
def test_weights_follow_their_steps(model_folder: Path, step: int, weights: tuple[float, float]) -> None:
    """Steps 0 and 1 weigh answers with 5, 2 and 3 retrieve only, from 4 on the model only answers."""
    recipe = small_recipe(
        contrastive_weight=Stepwise(((0, 1.0), (4, 0.0))), language_weight=Stepwise(((0, 5.0), (2, 0.0), (4, 2.0)))
    )
    expected = plain_gradients(model_folder, small_recipe(), step, weights)
    assert worst(gradients(model_folder, recipe, step), expected) < 1e-5


VARIANTS = {"answers": (0, 2), "retrieval": (1, 3), "together": (2,)}
"""Mixtures, and the ZeRO stages at which two ranks train them."""

ALIKE = (("elastic", 1), ("elastic", 3), ("distilled", 3))
"""Other variants, and the ZeRO stages at which two ranks train them."""

UNEVEN = (("frozen", 1), ("frozen", 3), ("trained", 2))
"""Towers and ZeRO stages of the steps in which one rank has all pictures."""

AGAIN = (("frozen", 0), ("trained", 1), ("frozen", 2), ("trained", 3))
"""Towers and ZeRO stages of the steps that are taken twice."""

MORE_VARIANTS = {"answers": (1, 3), "retrieval": (0, 2)}
MORE_UNEVEN = (("frozen", 0), ("frozen", 2), ("trained", 3))
MORE_AGAIN = (("trained", 0), ("frozen", 1), ("trained", 2), ("frozen", 3))
"""What slow tests add to these: together they are every stage."""

STEPS = (3, 3, 20, 3)
"""Of the runs, by ZeRO stage."""


@pytest.fixture(scope="module")
def two_ranks(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All that two gloo ranks do, in one start of the processes; what slow tests add is done in another."""
    out = tmp_path_factory.mktemp("ranks")
    job = {"variants": [*pairs(VARIANTS), *ALIKE], "uneven": UNEVEN, "again": AGAIN, "steps": STEPS, "train": str(out / "train")}
    run_ranks({"folder": str(model_folder), "chunk_tokens": 250, **job}, out)
    return out


@pytest.fixture(scope="module")
def more_ranks(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("more-ranks")
    job = {"variants": pairs(MORE_VARIANTS), "uneven": MORE_UNEVEN, "again": MORE_AGAIN}
    run_ranks({"folder": str(model_folder), "chunk_tokens": 250, **job}, out)
    return out


def pairs(variants: dict[str, tuple[int, ...]]) -> list[tuple[str, int]]:
    return [(name, stage) for name, stages in variants.items() for stage in stages]


def cases(usual: Iterable[Case], more: Iterable[Case]) -> list[Any]:
    """Parameters: the fixture that makes a case's file, and the case."""
    slow = [pytest.param("more_ranks", *case, marks=pytest.mark.slow) for case in more]
    return [*(("two_ranks", *case) for case in usual), *slow]


def run_ranks(job: dict[str, object], out: Path, num_ranks: int = 2, program: str = "tests.pipeline.train.ranks") -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    common = {
        **os.environ,
        "WORLD_SIZE": str(num_ranks),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", program, str(out)]
    ranks = []
    for rank in range(num_ranks):
        environment = {**common, "RANK": str(rank), "LOCAL_RANK": str(rank)}
        log = (out / f"rank-{rank}.log").open("w")
        process = subprocess.Popen(
            command, cwd=REPOSITORY, env=environment, stdin=subprocess.PIPE, stdout=log, stderr=log, text=True
        )
        assert process.stdin is not None
        process.stdin.write(json.dumps(job))
        process.stdin.close()
        ranks.append(process)
    try:
        codes = [process.wait(timeout=600) for process in ranks]
    finally:
        for process in ranks:
            process.kill()
    assert codes == [0] * num_ranks, (out / "rank-0.log").read_text()[-2000:] + (out / "rank-1.log").read_text()[-2000:]


@pytest.mark.parametrize(("made", "tower", "stage"), cases(UNEVEN, MORE_UNEVEN))
def test_two_ranks_have_the_full_batch_gradient_at_every_zero_stage(
    request: pytest.FixtureRequest, model_folder: Path, made: str, tower: str, stage: int
) -> None:
    """One rank has no picture, and the ranks differ in tokens and in their natural numbers of chunks."""
    recipe = small_recipe().with_phase(tower=tower)
    found = torch.load(request.getfixturevalue(made) / f"uneven-{tower}-{stage}.pt", weights_only=True)
    (chunks, tokens, pictures), (other_chunks, other_tokens, no_pictures) = found["shares"]
    assert chunks != other_chunks and tokens != other_tokens and pictures > no_pictures == 0
    expected = plain_gradients(model_folder, recipe)
    assert float(expected["bank.rows"].norm()) > 1e-6, "the compression rows are among what is compared"
    assert worst(found["gradients"], expected) < 1e-5


@pytest.fixture(scope="module")
def by_tower(model_folder: Path) -> dict[str, Gradients]:
    """The full batch's gradients of step 0."""
    return {tower: plain_gradients(model_folder, small_recipe().with_phase(tower=tower)) for tower in ("frozen", "trained")}


@pytest.mark.parametrize(("made", "tower", "stage"), cases(AGAIN, MORE_AGAIN))
def test_a_step_taken_again_has_the_same_gradient(
    request: pytest.FixtureRequest, model_folder: Path, by_tower: dict[str, Gradients], made: str, tower: str, stage: int
) -> None:
    """Nothing of a step is left in the next, nor in one that a weight has no part in: on one rank and on two."""
    one = taken_again(model_folder, again_recipe(tower, stage))
    two = torch.load(request.getfixturevalue(made) / f"again-{tower}-{stage}.pt", weights_only=True)
    for found in (one, two):
        first, again = found["first"], found["again"]
        assert again["norm"] == first["norm"]
        assert all(torch.equal(gradient, first["gradients"][name]) for name, gradient in again["gradients"].items())
        assert worst(again["gradients"], by_tower[tower]) < 1e-5
        last = {name: gradient for name, gradient in found["no pictures"]["gradients"].items() if ".visual." in name}
        assert bool(last) == (tower == "trained") and not any(gradient.any() for gradient in last.values())


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_half_precision_gradients_are_added_up_in_float32(two_ranks: Path, half_chunks: Gradients, stage: int) -> None:
    """The same chunks' gradients, bfloat16 each, summed in float64.

    A sum of n numbers in float32 is off by at most n 2^-24 of its parts' sum, 1e-6 here; in bfloat16 it would be n 2^-8.
    """
    found = torch.load(two_ranks / f"half-{stage}.pt", weights_only=True)
    assert set(found) == set(half_chunks) and all(tensor.dtype == torch.float32 for tensor in found.values())
    assert worst({name: tensor.double() for name, tensor in found.items()}, half_chunks) < 1e-5


@pytest.fixture(scope="module")
def half_chunks(model_folder: Path) -> Gradients:
    """Each chunk's gradient by torch alone, the tower inside; two ranks' chunks one after another."""
    recipe = half_recipe(0)
    embedder, opened = build_embedder(model_folder, recipe, dtype=torch.float32)
    vocabulary = opened.vocabulary(chorus_ids(opened, recipe))
    read = measured(corpus(), recipe, vocabulary)
    for parameter in embedder.parameters():  # weights, not the rotary frequencies
        parameter.data = parameter.data.bfloat16()
    total: Gradients = {}
    for rank in range(2):
        dataset = StepDataset(read, recipe, vocabulary, rank=rank, num_ranks=2)
        for chunk in dataset.work(dataset.draw(0), 0).chunks:
            embedder.zero_grad()
            summed(embedder(chunk.full)).backward()
            found = {name: p.grad.double() for name, p in embedder.named_parameters() if p.grad is not None}
            total = {name: total.get(name, 0.0) + gradient for name, gradient in found.items()}
    return total


def test_half_precision_is_near_float32(model_folder: Path) -> None:
    """About forty roundings on the way there and back, each by up to 2^-9 of its number: 1.2 % where they are unrelated.

    Answers alone: a contrastive loss at temperature 0.02 has fifty times the rounding of its embeddings.
    """
    expected = plain_gradients(model_folder, variant("answers"))
    found = gradients(model_folder, variant("answers", dtype="bfloat16", zero_stage=2))
    flat = [torch.cat([some[name].flatten() for name in sorted(expected)]) for some in (found, expected)]
    assert float((flat[0] - flat[1]).norm() / flat[1].norm()) < 0.03


@pytest.mark.parametrize(("name", "stage"), ALIKE)
def test_two_ranks_are_one_for_elastic_tokens_and_for_self_distillation(
    two_ranks: Path, model_folder: Path, name: str, stage: int
) -> None:
    """That one rank's gradients are the full batch's is shown in test_elastic and test_self_distillation."""
    alone, found = trial(model_folder, variant(name)), torch.load(two_ranks / f"{name}-{stage}.pt", weights_only=True)
    assert worst(found["gradients"], alone["gradients"]) < 1e-5
    assert found["held_out"] == pytest.approx(alone["held_out"], rel=1e-4)
    assert found["report"]["contrastive"] == pytest.approx(alone["report"]["contrastive"], rel=1e-5)


@pytest.mark.parametrize(("made", "name", "stage"), cases(pairs(VARIANTS), pairs(MORE_VARIANTS)))
def test_two_ranks_are_one_for_every_mixture_and_zero_stage(
    request: pytest.FixtureRequest, model_folder: Path, made: str, name: str, stage: int
) -> None:
    expected, alone = plain_gradients(model_folder, variant(name)), trial(model_folder, variant(name))
    found = torch.load(request.getfixturevalue(made) / f"{name}-{stage}.pt", weights_only=True)
    assert worst(found["gradients"], expected) < 1e-5
    assert found["held_out"] == pytest.approx(alone["held_out"], rel=1e-4)


@pytest.fixture(scope="module")
def one_rank(model_folder: Path) -> dict[str, Any]:
    return run_of(model_folder, small_recipe(chunk_tokens=10**6), max(STEPS))


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_two_ranks_train_as_one(two_ranks: Path, one_rank: dict[str, Any], stage: int) -> None:
    """Losses of every step, and one move of the optimizer a global batch."""
    found, losses = torch.load(two_ranks / f"run-{stage}.pt", weights_only=True), one_rank["losses"]
    torch.testing.assert_close(found["losses"], losses[: STEPS[stage]], rtol=1e-5, atol=0.0)
    assert found["moves"] == {STEPS[stage]} and one_rank["moves"] == {max(STEPS)}
    assert set(found["weights"]) == set(one_rank["weights"])


def test_every_group_of_ranks_has_the_runs_patience(two_ranks: Path) -> None:
    """A group with its backend's own would end a run in which rank 0 alone is busy for longer."""
    found = torch.load(two_ranks / "run-2.pt", weights_only=True)["timeouts"]
    assert len(found) == 2 and set(found.values()) == {PATIENCE.total_seconds()}


def test_the_losses_of_that_run_fall_by_a_fifth(one_rank: dict[str, Any]) -> None:
    total = one_rank["losses"].sum(dim=1)
    assert len(total) >= 20 and total[-1] < 0.8 * total[0]


def test_two_ranks_run_from_one_table_of_lengths(two_ranks: Path, model_folder: Path) -> None:
    assert len(list((two_ranks / "lengths").glob("*.parquet"))) == 1
    lines = [json.loads(line) for line in (two_ranks / "train" / "metrics.jsonl").read_text().splitlines()]
    alone = trial(model_folder, small_recipe())["report"]
    assert lines[0]["contrastive"] == pytest.approx(alone["contrastive"], rel=1e-4) and len(lines) == 2


def test_losses_do_not_depend_on_the_chunk_budget(model_folder: Path) -> None:
    one, other, every = (trial(model_folder, small_recipe(chunk_tokens=budget))["report"] for budget in (10**6, 300, 1))
    assert other == pytest.approx(one, rel=1e-6) and every == pytest.approx(one, rel=1e-6)


class NoAnswers:
    """A table of questions that has none."""

    fingerprint = "none"

    def turns(self, dataset: str, key: str, side: str) -> tuple[Turn, ...]:
        return ()


def test_a_weighted_loss_without_a_value_is_an_error(model_folder: Path) -> None:
    phase = small_recipe().phase
    recipe = small_recipe(mixture=replace(phase.mixture, outside=0))
    engine, dataset = make(model_folder, recipe)
    dataset.corpus = replace(dataset.corpus, qa=NoAnswers())  # type: ignore[arg-type]
    work = dataset.work(dataset.draw(0), 0)
    with pytest.raises(DataError, match=r"language_weight: 0\.5 at this step, whose questions have no answer to score"):
        train_step(engine, work, recipe.phase, 1e-3)
    assert train_step(engine, replace(work, language_weight=0.0), recipe.phase, 1e-3).own_language is None
