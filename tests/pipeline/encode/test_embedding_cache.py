"""Blocks are read whole or not at all; what is damaged is encoded again."""

import hashlib
import io
import os
from pathlib import Path

import numpy as np
import pytest

from pipeline.encode.embedding_cache import EmbeddingCache
from pipeline.encode.encode import encode
from pipeline.encode.share import Encoding
from pipeline.encode.workload import key_of
from pipeline.errors import PipelineError
from tests.eval.fakes import FakeModel
from tests.pipeline.encode.test_encode import NUM, SIDES, expected


def keys(*numbers: int) -> np.ndarray:
    return np.array([bytes([number]) * 31 + bytes([7 * (number % 2)]) for number in numbers], dtype="S32")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(bytes(content))


def flip_a_key(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[200] ^= 1
    path.write_bytes(bytes(content))


def claim_more(path: Path) -> None:
    """A header of more keys than the file could hold."""
    content = path.read_bytes()
    claimed = content.replace(b"(20,), }   ", b"(20000,), }", 1)
    assert claimed != content
    path.write_bytes(claimed)


def test_vectors_are_found_by_their_keys_in_any_block(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path, "model")
    assert not cache.has(keys(1, 2)).any() and cache.width == 0
    first, second = np.arange(6.0).reshape(3, 2), np.arange(10.0, 14).reshape(2, 2)
    cache.add(keys(1, 2, 3), first)
    cache.add(keys(9, 4), second)
    for read in (cache, EmbeddingCache(tmp_path, "model")):
        assert read.has(keys(4, 5, 1, 9)).tolist() == [True, False, True, True] and read.width == 2
        out = np.zeros((4, 2), dtype=np.float32)
        read.read(keys(4, 1, 9, 3), out)
        assert out.tolist() == [second[1].tolist(), first[0].tolist(), second[0].tolist(), first[2].tolist()]
    assert not EmbeddingCache(tmp_path, "another").has(keys(1)).any()


@pytest.mark.parametrize("damage", [cut, empty, flip, flip_a_key, claim_more], ids=lambda function: function.__name__)
def test_a_damaged_block_is_said_and_encoded_again(tmp_path: Path, damage: object, caplog: pytest.LogCaptureFixture) -> None:
    how, again = Encoding(cache=tmp_path), FakeModel()
    encode(FakeModel(), SIDES[:20], what="a", how=how)
    encode(FakeModel(), SIDES, what="a", how=how)
    (small, _) = sorted(tmp_path.rglob("*.block"), key=lambda path: path.stat().st_size)
    damage(small)
    assert np.array_equal(encode(again, SIDES, what="a", how=how), expected(SIDES))
    assert len(again.embedded) == 20
    assert [record.message.startswith(f"{small}: damaged (") for record in caplog.records] == [True]
    encode(again, SIDES, what="a", how=how)
    assert len(again.embedded) == 20


def test_a_block_that_was_never_renamed_counts_for_nothing(tmp_path: Path) -> None:
    how = Encoding(cache=tmp_path)
    encode(FakeModel(), SIDES, what="a", how=how)
    (block,) = tmp_path.rglob("*.block")
    block.rename(block.with_name(f".{block.name}.x.aside"))
    again = FakeModel()
    encode(again, SIDES, what="a", how=how)
    assert len(again.embedded) == NUM


def test_embeddings_of_other_library_versions_are_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encode(FakeModel(), SIDES, what="a", how=Encoding(cache=tmp_path))
    monkeypatch.setattr("pipeline.encode.embedding_cache.version", lambda name: "9")
    again = FakeModel()
    encode(again, SIDES, what="a", how=Encoding(cache=tmp_path))
    assert len(again.embedded) == NUM


def test_a_block_is_two_arrays_as_numpy_writes_them_and_such_a_block_is_found(tmp_path: Path) -> None:
    """So that what a version of before, or after, has kept is found."""
    model, found = FakeModel(), np.array([key_of(side, FakeModel().reader.reading(side)) for side in SIDES], dtype="S32")
    cache, content = EmbeddingCache(tmp_path, model.encoder_fingerprint), io.BytesIO()
    np.save(content, found)
    np.save(content, expected(SIDES))
    (cache.folder / f"{hashlib.sha256(content.getvalue()).hexdigest()}.block").write_bytes(content.getvalue())
    assert np.array_equal(encode(model, SIDES, what="a", how=Encoding(cache=tmp_path)), expected(SIDES))
    assert model.embedded == []
    name = EmbeddingCache(tmp_path / "ours", "fake").add(found, expected(SIDES))
    (ours,) = (tmp_path / "ours").rglob(name)
    assert ours.read_bytes() == content.getvalue()


def test_many_blocks_need_no_open_file_each(tmp_path: Path) -> None:
    """A node that allows a process 1,024 would be out of them at two million sides."""
    cache = EmbeddingCache(tmp_path, "model")
    before = len(os.listdir("/proc/self/fd"))
    for number in range(30):
        cache.add(keys(number), np.full((1, 2), number))
    out = np.zeros((30, 2), dtype=np.float32)
    assert cache.has(keys(*range(30))).all()
    cache.read(keys(*range(30)), out)
    assert out[:, 0].tolist() == list(range(30))
    assert len(os.listdir("/proc/self/fd")) <= before + 3


def test_a_block_that_is_pruned_meanwhile_is_said(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path, "model")
    block = cache.folder / cache.add(keys(1), np.ones((1, 2)))
    assert cache.has(keys(1)).all()
    block.unlink()
    with pytest.raises(PipelineError, match=f"{block}: is gone; see to it that nothing else empties the folder"):
        cache.read(keys(1), np.zeros((1, 2), dtype=np.float32))
    assert not EmbeddingCache(tmp_path, "model").has(keys(1)).any()
