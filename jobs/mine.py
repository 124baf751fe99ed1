"""Stage `mine`: hard negatives of a phase that asks for them, by the model of the phase before it."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_prep.negatives.candidates import POSITIVE, Candidates, Pairs
from data_prep.negatives.mining import Dataset, Window, mine
from eval.negatives_page import Found, write_negatives_page
from jobs.model import backbone_folder
from jobs.ranks import rank
from jobs.stage import Context, Input, Result, Writing
from jobs.train import TrainStage, mined_folder
from pipeline.data.references import read_references, references_file
from pipeline.data.shards import ShardIndex
from pipeline.encode.embedding_cache import FOLDER
from pipeline.encode.encode import encode
from pipeline.encode.ranks import Ranks
from pipeline.encode.share import Encoding
from pipeline.errors import ConfigError
from pipeline.manifest import file_digest, fingerprint, write_atomic
from pipeline.model.inputs import PixelLimits
from pipeline.model.tiles import Tiles
from pipeline.negatives import Mined
from pipeline.sample import Side
from pipeline.templates import Templates
from pipeline.tracking import Tracker

if TYPE_CHECKING:
    from pipeline.inference import EmbeddingModel

STATISTICS = "statistics.json"
"""By dataset: pairs, distinct queries and candidates, references, pairs with fewer than asked for, and similarities."""
SHEET = "sheet.html"
"""Queries, golds and negatives to look at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MineStage:
    """Ranks all candidates of each dataset for each of its queries. Stopped at any moment, it goes on with what is missing.

    Embeddings come from the same cache as those of evaluation, so that nothing is embedded twice by one model.
    """

    train: TrainStage
    writing: Writing = field(default=Writing.RESUME)

    @property
    def context(self) -> Context:
        """What the phase's training has."""
        return self.train.context

    @property
    def negatives(self) -> Mined:
        """What the phase asks for. Raises ConfigError where that is nothing that is mined."""
        phase = self.train.recipe.phase
        if phase.negatives.mined is None:
            raise ConfigError(
                f"{self.train.recipe.phase_path}.negatives: phase {phase.name} mines none; "
                f"--set {self.train.recipe.phase_path}.negatives=Mined asks for them"
            )
        return phase.negatives.mined

    @property
    def name(self) -> str:
        """`mine-<phase>`."""
        return self.folder.name

    @property
    def folder(self) -> Path:
        """One file of references a dataset, the statistics, and a contact sheet."""
        return mined_folder(self.context.work, self.train.recipe)

    def inputs(self) -> Mapping[str, Input]:
        """The shards, and the model of the phase before, or what the weights of the first phase begin from."""
        return {name: each for name, each in self.train.after_the_last.given().items() if name != "qa"}

    def settings(self) -> Mapping[str, object]:
        """What is mined, and, of an untrained model, what decides its embeddings beside its folder."""
        recipe = self.train.recipe
        mined = {"negatives": self.negatives, "seed": recipe.seed}
        if self.train.begins_trained:
            return mined
        return {
            **mined,
            "tokens": recipe.tokens,
            "pooling": recipe.pooling,
            "pixels": recipe.pixels,
            "layout": recipe.phase.layout,
            **({} if recipe.vision.keeps_all else {"vision": recipe.vision}),
            **({"templates": recipe.templates} if recipe.templates.instructions else {}),
        }

    def run(self, out: Path, tracker: Tracker) -> Result:
        """Mine dataset after dataset, all ranks together; the first tells of them. Raises DataError for damaged shards."""
        model, index, counts, ranks = self._model(), ShardIndex.open(self.context.shards), Counter[str](), Ranks.join()
        statistics = {}
        for name in index.datasets:
            if index.kind(name) == "pairs" and len(index.datasets[name]):
                statistics[name] = self._mine(out, index, name, model, ranks)
                counts.update({each: statistics[name][each] for each in ("pairs", "references", "fewer")})
        if not ranks.is_first:
            return Result(counts={})
        write_atomic(out / STATISTICS, json.dumps(statistics, indent=1) + "\n")
        found = {name: Found(references=read_references(references_file(out, name))) for name in statistics}
        write_negatives_page(out / SHEET, index, found, seed=self.train.recipe.seed)
        content = {name: file_digest(references_file(out, name)) for name in statistics}
        return Result(counts=dict(counts), content=fingerprint(content))

    def _model(self) -> "EmbeddingModel":
        """The model of the phase before, of a start that was named, or the untrained one."""
        from pipeline.inference import load_untrained
        from pipeline.merged import load_merged
        from pipeline.model.device import usual_place

        device, dtype = usual_place()
        start = self.train.after_the_last.start_folder()
        if start is not None:
            return load_merged(start, device=device, dtype=dtype)
        return load_untrained(backbone_folder(self.context), self.train.recipe, device=device, dtype=dtype)

    def _mine(self, out: Path, index: ShardIndex, name: str, model: "EmbeddingModel", ranks: Ranks) -> dict[str, float]:
        from pipeline.model.device import usual_place

        model = shown_as(model, self.train.recipe.pixels, self.train.recipe.phase.name, name)
        templates = model.templates
        pairs = Pairs.read(index, name, partial(self._read, name, len(index.datasets[name])), templates)
        found, how = Candidates.of(pairs), Encoding.usual(self.context.work / FOLDER, ranks)
        sources, first = index.source_rows(name), index.datasets[name].start

        def embedded(rows: np.ndarray, side: int) -> np.ndarray:
            sides = StoredSides(index, rows, side, templates)
            return encode(model, sides, what=f"mine {name}", how=how, progress=self._watched)

        asked = self.negatives
        window = Window(first=asked.first_rank, last=asked.last_rank, most=asked.most, seed=self.train.recipe.seed)
        dataset = Dataset(
            name=name,
            made_of=fingerprint([model.encoder_fingerprint, index.fingerprint]),
            sources=sources,
            keys=[index.info(row).key for row in index.datasets[name]],
            candidates=found,
            candidate_sources=sources[found.candidate_rows - first],
            query_embeddings=embedded(found.query_rows, 0),
            candidate_embeddings=embedded(found.candidate_rows, POSITIVE),
        )
        mine(out, dataset, window, device=usual_place()[0], ranks=ranks, done=partial(self._watched, f"{name}, blocks"))
        return _statistics(read_references(references_file(out, name)), dataset, window)

    def _read(self, name: str, total: int, done: int) -> None:
        self._watched(f"{name}, rows read", done, total)

    def _watched(self, what: str, done: int, total: int) -> None:
        if not rank():
            self.context.progress(self.name, done, total, what)


