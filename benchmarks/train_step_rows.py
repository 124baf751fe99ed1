"""What the training-step benchmarks train on: the small real corpus as shards, and a small random model of any vocabulary."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from data_prep.convert import Conversion, convert
from data_prep.tiny_model import CLASSES, tiny_config, train_tokenizer
from pipeline.batch import Row
from pipeline.data.qa import QaEntry, QaTable, write_qa
from pipeline.data.shards import ShardIndex
from pipeline.model.embedder import Embedder
from pipeline.model.inputs import PixelLimits
from pipeline.recipe import Recipe, TinyBackbone
from pipeline.recipes import load
from pipeline.recipes.crem import with_mixture
from pipeline.roles import RECONSTRUCT_TEXT
from pipeline.sample import IMAGE_MARKER, Sample, Side, Turn
from pipeline.sequence import SequenceBuilder
from pipeline.train.build import DTYPES, build_embedder, chorus_ids
from pipeline.train.dataloader.corpus import Corpus
from pipeline.train.dataloader.step_dataset import StepDataset
from pipeline.train.dataloader.token_counts import Ruler, ensure_lengths

REAL_MINI = Path(__file__).resolve().parents[2] / "shared" / "real-mini"
DESCRIBE = "Describe the represented image."
TOKENIZER_SIZE = 2048
"""The tokenizer stays the same whatever the model's vocabulary, so that rows do."""


def bench_recipe(*, pairs: int, outside: int, chunk_tokens: int, max_tokens: int = 256, hidden: int = 128) -> Recipe:
    """The paper's recipe (LoRA, frozen tower, 16 tokens, both losses) on a small model in float32.

    Pictures keep their own sizes, as the least number of visual tokens is 1. Datasets are not kept apart: a sub-batch is the
    batch's largest part that the small datasets can fill.
    """
    base = with_mixture(load("crem_2b"), pairs=pairs, sub_batch=min(pairs, 16), outside=outside, outside_sets=())
    backbone = TinyBackbone(hidden=hidden, feed_forward=3 * hidden, vocab_size=TOKENIZER_SIZE)
    base = replace(base, name="benchmark", backbone=backbone, pixels=PixelLimits(min_tokens=1, max_tokens=max_tokens))
    return base.with_phase(steps=100, zero_stage=0, dtype="float32", chunk_tokens=chunk_tokens, kept_chunks=0, held_out=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Shards and questions in a temporary folder, and the model folders made beside them."""

    folder: Path
    index: ShardIndex
    qa: QaTable

    def model_folder(self, backbone: TinyBackbone, vocab_size: int) -> Path:
        """A random model of the given shape whose input table and head have `vocab_size` rows."""
        folder = self.folder / f"model-{backbone.hidden}-{vocab_size}"
        if folder.exists():
            return folder
        texts = [text for row in range(0, len(self.index), 4) for text in _texts(self.index.texts(row))]
        tokenizer = train_tokenizer(texts, backbone.vocab_size)
        config = tiny_config(tokenizer, backbone)
        config.text_config.vocab_size = max(vocab_size, config.text_config.vocab_size)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            CLASSES[backbone.family][1](config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    def dataset(self, model_folder: Path, recipe: Recipe) -> tuple[Embedder, StepDataset]:
        """The recipe's model, its adapters moved off zero so that every gradient counts, and the dataset of its steps."""
        embedder, opened = build_embedder(model_folder, recipe, dtype=DTYPES[recipe.phase.dtype])
        _disturb(embedder)
        if torch.cuda.is_available():
            embedder.to("cuda")
        vocabulary = opened.vocabulary(chorus_ids(opened, recipe), recipe.vision)
        builder = SequenceBuilder(vocabulary=vocabulary, layout=recipe.phase.layout, max_length=recipe.max_length)
        ruler = Ruler(builder=builder, pixels=recipe.pixels)
        table = self.folder / f"lengths-{recipe.pixels.max_tokens}.parquet"
        lengths = ensure_lengths(table, self.index, ruler, lambda done, total: None)
        corpus = Corpus(index=self.index, qa=self.qa, lengths=lengths)
        return embedder, StepDataset(corpus, recipe, vocabulary)


@contextmanager
def bench_folder(data: Path, shards: Path | None = None) -> Iterator[Bench]:
    """Convert the corpus of `data` into a temporary folder (or use the shards given), with a question for either side."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if shards is None:
            shards = folder / "shards"
            convert(Conversion(data=data, out=shards, verify=False))
        index = ShardIndex.open(shards)
        _ask(index, folder / "qa")
        yield Bench(folder=folder, index=index, qa=QaTable.open(folder / "qa"))


def _ask(index: ShardIndex, folder: Path) -> None:
    """No teacher is at hand: a text is reconstructed, a picture is asked for what the other side says."""
    for dataset, rows in index.datasets.items():
        if index.kind(dataset) == "pairs":
            write_qa((_entry(index.texts(row)) for row in rows), folder, dataset=dataset)


def _entry(sample: Sample) -> QaEntry:
    assert sample.positive is not None, "a dataset of pairs"
    pair = sample.query, sample.positive
    return QaEntry(key=sample.key, query=_turns(*pair), positive=_turns(*reversed(pair)))


def _turns(side: Side, other: Side) -> tuple[Turn, ...]:
    answer = IMAGE_MARKER.sub("", other.text if side.images else side.text).strip()
    return (Turn(question=DESCRIBE if side.images else RECONSTRUCT_TEXT, answer=answer),) if answer else ()


def _texts(sample: Sample) -> Iterator[str]:
    for side in sample.sides:
        yield side.instruction + side.text
        for turn in side.turns:
            yield from (turn.question, turn.answer)


def _disturb(embedder: Embedder) -> None:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in embedder.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)


def histogram(rows: Sequence[Row]) -> str:
    """Rows by length, in steps of a factor of two."""
    lengths = np.array([len(row.sequence) for row in rows])
    edges = 2 ** np.arange(4, int(np.log2(lengths.max())) + 2)
    counts = [(low, int(((lengths >= low) & (lengths < 2 * low)).sum())) for low in edges]
    bars = ", ".join(f"{low}-{2 * low - 1}: {count}" for low, count in counts if count)
    pictures, asked = sum(len(row.pixels) for row in rows), sum(row.num_scored > 0 for row in rows)
    return (
        f"{len(rows)} rows ({asked} with a question, {pictures} pictures), {lengths.sum():,} tokens, longest {lengths.max()}; "
        f"by length {bars}"
    )
