"""Tars against tarfile and webdataset's writer as it comes; their digest against a reading that knows nothing of it."""

import hashlib
import io
import os
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from webdataset.writer import TarWriter

from pipeline.data.shard_tar import ShardTar, tar_digest

MEMBERS = (
    ("toy-00000000", "json", b'{"text":"one"}'),
    ("toy-00000000", "q0.jpg", b"first picture" * 90),
    ("toy-00000001", "json", b'{"text":"two"}'),
    ("toy-00000001", "n0_0.png", bytes(512)),
)
KINDS = {
    "name of a text": 3,
    "mode of a text": 104,
    "size of a text": 134,
    "sum of a text's header": 150,
    "rest of a text's header": 300,
    "text": 512,
    "padding of a text": 1000,
    "name of a picture": 1024 + 14,
    "size of a picture": 1024 + 133,
    "first byte of a picture": 1536,
    "last byte of a picture": 1536 + 1169,
    "padding of a picture": 1536 + 1170,
    "blocks at the end": 10239,
}
"""Where each kind of byte stands in the tar of MEMBERS."""

Members = Sequence[tuple[str, str, bytes]]


def write(path: Path, members: Members) -> tuple[ShardTar, list[tuple[int, bytes]]]:
    with path.open("wb") as file:
        tar = ShardTar(file)
        places = [tar.add(*member) for member in members]
        tar.close()
    return tar, places


def plain(members: Members) -> bytes:
    """What webdataset's writer makes of them with tarfile's own stream."""
    sink = io.BytesIO()
    writer = TarWriter(sink, user="", group="", mtime=0, encoder=False)
    for name, suffix, content in members:
        writer.write({"__key__": name, suffix: content})
    writer.close()
    return sink.getvalue()


def reference(path: Path) -> str:
    """The bytes of a tar with the SHA-256 of each picture in its place, by the offsets that tarfile gives, hashed."""
    content, parts, done = path.read_bytes(), [], 0
    with tarfile.open(path) as archive:
        for member in archive:
            if not member.name.endswith(".json"):
                start, end = member.offset_data, member.offset_data + member.size
                parts += [content[done:start], hashlib.sha256(content[start:end]).digest()]
                done = end
    return hashlib.sha256(b"".join([*parts, content[done:]])).hexdigest()


NAMES = st.from_regex(r"[0-9a-z_-]{1,30}", fullmatch=True)
SUFFIXES = st.sampled_from(["json", "q0.jpg", "p1.png", "n12_3.jpg"])
CONTENTS = st.integers(0, 3000).map(lambda size: bytes(number % 251 for number in range(size)))


@settings(max_examples=60, deadline=None)
@example(members=MEMBERS)
@example(members=(("x" * 95, "json", b"a name of one hundred bytes"), ("y", "q0.jpg", bytes(10240 * 2))))
@example(members=tuple(("z", "json", bytes(size)) for size in (0, 1, 511, 512, 513, 8191, 8192, 8193)))
@given(members=st.lists(st.tuples(NAMES, SUFFIXES, CONTENTS), max_size=5))
def test_bytes_are_tarfiles_and_the_digest_is_the_reference(tmp_path_factory: pytest.TempPathFactory, members: Members) -> None:
    path = tmp_path_factory.mktemp("tar") / "a.tar"
    tar, places = write(path, members)
    content = path.read_bytes()
    assert content == plain(members)
    assert tar.size == len(content)
    assert tar.hexdigest == tar_digest(path) == reference(path)
    for (offset, digest), (_, suffix, written) in zip(places, members, strict=True):
        assert content[offset : offset + len(written)] == written
        assert digest == (b"" if suffix == "json" else hashlib.sha256(written).digest())


def test_a_name_that_no_header_holds_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="name is too long"):
        write(tmp_path / "a.tar", [("x" * 100, "json", b"")])


@pytest.mark.parametrize("kind", KINDS)
def test_no_kind_of_byte_is_passed_over(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.tar"
    write(path, MEMBERS)
    before, content = tar_digest(path), bytearray(path.read_bytes())
    content[KINDS[kind]] ^= 1
    path.write_bytes(content)
    assert tar_digest(path) != before


def test_any_byte_changed_and_any_end_cut_off_gives_another_digest(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    write(path, MEMBERS)
    whole = path.read_bytes()
    assert len(whole) == tarfile.RECORDSIZE
    seen = {tar_digest(path)}
    with path.open("r+b", buffering=0) as file:
        for place, byte in enumerate(whole):
            os.pwrite(file.fileno(), bytes([byte ^ 1 << place % 8]), place)
            seen.add(tar_digest(path))
            os.pwrite(file.fileno(), bytes([byte]), place)
        assert tar_digest(path) in seen
        ends = range(len(whole) - 1, 0, -7)
        for end in (len(whole) + 1, *ends):
            file.truncate(end)
            seen.add(tar_digest(path))
    assert len(seen) == 1 + len(whole) + 1 + len(ends)


def test_a_size_that_no_file_has_is_not_believed(tmp_path: Path) -> None:
    """Eight gigabytes claimed for a picture: what is there is read in pieces."""
    path = tmp_path / "a.tar"
    write(path, MEMBERS)
    content = bytearray(path.read_bytes())
    content[1024 + 124 : 1024 + 135] = b"7" * 11
    path.write_bytes(content)
    assert len(tar_digest(path)) == 64
