"""Stage `measure`: how long every row of the shards is in tokens, before any GPU waits for it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.model import backbone_folder
from jobs.stage import Context, Input, Result, Writing
from pipeline.data.shards import ShardIndex
from pipeline.errors import ConfigError
from pipeline.manifest import fingerprint
from pipeline.phase import Phase
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
        shapes = [_shape(phase) for phase in recipe.phases]
        # Said where there are some, so that tables which know nothing of them stay as they are.
        vision = {} if recipe.vision.keeps_all else {"vision": recipe.vision}
        sizes = {"tokens": recipe.tokens.count, "pixels": recipe.pixels, "max_length": recipe.max_length}
        templates = {"templates": recipe.templates} if recipe.templates.instructions else {}
        return {"phases": shapes, **sizes, **vision, **templates}

    def run(self, out: Path, tracker: Tracker) -> Result:
        """Make the tables, of the parts that are there and those that are not, and list the rows that pass the cap."""
        from pipeline.train.dataloader.lengths import count_left_out
        from pipeline.train.dataloader.token_counts import ensure_lengths

        counts: dict[str, int] = {}
        tables = list(self._opened(out))
        for index, ruler, table in tables:
            lengths = ensure_lengths(table, index, ruler, self._report)
            counts = count_left_out(lengths, table, self.context.recipe.max_length)
        return Result(counts=counts, content=fingerprint([table.stem for _, _, table in tables]))

    def run_slice(self, index: int, of: int) -> int:
        """Count the rows of one slice; returns how many. No lock is taken, since others may be at work in the folder."""
        from pipeline.train.dataloader.token_counts import measure_parts

        if not 0 <= index < of:
            raise ConfigError(f"--shard-index {index}: slices of {of} are numbered from 0 to {of - 1}")
        return sum(
            measure_parts(table, shards, ruler, self._report, slice_index=index, num_slices=of)
            for shards, ruler, table in self._opened(self.folder)
        )

    def _opened(self, out: Path) -> "Iterator[tuple[ShardIndex, Ruler, Path]]":
        """Shards, what counts their rows, and the file of the table, for every phase whose rows have another form."""
        from pipeline.model.backbone import open_folder
        from pipeline.train.build import chorus_ids
        from pipeline.train.dataloader.token_counts import lengths_file, ruler_of

        recipe, shards, model = self.context.recipe, ShardIndex.open(self.context.shards), backbone_folder(self.context)
        folder = open_folder(model)
        seen: set[Path] = set()
        for phase in recipe.phases:
            ruler = ruler_of(recipe.until(phase.name), folder.vocabulary(chorus_ids(folder, recipe), recipe.vision))
            table = lengths_file(out, shards, ruler, model)
            if table not in seen:
                yield shards, ruler, table
            seen.add(table)

    def _report(self, done: int, total: int) -> None:
        self.context.progress("measure", done, total, "")


def _shape(phase: Phase) -> Mapping[str, object]:
    """What decides the form of a phase's rows."""
    layout, native = phase.layout, phase.mixture.native_share > 0
    return {"order": [role.name for role in layout.order], "template": layout.template, "native": native}