def shown_as(model: "EmbeddingModel", pixels: PixelLimits | Tiles, phase: str, dataset: str) -> "EmbeddingModel":
    """The model that sees pictures as a phase shows those of a dataset: where tiles differ, they do in its training."""
    shown = pixels.of(phase, dataset)
    return model if shown == pixels else replace(model, recipe=replace(model.recipe, pixels=shown))


@dataclass(frozen=True, slots=True, eq=False)
class StoredSides:
    """One side of some rows of a corpus, read and worded when it is asked for."""

    index: ShardIndex
    rows: np.ndarray
    side: int
    templates: Templates

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int, /) -> Side:
        return self.templates.sample(self.index.read(int(self.rows[number]))).sides[self.side]


def _statistics(table: pa.Table, dataset: Dataset, window: Window) -> dict[str, float]:
    """What became of a dataset; similarities are of the negatives that were taken (0 where there are none)."""
    counts = np.zeros(len(dataset.sources), dtype=np.int64)
    rows = np.searchsorted(dataset.sources, table.column("row").to_numpy())
    np.add.at(counts, rows, 1)
    mean, least = (how(table.column("similarity")).as_py() or 0.0 for how in (pc.mean, pc.min))
    return {
        "pairs": len(dataset.sources),
        "queries": len(dataset.query_embeddings),
        "candidates": len(dataset.candidate_embeddings),
        "references": len(table),
        "fewer": int((counts < window.most).sum()),
        "mean_similarity": round(float(mean), 4),
        "least_similarity": round(float(least), 4),
    }
