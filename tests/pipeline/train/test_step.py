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
from pipeline.recipe import Recipe
from pipeline.train.build import build_embedder, chorus_ids
from pipeline.train.feed import Feed
from tests.pipeline.corpus import MemoryQa, corpus, small_recipe
from tests.pipeline.train.ranks import gradients, weights_after

REPOSITORY = Path(__file__).parents[3]


def plain_gradients(folder: Path, recipe: Recipe, step: int = 0) -> dict[str, torch.Tensor]:
    """The definition: one packed batch of all rows, one graph, Eq. 5 written out, no cache, no chunks, no DeepSpeed."""
    phase = recipe.phases[0]
    embedder, opened = build_embedder(folder, recipe, dtype=torch.float32)
    vocabulary = opened.vocabulary(chorus_ids(opened, recipe))
    feed = Feed(corpus(), MemoryQa(), recipe, phase, vocabulary)  # type: ignore[arg-type]
    rows = feed.global_rows(feed.draw(step), step)
    batch = pack(rows, recipe.layout, recipe.pooling.positions)
    outputs = embedder(batch)
    embeddings = torch.zeros(int(batch.slots.max()) + 1, embedder.width).index_put((batch.slots,), outputs.embeddings)
    queries, positives = embeddings.chunk(2)
    scores = queries @ positives.T / 0.02
    contrastive = -(scores.diagonal() - scores.logsumexp(dim=1)).mean()
    language = torch.zeros(())
    for group in (0, 1):
        means, place = [], 0
        for row in rows:
            if row.num_scored:
                if row.group == group:
                    means.append(outputs.token_losses[place : place + row.num_scored].mean())
                place += row.num_scored
        language = language + torch.stack(means).mean()
    (contrastive + 0.5 * language).backward()
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


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_two_ranks_train_as_one(two_ranks: Path, model_folder: Path, stage: int) -> None:
    found = torch.load(two_ranks / f"run-{stage}.pt", weights_only=True)
    weights, losses = weights_after(model_folder, small_recipe(chunk_tokens=10**6), 3)
    torch.testing.assert_close(torch.tensor(found["losses"]), torch.tensor(losses), atol=1e-4, rtol=1e-4)
    assert max(losses) > 0 and set(found["weights"]) == set(weights)
