"""Stage `convert`: a data folder in the release layouts becomes verified shards."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from data_prep.convert import Conversion, convert, convert_slice, refuse_missing
from data_prep.own_corpus import file_of
from data_prep.slices import Slice
from jobs.stage import Context, Input, Result, Writing
from pipeline.data import mmeb
from pipeline.data.shard_plan import MAX_PIXELS
from pipeline.data.shards import ShardIndex
from pipeline.data.sharegpt4v_release import FOLDERS as CONVERSATION_FOLDERS
from pipeline.errors import ConfigError
from pipeline.tracking import Tracker


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertStage:
    """Reads the corpora, checks and where needed shrinks their pictures, and writes shards with an index.

    Stopped at any moment, it goes on with the shards that are missing. With `num_slices` all must have been made by
    `run_slice` beforehand, in so many slices.
    """

    context: Context
    max_pixels: int = MAX_PIXELS
    verify: bool = True
    workers: int = 1
    num_slices: int = 0
    corpora: tuple[str, ...] = ()
    split: str = "original"
    name: str = "convert"
    writing: Writing = Writing.KEEP

    @property
    def folder(self) -> Path:
        """One folder of shards for each dataset."""
        return self.context.shards

    def inputs(self) -> Mapping[str, Input]:
        """The corpora of the data folder, the user's or the toy world's, and the files of the user's own."""
        files = {corpus: file_of(corpus) for corpus in self.corpora}
        own = {f"corpus {corpus}": Input(path=file.parent, parts=(file.name,)) for corpus, file in files.items()}
        return {"data": data_input(self.context, (mmeb.TRAIN, *CONVERSATION_FOLDERS)), **own}

    def settings(self) -> Mapping[str, object]:
        """Limits that change what is written."""
        own = {"corpora": list(self.corpora)} if self.corpora else {}
        split = {"split": self.split} if self.split != "original" else {}
        return {"max_pixels": self.max_pixels, "verify": self.verify, **own, **split}

    def run(self, out: Path, tracker: Tracker) -> Result:
        """Convert every dataset."""
        if self.num_slices:
            refuse_missing(self._conversion(out), self.num_slices)
        counts = convert(self._conversion(out), self._report)
        return Result(counts=counts, content=ShardIndex.open(out).fingerprint)

    def run_slice(self, part: Slice) -> dict[str, int]:
        """Make the shards of one slice. No manifest is written and no lock taken, since others may be at work in the folder."""
        if not self.context.data.is_dir():
            raise ConfigError(f"--data {self.context.data}: no such folder; run crem toy first, or name a data folder")
        return convert_slice(self._conversion(self.folder), part, self._report)

    def _conversion(self, out: Path) -> Conversion:
        return Conversion(
            data=self.context.data,
            out=out,
            max_pixels=self.max_pixels,
            verify=self.verify,
            workers=self.workers,
            corpora=self.corpora,
            split=self.split,
        )

    def _report(self, dataset: str, done: int, total: int) -> None:
        self.context.progress(f"convert {dataset}", done, total, "")


def data_input(context: Context, parts: tuple[str, ...]) -> Input:
    """The data folder as an input: finished by stage `toy` where it is the toy world, otherwise those parts as they stand."""
    is_toy = context.data == context.toy
    return Input(path=context.data, made_by="toy") if is_toy else Input(path=context.data, parts=parts)
