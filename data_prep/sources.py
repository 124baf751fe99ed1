"""The datasets of a data folder, each with its reader. A corpus of another form is one more class with these five members."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from data_prep.own_corpus import find_corpus
from pipeline.data import mmeb, sharegpt4v
from pipeline.data.json_array import read_array
from pipeline.data.keys import slug
from pipeline.data.picture_count import PictureCount
from pipeline.data.picture_preparer import PicturePreparer
from pipeline.data.reject import Reject
from pipeline.data.row_ranges import RowRanges
from pipeline.data.shard_plan import Kind
from pipeline.data.sharegpt4v_release import ConversationFile, find_conversations
from pipeline.data.sharegpt4v_survey import survey
from pipeline.errors import DataError
from pipeline.sample import Sample


class Source(Protocol):
    """A dataset that can be converted. Its rows are numbered from 0; a number means the same row in every process."""

    @property
    def dataset(self) -> str:
        """Its name, of which folder and keys are made."""

    @property
    def kind(self) -> Kind:
        """What its rows are."""

    def count(self) -> int:
        """Its rows. Raises DataError for files that are unusable as a whole."""

    def files(self) -> list[Path]:
        """Files that its rows depend on: when name, size or time of one changes, its shards are made anew."""

    def read(self, prepare: PicturePreparer, counts: Counter[str], rows: RowRanges) -> Iterator[Sample | Reject]:
        """The asked rows, in order: a sample or a reject for each, with key `make_key(dataset, row)`.

        Pictures pass through `prepare`; `counts` receives what was mended, and depends on nothing before the range.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """A dataset of MMEB-train in the data folder `root`; `split` names its files."""

    root: Path
    dataset: str
    split: str = "original"
    kind: Kind = "pairs"

    def count(self) -> int:
        """Rows by the footers of its files."""
        return mmeb.count_train(self.root, self.dataset, split=self.split)

    def files(self) -> list[Path]:
        """The parquet files of its split and the zip of its pictures."""
        folder = self.root / mmeb.TRAIN
        return [*sorted((folder / self.dataset).glob(f"{self.split}-*.parquet")), folder / "images_zip" / f"{self.dataset}.zip"]

    def read(self, prepare: PicturePreparer, counts: Counter[str], rows: RowRanges) -> Iterator[Sample | Reject]:
        """Its pairs."""
        return mmeb.read_train(self.root, self.dataset, split=self.split, prepare=prepare, counts=counts, rows=rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversations:
    """A json file of ShareGPT-4V's form; `images` is the zip or the folder of its pictures."""

    path: Path
    images: Path
    dataset: str
    kind: Kind = "conversations"

    def missing_pictures(self) -> list[PictureCount]:
        """Sources of pictures that lack some: no picture is opened."""
        return survey(ConversationFile(dataset=self.dataset, path=self.path, images=self.images)).missing

    def count(self) -> int:
        """Rows of the list: the file is read once to its end, so that a broken one is noticed before any work."""
        return sum(1 for _ in read_array(self.path))

    def files(self) -> list[Path]:
        """The json and the zips."""
        return [self.path, self.images, *sorted(self.images.glob("*.zip")), *sorted(self.images.glob("*/*.zip"))]

    def read(self, prepare: PicturePreparer, counts: Counter[str], rows: RowRanges) -> Iterator[Sample | Reject]:
        """Its conversations."""
        return sharegpt4v.read(self.path, self.images, dataset=self.dataset, prepare=prepare, counts=counts, rows=rows)


def find_sources(data: Path, corpora: Sequence[str] = (), *, split: str = "original") -> list[Source]:
    """The datasets of a data folder: MMEB-train by name, then conversations, then the user's own (`my_corpus.py:function`).

    MMEB-train may be missing where there are others, conversations or the user's own. Raises DataError and, for `corpora`,
    ConfigError.
    """
    own = [find_corpus(corpus) for corpus in corpora]
    talks = find_conversations(data)
    names = mmeb.train_datasets(data) if (data / mmeb.TRAIN).is_dir() or not (own or talks) else []
    sources: list[Source] = [Pairs(root=data, dataset=name, split=split) for name in names]
    sources += [Conversations(path=found.path, images=found.images, dataset=found.dataset) for found in talks]
    sources += own
    for name, count in Counter(slug(source.dataset) for source in sources).items():
        if count > 1:
            raise DataError(f"{data}: {count} datasets would share the name {name} in the shards; rename one of their folders")
    return sources
