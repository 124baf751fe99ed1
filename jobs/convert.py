"""Stage `convert`: a data folder in the release layouts becomes verified shards."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from data_prep.convert import MAX_PIXELS, convert
from jobs.stage import Context, Input, Result, Writing
from pipeline.data.shards import ShardIndex
from pipeline.tracking import Tracker


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertStage:
    """Reads the corpora, checks and where needed shrinks their pictures, and writes shards with an index."""

    context: Context
    max_pixels: int = MAX_PIXELS
    verify: bool = True
    name: str = "convert"
    writing: Writing = Writing.ASIDE

    @property
    def folder(self) -> Path:
        """One folder of shards for each dataset."""
        return self.context.shards

    def inputs(self) -> Mapping[str, Input]:
        """The data folder: the user's, or the toy world."""
        return {"data": data_input(self.context)}

    def settings(self) -> Mapping[str, object]:
        """Limits that change what is written."""
        return {"max_pixels": self.max_pixels, "verify": self.verify}

    def run(self, out: Path, tracker: Tracker) -> Result:
        """Convert every dataset."""

        def report(dataset: str, done: int, total: int | None) -> None:
            self.context.progress(f"convert {dataset}", done, total, "")

        counts = convert(self.context.data, out, max_pixels=self.max_pixels, verify=self.verify, progress=report)
        return Result(counts=counts, content=ShardIndex.open(out).fingerprint)


def data_input(context: Context) -> Input:
    """The data folder as an input: finished by stage `toy` where it is the toy world, as it stands otherwise."""
    return Input(path=context.data, made_by="toy" if context.data == context.toy else "")
