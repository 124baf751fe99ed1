"""A stand-in for the model and a small data folder in the release layouts."""

import hashlib
import io
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from eval.pictures import size_of
from pipeline.asked_as import AskedAs
from pipeline.cache_size import CacheSize
from pipeline.encode.encoder import Reading
from pipeline.encode.share import Encoding
from pipeline.sample import Side
from pipeline.templates import Templates

Answer = Callable[[Side, str, bool], str]


@dataclass
class FakeModel:
    """Embeds by a given function of the side and answers by a given function of context, question and mode."""

    embed_one: Callable[[Side], np.ndarray] = field(default=lambda side: digest_vector(side))
    answer_one: Answer = field(default=lambda context, question, compressed: "A")
    fingerprint: str = "fake"
    reader: "FakeReader" = field(default_factory=lambda: FakeReader())
    embedded: list[Side] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    ways: list[AskedAs] = field(default_factory=list)
    templates: Templates = field(default_factory=Templates)

    @property
    def encoder_fingerprint(self) -> str:
        return self.fingerprint

    def embed_batch(self, sides: Sequence[Side]) -> np.ndarray:
        self.embedded += sides
        return np.stack([self.embed_one(side) for side in sides]).astype(np.float32)

    @property
    def conditions(self) -> dict[str, str | int]:
        return {"dtype": "float32", "asked": len(self.ways)}

    def cache_size(self, contexts: Sequence[Side]) -> CacheSize:
        tokens = [self.reader.reading(side).tokens for side in contexts]
        return CacheSize(system=20, compression=16, context=sum(tokens) / len(tokens))

    def asked_as(self, how: AskedAs) -> "FakeModel":
        self.ways.append(how)
        return self

    def answer(
        self, contexts: Sequence[Side], questions: Sequence[str], *, compressed: bool, max_new_tokens: int = 32
    ) -> list[str]:
        self.asked += questions
        self.lengths += [max_new_tokens] * len(questions)
        return [self.answer_one(side, question, compressed) for side, question in zip(contexts, questions, strict=True)]


@dataclass(frozen=True)
class FakeReader:
    """Counts a token for four characters and for 28 x 28 pixels; hands sides on as they are."""

    def reading(self, side: Side) -> Reading:
        sizes = [size_of(picture) for picture in side.images]
        pixels = sum(width * height for width, height in sizes)
        return Reading(tokens=len(side.instruction + side.text) // 4 + pixels // 784, shown=tuple(sizes))

    def batch(self, sides: Sequence[Side]) -> list[Side]:
        return list(sides)


def keep_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Embed all sides of a set that is measured, so that their number tells what was measured."""
    monkeypatch.setattr(Encoding, "usual", classmethod(lambda cls, *_, **__: cls()))


def digest_vector(side: Side) -> np.ndarray:
    """A unit vector that depends on the content alone."""
    digest = hashlib.sha256((side.instruction + side.text).encode() + b"".join(side.images)).digest()
    vector = np.random.default_rng(list(digest)).normal(size=16)
    return vector / np.linalg.norm(vector)


def constant_vector(side: Side) -> np.ndarray:
    """What a collapsed model says of everything."""
    return np.full(16, 0.25)


def png(color: tuple[int, int, int], size: tuple[int, int] = (20, 10)) -> bytes:
    """A one-coloured picture."""
    file = io.BytesIO()
    Image.new("RGB", size, color).save(file, format="PNG")
    return file.getvalue()


def write_eval(root: Path, name: str, rows: Sequence[tuple[str, str, Sequence[str], Sequence[str]]]) -> None:
    """One MMEB-eval set: (query text, query picture path, candidate texts, candidate picture paths) for each row."""
    folder = root / "MMEB-eval" / name
    folder.mkdir(parents=True)
    columns = ("qry_text", "qry_img_path", "tgt_text", "tgt_img_path")
    table = pa.table({column: [row[number] for row in rows] for number, column in enumerate(columns)})
    pq.write_table(table, folder / "test-00000-of-00001.parquet")


def write_pictures(root: Path, pictures: dict[str, bytes]) -> None:
    """The images.zip of MMEB-eval."""
    (root / "MMEB-eval").mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(root / "MMEB-eval" / "images.zip", "w") as archive:
        for name, content in pictures.items():
            archive.writestr(name, content)
