"""Stage `measure`: how long every row of the shards is in tokens, before any GPU waits for it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.model import backbone_folder
from jobs.stage import Context, Input, Result, Writing
from pipeline.data.shards import ShardIndex
from pipeline.errors import ConfigError
from pipeline.tracking import Tracker

if TYPE_CHECKING:
    from pipeline.train.dataloader.token_counts import Ruler


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureStage:
    """Counts the tokens of all rows as training will read them, on every core that the process may use.

    Stopped at any moment, it goes on with the parts that are missing; slices may be made at the same time by `run_slice`. A
    training that finds no table makes it itself, on rank 0, while the others wait.
    """

    context: Context
    name: str = "measure"
    writing: Writing = Writing.KEEP

    @property
    def folder(self) -> Path:
        """Tables of lengths, one for each corpus, tokenizer and layout."""
        return self.context.lengths

    def inputs(self) -> Mapping[str, Input]:
        """Shards, and the model folder for its tokenizer."""
        return {
            "shards": Input(path=self.context.shards, made_by="convert"),
            "model": Input(path=self.context.model, made_by="model"),
        }

    def settings(self) -> Mapping[str, object]:
        """What decides the lengths, and the cap that rows are held against."""
        recipe = self.context.recipe
        native = recipe.phase.mixture.native_share > 0
        shape = {
            "order": [role.name for role in recipe.phase.layout.order],
            "template": recipe.phase.layout.template,
            "native": native,
        }
        return {**shape, "tokens": recipe.tokens.count, "pixels": recipe.pixels, "max_length": recipe.max_length}

    def run(self, out: Path, tracker: Tracker) -> Result:
        """Make the table, of the parts that are there and those that are not, and list the rows that pass the cap."""
        from pipeline.train.dataloader.measured_corpus import count_left_out
        from pipeline.train.dataloader.token_counts import ensure_lengths

        index, ruler, table = self._opened(out)
        lengths = ensure_lengths(table, index, ruler, self._report)
        return Result(counts=count_left_out(lengths, table, self.context.recipe.max_length), content=table.stem)

    def run_slice(self, index: int, of: int) -> int:
        """Count the rows of one slice; returns how many. No lock is taken, since others may be at work in the folder."""
        from pipeline.train.dataloader.token_counts import measure_parts

        if not 0 <= index < of:
            raise ConfigError(f"--shard-index {index}: slices of {of} are numbered from 0 to {of - 1}")
        shards, ruler, table = self._opened(self.folder)
        return measure_parts(table, shards, ruler, self._report, slice_index=index, num_slices=of)

    def _opened(self, out: Path) -> "tuple[ShardIndex, Ruler, Path]":
        """Shards, what counts their rows, and the file of the table."""
        from pipeline.model.backbone import open_folder
        from pipeline.train.build import chorus_ids
        from pipeline.train.dataloader.measured_corpus import lengths_file, ruler_of

        index, model = ShardIndex.open(self.context.shards), backbone_folder(self.context)
        folder = open_folder(model)
        ruler = ruler_of(self.context.recipe, folder.vocabulary(chorus_ids(folder, self.context.recipe)))
        return index, ruler, lengths_file(out, index, ruler, model)

    def _report(self, done: int, total: int) -> None:
        self.context.progress("measure", done, total, "")
