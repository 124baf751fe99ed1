"""How many right answers stand among the hard negatives of a toy run: those that were mined, and those that a judge left.

    crem run --recipe tiny_magic --work work/tiny_magic --until train
    python -m benchmarks.lost_golds --work work/tiny_magic

The toy world knows what each candidate means, so a negative that is in truth an answer to its query can be counted. Of each query
the first candidates by rank are taken, as many of the mined ones as of the judged.
"""

import argparse
import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.scene_judge import Shown, is_right
from data_prep.scene_server import read_facts
from data_prep.scenes import Scene
from data_prep.toy_world import FACTS
from pipeline.data.references import corpus_rows, read_references, references_file
from pipeline.data.shards import ShardIndex
from pipeline.sample import IMAGE_MARKER, Side


@dataclass(frozen=True, slots=True)
class Lost:
    """Of a dataset: negatives that were taken, and how many of them are right answers to their query."""

    taken: int
    right: int

    def __str__(self) -> str:
        return f"{self.right} of {self.taken} ({100 * self.right / self.taken:.1f} %)" if self.taken else "none taken"


def lost(index: ShardIndex, name: str, folder: Path, scenes: Mapping[str, Scene], most: int) -> Lost:
    """Count the first `most` references of each query of a dataset."""
    table = read_references(references_file(folder, name))
    rows = corpus_rows(index, name, table.column("row").to_numpy())
    candidates = corpus_rows(index, name, table.column("candidate").to_numpy())
    before = Counter[int]()
    taken = right = 0
    for row, candidate, side in zip(rows.tolist(), candidates.tolist(), table.column("side").to_numpy().tolist(), strict=True):
        before[row] += 1
        if before[row] <= most:
            taken += 1
            right += is_right(shown(index.read(row).query, scenes), shown(index.read(candidate).sides[side], scenes))
    return Lost(taken, right)


def shown(side: Side, scenes: Mapping[str, Scene]) -> Shown:
    """A side with the scene of its picture."""
    words = IMAGE_MARKER.sub("", side.instruction + side.text)
    return Shown(words=words, scene=scenes[hashlib.sha256(side.images[0]).hexdigest()] if side.images else None)


def lines(work: Path, phase: str, most: int) -> Iterator[str]:
    """A line a dataset, and one for all: what was mined beside what was judged."""
    index, scenes = ShardIndex.open(work / "shards"), read_facts(work / "toy" / FACTS)
    folders = (work / f"mine-{phase}", work / f"judge-{phase}")
    total = np.zeros((len(folders), 2), dtype=np.int64)
    for name in index.datasets:
        if references_file(folders[0], name).is_file():
            found = [lost(index, name, folder, scenes, most) for folder in folders]
            total += [(one.taken, one.right) for one in found]
            yield f"{name:<12} mined {found[0]}, judged {found[1]}"
    mined, judged = (Lost(*pair) for pair in total.tolist())
    yield f"{'all':<12} mined {mined}, judged {judged}"


def main() -> None:
    """Print the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="work folder of a run on the toy world")
    parser.add_argument("--phase", default="judged", help="the phase whose negatives are counted")
    parser.add_argument("--most", type=int, default=3, help="negatives of each query, the first by rank")
    given = parser.parse_args()
    print("\n".join(lines(given.work, given.phase, given.most)))


if __name__ == "__main__":
    main()
