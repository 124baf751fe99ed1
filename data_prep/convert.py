"""Conversion of a data folder in the release layouts into verified shards: every MMEB-train dataset, and the conversations.

Everything streams: one row is in memory at a time, however large the corpus. What is done stays done: a conversion that was
stopped goes on with the shards that are missing, and parts of it may run on different machines.
"""

import logging
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data_prep.convert_work import Job, Progress, run_jobs
from data_prep.slices import Slice
from data_prep.sources import Conversations, Pairs, Source, find_sources
from pipeline.data.shard_merge import merge, missing
from pipeline.data.shard_plan import MAX_PIXELS, PARTS_FOLDER, ROWS_PER_SHARD, ShardPlan
from pipeline.data.shard_stats import DatasetStats
from pipeline.data.sharegpt4v_release import unread_files
from pipeline.errors import DataError
from pipeline.manifest import fingerprint

log = logging.getLogger(__name__)

_REJECTS_TOLD = 0.01


def silent(dataset: str, done: int, total: int) -> None:
    """The progress that nobody watches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """What is converted and how. Pictures beyond `max_pixels` are shrunk once; with `verify` every picture is decoded.

    `corpora` are the user's own, each `my_corpus.py:function`; `split` is that of MMEB-train. Only `workers` (processes) does not
    decide what is written.
    """

    data: Path
    out: Path
    max_pixels: int = MAX_PIXELS
    verify: bool = True
    rows_per_shard: int = ROWS_PER_SHARD
    workers: int = 1
    corpora: tuple[str, ...] = ()
    split: str = "original"

    def jobs(self) -> list[Job]:
        """Every dataset with all its shards still to do. Raises DataError for files that are unusable as a whole."""
        return [Job(source=source, plan=self._plan(source)) for source in find_sources(self.data, self.corpora, split=self.split)]

    def _plan(self, source: Source) -> ShardPlan:
        found = [(path, path.stat()) for path in source.files() if path.is_file()]
        names = [(os.path.relpath(path, self.data), state.st_size, state.st_mtime_ns) for path, state in found]
        return ShardPlan(
            dataset=source.dataset,
            kind=source.kind,
            rows=source.count(),
            rows_per_shard=self.rows_per_shard,
            max_pixels=self.max_pixels,
            verify=self.verify,
            source=fingerprint(names),
        )


def convert(conversion: Conversion, progress: Progress = silent) -> dict[str, int]:
    """Make the shards that are missing below `out`, then index and statistics, and return the counts.

    `read == converted + rejected`. What stands there already is kept where it was made from the same files by the same settings;
    nothing is removed. Raises DataError for shards of datasets that the data folder does not have, for a file that is unusable as
    a whole and for a dataset none of whose rows can be used; single bad rows stand in each dataset's rejects.jsonl.
    """
    jobs = conversion.jobs()
    _refuse_others(conversion.out, [job.plan for job in jobs])
    if not any(isinstance(job.source, Pairs) for job in jobs):
        log.warning("%s: no MMEB-train in it; conversations and corpora of your own are all that is converted", conversion.data)
    for path in unread_files(conversion.data):
        log.warning("%s: not read, since no file of conversations has that name there (docs/data.md)", path)
    left = [_to_do(job, conversion.out) for job in jobs]
    _tell_missing(left)
    run_jobs(left, conversion.out, workers=conversion.workers, progress=progress)
    datasets = [merge(conversion.out, job.plan) for job in jobs]
    _tell_rejects(datasets)
    return _counts(datasets)


def convert_slice(conversion: Conversion, part: Slice, progress: Progress = silent) -> dict[str, int]:
    """Make the shards of one slice, wherever the others stand; nothing is merged. Returns how many were made and found.

    Which shards belong to a slice depends on the data folder and the settings alone, so slices may run at once on machines that
    share a file system, and one that failed is simply run again. `convert` afterwards merges.
    """
    jobs, first, found = [], 0, 0
    for job in conversion.jobs():
        mine = [number for number in range(job.plan.num_shards) if (first + number) % part.of == part.index]
        first += job.plan.num_shards
        left = set(missing(conversion.out, job.plan))
        jobs.append(Job(source=job.source, plan=job.plan, shards=tuple(number for number in mine if number in left)))
        found += len(mine) - len(jobs[-1].shards)
    run_jobs(jobs, conversion.out, workers=conversion.workers, progress=progress)
    return {"shards_made": sum(len(job.shards) for job in jobs), "shards_found": found}


def refuse_missing(conversion: Conversion, num_slices: int) -> None:
    """Raise DataError when shards are missing, saying which slices of `num_slices` have to be run again."""
    place, again = 0, Counter[int]()
    for job in conversion.jobs():
        again.update((place + number) % num_slices for number in missing(conversion.out, job.plan))
        place += job.plan.num_shards
    if again:
        which = ",".join(map(str, sorted(again)))
        lack = f"{again.total()} of {place} shards are missing"
        raise DataError(f"{conversion.out}: {lack}; run --num-shards {num_slices} --shard-index {which} again")


def _to_do(job: Job, out: Path) -> Job:
    return Job(source=job.source, plan=job.plan, shards=tuple(missing(out, job.plan)))


def _tell_missing(jobs: Sequence[Job]) -> None:
    """Whole folders of pictures are easily forgotten; they are named before any work starts."""
    for job in jobs:
        if job.shards and isinstance(job.source, Conversations):
            for entry in job.source.missing_pictures():
                where = f"{job.source.dataset}, {entry.source}"
                log.warning("%s: %d of %d pictures missing; their rows become rejects", where, entry.missing, entry.named)


def _refuse_others(out: Path, plans: Sequence[ShardPlan]) -> None:
    """Raise DataError where shards of other datasets stand: a mistyped --data must not cost the work of days."""
    known = {plan.name for plan in plans}
    folders = sorted(out.iterdir()) if out.is_dir() else []
    others = [folder.name for folder in folders if folder.name not in known and (folder / PARTS_FOLDER).is_dir()]
    if others:
        raise DataError(
            f"{out}: holds shards of {', '.join(others)}, which the data folder does not have; check --data and --corpus, "
            "give another --work, or remove those folders"
        )


def _tell_rejects(datasets: Sequence[DatasetStats]) -> None:
    """A dataset that lost more than a hundredth of its rows is named: in the sum over all it would not be seen."""
    for stats in datasets:
        if stats.rejected > stats.read * _REJECTS_TOLD:
            log.warning("%s: %d of %d rows rejected; its rejects.jsonl says why", stats.dataset, stats.rejected, stats.read)


def _counts(datasets: Sequence[DatasetStats]) -> dict[str, int]:
    counts = Counter[str]()
    for stats in datasets:
        counts.update(stats.mended)
        counts.update(
            datasets=1,
            read=stats.read,
            converted=stats.converted,
            rejected=stats.rejected,
            pictures=stats.pictures,
            duplicate_pictures=stats.duplicate_pictures,
            shards=len(stats.shards),
            bytes=sum(shard.bytes for shard in stats.shards),
        )
    return dict(sorted(counts.items()))
