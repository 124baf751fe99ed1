"""The table by phase: what is called, what is measured of which folder, and what is printed."""

import json
from pathlib import Path

import pytest

from benchmarks import magic_stages
from benchmarks.magic_stages import stages, table
from eval.mmeb import MmebResult, RerankedResult
from eval.results import write_result
from tests.jobs.test_summary import result


def test_each_phase_is_measured_where_it_was_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, ...]] = []
    aside = tmp_path / "train.aside"
    monkeypatch.setattr(magic_stages, "find_made_by", lambda place, run_id: aside if run_id == "r1" else None)

    def call(*words: object) -> None:
        calls.append(tuple(map(str, words)))
        if "tiny_magic" in words:
            (tmp_path / "train").mkdir()
            (tmp_path / "train" / "manifest.json").write_text(json.dumps({"run_id": "r1"}))
        if words[0] == "eval.mmeb":
            out = Path(str(words[words.index("--out") + 1]))
            measured: MmebResult = result(0.5)
            write_result(measured, out / "mmeb.json")
            if "--rerank" in words:
                both = RerankedResult(reranker="r", top=5, embeddings=measured, reranked=measured)
                write_result(both, out / "mmeb-reranked.json")

    found = stages(tmp_path, 2, call)
    models = [Path(words[words.index("--model") + 1]) for words in calls if words[0] == "eval.mmeb"]
    assert models == [tmp_path / "train-restore", tmp_path / "train-warm", tmp_path / "train-mined", aside]
    assert calls[-1][-4:] == ("--rerank", str(tmp_path / "train"), "--top", "5")
    assert list(found) == ["restore", "warm", "mined", "judged", "judged, reranked"]
    stages(tmp_path, 2, call)
    assert sum("tiny_magic" in words for words in calls) == 1, "the embedder's training is gone on with"
    lines = table(found).splitlines()
    assert len(lines) == 2 + 5 and lines[2].startswith("| restore | ") and " to " in lines[2]
