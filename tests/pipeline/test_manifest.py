"""Fingerprints, whole-or-absent files and folders, and the manifest."""

import hashlib
import os
import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.errors import DataError
from pipeline.manifest import Manifest, atomic_folder, canonical_json, file_digest, fingerprint, tree_digest, write_atomic
from pipeline.roles import Role
from tests.faults import BREAKS


@dataclass(frozen=True)
class Shape:
    sides: int
    name: str = "triangle"


@dataclass(frozen=True)
class Other:
    sides: int
    name: str = "triangle"


def test_canonical_json_is_one_text_for_one_value() -> None:
    value = {"b": (1, 2.5), "a": Shape(3), "role": Role.ANSWER, "path": Path("x") / "y", "set": {"q", "p"}, "none": None}
    assert canonical_json(value) == (
        '{"a":{"name":"triangle","sides":3,"type":"Shape"},"b":[1,2.5],"none":null,"path":"x/y","role":"ANSWER","set":["p","q"]}'
    )
    assert canonical_json({"x": 1, "y": 2}) == canonical_json({"y": 2, "x": 1})


def test_fingerprint_is_the_digest_of_the_canonical_text_and_tells_types_apart() -> None:
    assert fingerprint([1, "a"]) == hashlib.sha256(b'[1,"a"]').hexdigest()
    assert fingerprint(Shape(3)) != fingerprint(Other(3))
    assert fingerprint(Shape(3)) != fingerprint(Shape(4))


def test_fingerprint_is_the_same_in_another_process() -> None:
    program = "from pipeline.manifest import fingerprint; print(fingerprint({'s': frozenset(['x', 'y', 'z']), 'n': (1, 2)}))"
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        output = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
        ).stdout
        assert output.strip() == fingerprint({"n": [1, 2], "s": frozenset(["z", "y", "x"])})


def test_values_without_a_stable_text_are_refused() -> None:
    with pytest.raises(TypeError, match="function"):
        fingerprint({"f": test_values_without_a_stable_text_are_refused})


def test_file_digest_is_sha256_over_more_than_one_piece(tmp_path: Path) -> None:
    content = random.Random(0).randbytes((1 << 20) + 17)
    (tmp_path / "big").write_bytes(content)
    assert file_digest(tmp_path / "big") == hashlib.sha256(content).hexdigest()


def test_tree_digest_sees_names_and_bytes_but_not_the_manifest_or_times(tmp_path: Path) -> None:
    def tree(name: str, files: dict[str, str]) -> str:
        for path, text in files.items():
            write_atomic(tmp_path / name / path, text)
        return tree_digest(tmp_path / name)

    first = tree("first", {"b": "2", "sub/a": "1"})
    assert tree("again", {"sub/a": "1", "b": "2", "manifest.json": "{}"}) == first
    assert tree("renamed", {"b": "2", "sub/c": "1"}) != first
    assert tree("changed", {"b": "2", "sub/a": "0"}) != first


def test_file_names_of_other_times_have_digests_too(tmp_path: Path) -> None:
    """Latin-1 names in an unpacked folder: no UTF-8, so Python reads their bytes as lone surrogates."""
    (tmp_path / os.fsdecode(b"caf\xe9.png")).touch()
    first = tree_digest(tmp_path)
    (tmp_path / os.fsdecode(b"caf\xe9.png")).rename(tmp_path / os.fsdecode(b"caf\xe8.png"))
    assert tree_digest(tmp_path) != first
    assert fingerprint(os.fsdecode(b"\xe9")) != fingerprint(os.fsdecode(b"\xe8"))


def test_write_atomic_replaces_whole_files_and_leaves_nothing_on_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "new" / "file.txt"
    write_atomic(target, "first")
    write_atomic(target, b"second")

    def refuse(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="disk full"):
        write_atomic(target, "third")
    assert target.read_text() == "second"
    assert os.listdir(target.parent) == ["file.txt"]


def test_write_atomic_honours_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_atomic(tmp_path / "file", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_folder_aside_takes_the_place_of_the_old_one_only_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "out"
    for word in ("one", "two"):
        with atomic_folder(target) as aside:
            assert list(aside.iterdir()) == []
            (aside / word).write_text(word)
            assert not (target / word).exists()
    assert [path.name for path in target.iterdir()] == ["two"]
    with pytest.raises(ValueError, match="stop"), atomic_folder(target) as aside:
        (aside / "three").write_text("three")
        raise ValueError("stop")
    assert [path.name for path in target.iterdir()] == ["two"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("moment", ["while written", "between the two renames"])
def test_folder_aside_survives_a_kill(tmp_path: Path, moment: str) -> None:
    target = tmp_path / "out"
    with atomic_folder(target) as aside:
        (aside / "old").write_text("old")
    program = f"""
import os, pathlib
from pipeline import manifest
real = os.replace
def replace(source, destination):
    if {moment == "between the two renames"} and str(destination) == {str(target)!r}:
        os._exit(9)
    real(source, destination)
os.replace = replace
with manifest.atomic_folder(pathlib.Path({str(target)!r})) as aside:
    (aside / "new").write_text("new")
    if {moment == "while written"}:
        os._exit(9)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 9
    with pytest.raises(ValueError, match="look"), atomic_folder(target):
        assert [path.name for path in target.iterdir()] == ["old"], "the old folder is put back first"
        raise ValueError("look")
    assert [path.name for path in tmp_path.iterdir()] == ["out"], "nothing of the killed run is left"


def test_manifest_round_trip_and_absence(tmp_path: Path) -> None:
    manifest = Manifest(stage="toy", fingerprint="f", inputs={"a": "1"}, outputs={"b": "2"}, counts={"rows": 3}, run_id="r")
    assert Manifest.read(tmp_path) is None
    manifest.write(tmp_path)
    assert Manifest.read(tmp_path) == manifest


@pytest.mark.parametrize("how", ["truncated", "empty", "noise"])
def test_a_broken_manifest_is_one_clear_error(tmp_path: Path, how: str) -> None:
    Manifest(stage="toy", fingerprint="f").write(tmp_path)
    BREAKS[how](tmp_path / "manifest.json", random.Random(1))
    with pytest.raises(DataError, match=r"manifest\.json: not a manifest .* remove the file"):
        Manifest.read(tmp_path)
