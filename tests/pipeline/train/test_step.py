"""Gradient caching against the plain full-batch gradient, for every ZeRO stage, chunking and number of ranks."""

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipeline.batch import pack
from pipeline.losses.language import NextToken
from pipeline.losses.weights import Stepwise
from pipeline.recipe import Recipe
from pipeline.train.build import build_embedder, chorus_ids
from pipeline.train.feed import Feed
from tests.pipeline.corpus import corpus, measured, small_recipe, variant
from tests.pipeline.train.ranks import gradients, trial, weights_after

REPOSITORY = Path(__file__).parents[3]


def plain_gradients(
    folder: Path, recipe: Recipe, step: int = 0, weights: tuple[float, float] = (1.0, 0.5)
) -> dict[str, torch.Tensor]:
    """The definition: one packed batch of all rows, one graph, Eq. 5 written out, no cache, no chunks, no DeepSpeed."""
    phase = recipe.phases[0]
    embedder, opened = build_embedder(folder, recipe, dtype=torch.float32)
    vocabulary = opened.vocabulary(chorus_ids(opened, recipe))
    feed = Feed(measured(corpus(), recipe, vocabulary), recipe, phase, vocabulary)
    rows = feed.global_rows(feed.draw(step), step)
    batch = pack(rows, recipe.layout, recipe.pooling.positions)
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
            means[row.group].append(outputs.token_losses[place : place + row.num_scored].mean())
            place += row.num_scored
    groups = [means[0] + means[1]] if recipe.language.groups == "together" else [found for found in means.values() if found]
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
    assert {name for name, value in found["report"].items() if value is not None} == kinds[name] | {"gradient_norm"}
    full_and_compressed = {"held_out/outside_language_full", "held_out/outside_language_compressed"}
    held_out = {"answers": full_and_compressed, "retrieval": {"held_out/contrastive", "held_out/precision_at_1"}}
    assert set(found["held_out"]) == held_out[name]


def test_one_mean_over_own_and_outside_answers(model_folder: Path) -> None:
    recipe = replace(small_recipe(), language=NextToken(groups="together"))
    assert worst(gradients(model_folder, recipe), plain_gradients(model_folder, recipe)) < 1e-5


@pytest.mark.parametrize(("step", "weights"), [(1, (1.0, 5.0)), (2, (1.0, 0.0)), (4, (0.0, 2.0))])
def test_weights_follow_their_steps(model_folder: Path, step: int, weights: tuple[float, float]) -> None:
    """Steps 0 and 1 weigh answers with 5, 2 and 3 retrieve only, from 4 on the model only answers."""
    recipe = small_recipe(
        contrastive_weight=Stepwise(((0, 1.0), (4, 0.0))), language_weight=Stepwise(((0, 5.0), (2, 0.0), (4, 2.0)))
    )
    expected = plain_gradients(model_folder, small_recipe(), step, weights)
    assert worst(gradients(model_folder, recipe, step), expected) < 1e-5


@pytest.fixture(scope="module")
def two_ranks(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Gradients and three steps of every ZeRO stage on two gloo ranks with different natural numbers of chunks."""
    out = tmp_path_factory.mktemp("ranks")
    run_ranks(
        {
            "folder": str(model_folder),
            "stages": [0, 1, 2, 3],
            "chunk_tokens": 250,
            "kept_chunks": 1,
            "steps": 3,
            "tower": "trained",
        },
        out,
    )
    return out


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
    codes = [process.wait(timeout=300) for process in ranks]
    assert codes == [0] * num_ranks, (out / "rank-0.log").read_text()[-2000:] + (out / "rank-1.log").read_text()[-2000:]


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_two_ranks_have_the_full_batch_gradient_at_every_zero_stage(two_ranks: Path, model_folder: Path, stage: int) -> None:
    recipe = replace(small_recipe(), tower="trained")
    found = torch.load(two_ranks / f"gradients-{stage}.pt", weights_only=True)
    assert worst(found, plain_gradients(model_folder, recipe)) < 1e-5


VARIANTS = {"answers": (0, 1, 2, 3), "retrieval": (0, 1, 2, 3), "together": (2,)}
"""Mixtures, and the ZeRO stages at which two ranks train them."""


@pytest.fixture(scope="module")
def variants_on_two_ranks(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("variants")
    runs = [(name, stage) for name, stages in VARIANTS.items() for stage in stages]
    run_ranks({"folder": str(model_folder), "variants": runs, "chunk_tokens": 250}, out)
    return out


@pytest.mark.parametrize("name", VARIANTS)
def test_two_ranks_are_one_for_every_mixture_and_zero_stage(variants_on_two_ranks: Path, model_folder: Path, name: str) -> None:
    recipe = variant(name)
    expected, alone = plain_gradients(model_folder, recipe), trial(model_folder, recipe)
    for stage in VARIANTS[name]:
        found = torch.load(variants_on_two_ranks / f"{name}-{stage}.pt", weights_only=True)
        assert worst(found["gradients"], expected) < 1e-5
        assert found["held_out"] == pytest.approx(alone["held_out"], rel=1e-4)


def test_two_ranks_run_from_one_table_of_lengths(model_folder: Path, tmp_path: Path) -> None:
    run_ranks({"folder": str(model_folder), "train": str(tmp_path / "train")}, tmp_path)
    assert len(list((tmp_path / "lengths").glob("*.parquet"))) == 1
    lines = [json.loads(line) for line in (tmp_path / "train" / "metrics.jsonl").read_text().splitlines()]
    _, losses = weights_after(model_folder, small_recipe(steps=2), 1)
    assert lines[0]["contrastive"] == pytest.approx(losses[0], rel=1e-4) and len(lines) == 2


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_two_ranks_train_as_one(two_ranks: Path, model_folder: Path, stage: int) -> None:
    found = torch.load(two_ranks / f"run-{stage}.pt", weights_only=True)
    weights, losses = weights_after(model_folder, small_recipe(chunk_tokens=10**6), 3)
    torch.testing.assert_close(torch.tensor(found["losses"]), torch.tensor(losses), atol=1e-4, rtol=1e-4)
    assert max(losses) > 0 and set(found["weights"]) == set(weights)
