"""A corpus of one's own: a function that yields Samples, in one file. Nothing else has to be known of the pipeline.

The function takes nothing and yields its rows in an order that never changes: a `Sample` for each (its `key` and `dataset` are
given by the conversion), or a `RowError` with the reason for a row that cannot be used. The name of the function is the name of
the dataset. Rows with a positive side are pairs, others conversations; all are of one kind. `docs/own_corpus.md` has an example.

Every process that converts runs through the function, so pictures of other rows are read in vain: for millions of rows, write a
class with the five members of `data_prep.sources.Source` instead.
"""

import importlib.util
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import ModuleType

from pipeline.data.keys import make_key
from pipeline.data.picture_preparer import PicturePreparer
from pipeline.data.reject import Reject, RowError
from pipeline.data.release_files import one_line
from pipeline.data.row_ranges import RowRanges
from pipeline.data.shard_plan import Kind
from pipeline.data.texts import checked_text
from pipeline.errors import ConfigError, DataError
from pipeline.sample import Sample, Side

_MODULE = "corpus_file"


@dataclass(frozen=True, kw_only=True)
class OwnCorpus:
    """The function `dataset` of the file `path`, as a source of the conversion."""

    path: Path
    dataset: str

    @cached_property
    def kind(self) -> Kind:
        """What its first usable row is. Raises DataError when there is none."""
        for sample in self._samples():
            if isinstance(sample, Sample):
                return "conversations" if sample.positive is None else "pairs"
        raise DataError(f"{self}: yields no sample")

    def count(self) -> int:
        """Its rows: the function is run through once."""
        return sum(1 for _ in self._samples())

    def files(self) -> list[Path]:
        """The user's file. What the function reads is not watched: touch the file when that has changed."""
        return [self.path]

    def read(self, prepare: PicturePreparer, counts: Counter[str], rows: RowRanges) -> Iterator[Sample | Reject]:
        """The asked rows, their texts and pictures checked like those of any corpus."""
        for number, sample in enumerate(self._samples()):
            if number >= rows.stop:
                return
            if number not in rows:
                continue
            key = make_key(self.dataset, number)
            try:
                yield self._checked(sample, key, prepare)
            except RowError as error:
                yield Reject(source=self.path.name, row=number, key=key, reason=str(error))

    def _checked(self, sample: Sample | RowError, key: str, prepare: PicturePreparer) -> Sample:
        if isinstance(sample, RowError):
            raise sample
        if (sample.positive is None) != (self.kind == "conversations"):
            raise RowError("pairs and conversations in one corpus; make two functions of it")
        return replace(
            sample,
            key=key,
            dataset=self.dataset,
            query=_side(sample.query, prepare),
            positive=sample.positive and _side(sample.positive, prepare),
            negatives=tuple(_side(side, prepare) for side in sample.negatives),
        )

    def _samples(self) -> Iterator[Sample | RowError]:
        try:
            for found in getattr(_module(self.path), self.dataset)():
                if not isinstance(found, Sample | RowError):
                    raise TypeError(f"it yields {type(found).__name__}, not Sample or RowError")
                yield found
        except DataError:
            raise
        except (Exception, SystemExit) as error:  # whatever the user's code raises is the user's to mend
            raise DataError(f"{self}: {type(error).__name__}: {one_line(error)}; mend the file") from error

    def __str__(self) -> str:
        return f"{self.path}:{self.dataset}"


def file_of(source: str) -> Path:
    """The file that `my_corpus.py:function` names, whether or not it is there."""
    return Path(f"{source.partition('.py:')[0]}.py")


def find_corpus(source: str) -> OwnCorpus:
    """The corpus that `my_corpus.py:function` names. Raises ConfigError for another form, a missing file or function."""
    function = source.partition(".py:")[2]
    corpus = OwnCorpus(path=file_of(source), dataset=function)
    if not function.isidentifier():
        raise ConfigError(f"corpus {source}: is not of the form my_corpus.py:function")
    if not corpus.path.is_file():
        raise ConfigError(f"corpus {source}: no file {corpus.path}")
    try:
        is_there = callable(getattr(_module(corpus.path), function, None))
    except (Exception, SystemExit) as error:
        raise ConfigError(f"corpus {source}: {type(error).__name__}: {one_line(error)}; mend the file") from error
    if not is_there:
        raise ConfigError(f"corpus {source}: the file has no function {function}")
    return corpus


def _side(side: Side, prepare: PicturePreparer) -> Side:
    checked_text(side.instruction + side.text, "a text")
    if not (side.images or side.turns or (side.instruction + side.text).strip()):
        raise RowError("a side has neither text nor picture")
    for turn in side.turns:
        checked_text(turn.question + turn.answer, "a turn")
    return replace(side, images=tuple(prepare(image) for image in side.images))


def _module(path: Path) -> ModuleType:
    """Run the file. Like a script, it may import the files beside it."""
    spec = importlib.util.spec_from_file_location(_MODULE, path)
    assert spec is not None and spec.loader is not None, "a name that ends with .py has a loader"
    module = importlib.util.module_from_spec(spec)
    before = list(sys.path)
    sys.path.insert(0, str(path.resolve().parent))
    sys.modules[_MODULE] = module  # dataclasses of the file look themselves up there
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[_MODULE]
        sys.path[:] = before
    return module
