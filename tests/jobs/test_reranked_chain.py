"""Magic-MM-Embedding's chain with its reranker, from the toy world to both rankings, by the commands that a user calls."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.manifest import canonical_json, write_atomic
from pipeline.negatives import Judged, Mined
from pipeline.phase import Phase
from pipeline.recipe import Recipe, ToyWorld
from pipeline.recipes import load
from tests.pipeline.corpus import SMALL

pytestmark = pytest.mark.slow


def small(recipe: Recipe) -> Recipe:
    """Three steps a phase of a two-layer model over a toy world of a few hundred pictures."""

    def short(phase: Phase) -> Phase:
        mixture = phase.mixture
        sizes = {"pairs": mixture.pairs and 8, "outside": mixture.outside and 8, "sub_batch": min(8, mixture.sub_batch)}
        mixture = replace(mixture, **sizes, weights=())  # type: ignore[arg-type]
        windows = {Mined: Mined(most=2, first_rank=2, last_rank=9), Judged: Judged(most=3, top=6)}
        negatives = windows.get(type(phase.negatives), phase.negatives)
        return replace(phase, steps=3, mixture=mixture, negatives=negatives, held_out=4, evaluate_every=3, checkpoint_every=3)

    toy = ToyWorld(seed=1, train_rows=56, eval_rows=12, conversations=60, mcq_rows=8)
    return replace(recipe, backbone=SMALL, toy=toy, phases=tuple(map(short, recipe.phases)))


def called(*words: str | Path) -> str:
    environment = {**os.environ, "DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-m", *map(str, words)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_a_toy_chain_ends_with_both_rankings(tmp_path: Path) -> None:
    work, data = tmp_path / "work", tmp_path / "work" / "toy"
    recipes = {name: tmp_path / f"{name}.json" for name in ("tiny_magic", "tiny_magic_reranker")}
    for name, file in recipes.items():
        write_atomic(file, canonical_json(small(load(name))))
    called("launchers.cli", "run", "--recipe", recipes["tiny_magic"], "--work", work, "--until", "train")
    embedder = json.loads((work / "train" / "manifest.json").read_text())["run_id"]
    before = {path: path.stat().st_mtime_ns for path in work.glob("*/manifest.json")}
    called("launchers.cli", "run", "--recipe", recipes["tiny_magic_reranker"], "--work", work, "--until", "train")
    changed = {path.parent.name for path, made in before.items() if path.stat().st_mtime_ns != made}
    assert changed <= {"train", "lengths"}, "nothing else of the embedder's chain is made again"
    words = ("eval.mmeb", "--work", work, "--run-id", embedder, "--data", data, "--out", tmp_path / "out")
    said = called(*words, "--rerank", work / "train", "--top", "3")
    assert "E+R" in said and "mmeb-reranked.json" in said
    found = json.loads((tmp_path / "out" / "mmeb-reranked.json").read_text())
    assert found["top"] == 3 and len(found["embeddings"]["datasets"]) == len(found["reranked"]["datasets"]) > 5
    one = [tuple(each["ranks"]["better"]) for each in found["embeddings"]["datasets"]]
    other = [tuple(each["ranks"]["better"]) for each in found["reranked"]["datasets"]]
    assert one != other, "something is ranked anew"
    refused = subprocess.run([sys.executable, "-m", *map(str, words), "--rerank", str(work / "train-mined")], capture_output=True)
    assert refused.returncode == 1 and b"was not trained to rerank" in refused.stderr and b"Traceback" not in refused.stderr
    processes = called(*words[:-1], tmp_path / "two", "--rerank", work / "train", "--top", "3", "--processes", "2")
    assert "E+R" in processes
    names = ("mmeb.json", "mmeb-reranked.json", "mmeb-reranked.parquet")
    assert all((tmp_path / "two" / name).read_bytes() == (tmp_path / "out" / name).read_bytes() for name in names)
