"""What a phase reads: shards, questions about their rows, and which of the rows it may train on."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.data.qa import QaTable
from pipeline.data.references import References
from pipeline.data.sampler import Draw, generator
from pipeline.data.shard_plan import Kind
from pipeline.data.shards import ShardIndex
from pipeline.errors import ConfigError
from pipeline.manifest import fingerprint
from pipeline.model.inputs import PixelLimits
from pipeline.model.tiles import Tiles
from pipeline.phase import Mixture, Phase
from pipeline.targets import Relevance
from pipeline.train.dataloader.lengths import Lengths

logger = logging.getLogger(__name__)

Rows = Mapping[str, npt.NDArray[np.int64]]
"""Row numbers by dataset."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """Converted rows, their synthesized questions, their lengths in tokens, and references to their hard negatives, if any.

    `right` are candidates that a judge said yes to, which a reranker learns from.
    """

    index: ShardIndex
    qa: QaTable
    lengths: Lengths
    references: References | None = None
    right: References | None = None

    @property
    def fingerprint(self) -> str:
        """Depends on all that is read."""
        read = [self.index.fingerprint, self.qa.fingerprint]
        return fingerprint([*read, *(each.fingerprint for each in (self.references, self.right) if each)])

    @classmethod
    def of(cls, index: ShardIndex, qa: QaTable, lengths: Lengths, phase: Phase, negatives: Path | None) -> "Corpus":
        """What a phase reads, with the references below the folder `negatives`, if it has some; raises as they do."""
        compares = isinstance(phase.target, Relevance)
        return cls(
            index=index,
            qa=qa,
            lengths=lengths,
            references=References.open(negatives, index) if negatives else None,
            right=References.open_right(negatives, index) if negatives and compares else None,
        )

    def rows(self, kind: Kind, max_length: int) -> Rows:
        """Rows of a kind, by dataset, that fit `max_length`."""
        fits = self.lengths.fits(max_length)
        numbers = {name: np.asarray(rows, dtype=np.int64) for name, rows in sorted(self.index.datasets.items())}
        return {name: rows[fits[rows]] for name, rows in numbers.items() if self.index.kind(name) == kind}


@dataclass(frozen=True, slots=True, kw_only=True)
class Division:
    """Rows to train on by kind and dataset, and those set aside for the running evaluation."""

    pairs: Rows
    talks: Rows
    held_out: Draw


def divide(corpus: Corpus, phase: Phase, *, max_length: int, seed: int) -> Division:
    """Set aside `phase.held_out` pairs, spread over datasets by size, and as many conversations of the sets that it reads.

    At most a tenth of either, and none of a kind that the phase does not read.
    """
    pairs, talks = corpus.rows("pairs", max_length), corpus.rows("conversations", max_length)
    talks = {name: rows for name, rows in talks.items() if phase.mixture.reads(name)}

    def choose(kind: Kind, rows: Rows) -> tuple[int, ...]:
        every = np.concatenate([*rows.values(), np.zeros(0, dtype=np.int64)])
        chosen = generator(seed, "held out", kind).permutation(every)[: min(phase.held_out, len(every) // 10)]
        return tuple(sorted(chosen.tolist()))

    held_out = Draw(
        choose("pairs", pairs) if phase.mixture.pairs else (),
        choose("conversations", talks) if phase.mixture.outside else (),
    )
    return Division(pairs=_without(pairs, held_out.pairs), talks=_without(talks, held_out.outside), held_out=held_out)


def _without(rows: Rows, hidden: tuple[int, ...]) -> Rows:
    return {name: numbers[~np.isin(numbers, hidden)] for name, numbers in rows.items()}


def shares(rows: Rows, mixture: Mixture, *, cap: int | None = None) -> dict[str, float]:
    """What part of the batches each dataset gets: its rows, at most `cap` of them, times its weight."""
    weights = dict(mixture.weights)
    return {name: weights.get(name, 1.0) * min(len(found), cap or len(found)) for name, found in rows.items()}


def check_datasets(index: ShardIndex, mixture: Mixture, phase_path: str) -> None:
    """Refuse a mixture that names datasets which are not there or not read: something else would be trained in silence.

    `phase_path` is how `--set` names its phase.
    """
    talks = sets_of(index, "conversations")
    if mixture.outside:
        _refuse_absent(f"{phase_path}.mixture.outside_sets", mixture.outside_sets, talks)
    _refuse_absent(f"{phase_path}.mixture.weights", [name for name, _ in mixture.weights], sorted(index.datasets))
    unread = [name for name, _ in mixture.weights if name in talks and not mixture.reads(name)]
    if unread:
        raise ConfigError(
            f"{phase_path}.mixture.weights: {', '.join(unread)} has a weight, and mixture.outside_sets leaves it out; "
            "name it there too, or take its weight away"
        )


def sets_of(index: ShardIndex, kind: Kind) -> list[str]:
    """The datasets of a kind that the shards have, sorted."""
    return sorted(name for name in index.datasets if index.kind(name) == kind)


def _refuse_absent(field: str, names: Sequence[str], there: Sequence[str]) -> None:
    absent = [name for name in names if name not in there]
    if absent:
        raise ConfigError(
            f"{field}: {', '.join(map(repr, absent))} not in the shards; there are {', '.join(there) or 'none'}; "
            f"name those alone, or none: --set {field}=[]"
        )


def check_pixels(index: ShardIndex, limits: PixelLimits | Tiles) -> None:
    """Refuse a recipe that asks for larger pictures than the shards hold: they would be enlarged again in silence."""
    field, most, each = limits.most
    held, wanted = index.max_pixels, most * each
    if held is not None and wanted > held:
        raise ConfigError(
            f"pixels.{field}: {most} {field.removeprefix('max_')} are {wanted} pixels, but the shards were shrunk to {held}; "
            f"convert again with --max-pixels {wanted}, or set pixels.{field}={held // each}"
        )


def warn_of_small(pairs: Rows, sub_batch: int) -> None:
    """Say which datasets are too small to fill a run of their own."""
    for name, rows in pairs.items():
        if len(rows) < sub_batch:
            logger.warning(
                "%s: %d rows to train on are fewer than mixture.sub_batch = %d; it is never drawn", name, len(rows), sub_batch
            )
