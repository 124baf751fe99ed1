"""P@1 on MMEB-eval: embed queries and candidates, rank each query's own pool, average as the benchmark does."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import click
import numpy as np

from eval.encode import content_digest, embed_sides
from eval.measurement import Check, Failures, ResultFolder, measure_missing
from eval.metrics import DatasetHits, Score, chance_of, group_scores, hits_at_1, score
from eval.model_protocol import Model, Progress, silent
from eval.options import subject_options
from eval.pictures import blanked
from eval.results import Provenance, Setting, write_result
from eval.retrieval_example import RetrievalExample, examples
from eval.subject import find_subject, one_line_errors, show_progress
from pipeline.data.mmeb_eval import EVAL, EvalSet, check_eval, describe, eval_datasets, read_eval
from pipeline.data.mmeb_registry import NOT_COUNTED, DatasetInfo
from pipeline.errors import ConfigError
from pipeline.folder_state import corpus_state
from pipeline.manifest import fingerprint
from pipeline.sample import Side

logger = logging.getLogger(__name__)

SEED = 0
RESULT_NAME, BLANK_RESULT_NAME = "mmeb.json", "mmeb-blank.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetResult:
    """One evaluation set: P@1 with interval, each query's hit (0, 1, or 1/n for a tie of n), and a few examples."""

    name: str
    provenance: Provenance
    meta_task: str
    split: str
    num_candidates: int
    smallest_pool: int
    has_pictures: bool
    score: Score
    hits: tuple[float, ...]
    examples: tuple[RetrievalExample, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MmebResult:
    """P@1 of one model: per dataset, and means over datasets by meta-task, `IND`, `OOD` and `overall`.

    `num_sets` says by group how many sets the data folder has: a mean over fewer is one of a part. Sets that MMEB does not count
    stand among the datasets and enter no mean.
    """

    provenance: Provenance
    datasets: tuple[DatasetResult, ...]
    groups: dict[str, Score]
    num_sets: dict[str, int]

    @property
    def overall(self) -> Score:
        """The mean over all datasets, each counting once."""
        return self.groups["overall"]

    def members(self, group: str) -> tuple[DatasetResult, ...]:
        """The datasets that a mean is taken over."""
        return tuple(item for item in counted(self.datasets) if group in (item.meta_task, item.split, "overall"))

    def is_over(self, other: "MmebResult", group: str) -> bool:
        """Whether a mean is over the same sets, with the same content, as that of another model."""
        return _content(self.members(group)) == _content(other.members(group))

    def size_of(self, group: str) -> str:
        """In words, over how many sets a mean is taken: `4 sets`, or `3 of 36 sets` where some are missing."""
        count, there = self.groups[group].count, self.num_sets.get(group, 0)
        return f"{count} of {there} sets" if count < there else f"{count} set{'s' if count > 1 else ''}"


def evaluate(
    model: Model, data: Path, *, datasets: Sequence[str] | None = None, blank: bool = False, progress: Progress = silent
) -> MmebResult:
    """Evaluate a model on the sets of `<data>/MMEB-eval` that MMEB counts and the user's own, or on those named.

    With `blank` every picture is a grey one of the same size: what is left is what words and pools give away. One dataset
    is in memory at a time. Raises ConfigError for an unknown name, DataError for unusable data or non-finite embeddings.
    """
    wanted = retrieval_sets(data, datasets, blank=blank)
    for each in wanted:  # before the hours of work
        check_eval(data, each.dataset)
    return merged([each.measure(model, None, progress) for each in wanted], data)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalSet:
    """P@1 on one set as a measurement (eval.measurement). `state` is how its files look."""

    data: Path
    dataset: str
    blank: bool
    state: str
    result: type[DatasetResult] = DatasetResult

    @property
    def name(self) -> str:
        """A file for each set."""
        return f"{Path(file_name(blank=self.blank)).stem}/{self.dataset}.json"

    @property
    def settings(self) -> dict[str, Setting]:
        """Whether pictures are blank, and the seed of intervals."""
        return {"blank": self.blank, "seed": SEED}

    def sources(self) -> dict[str, Check]:
        """The set."""
        return {self.dataset: partial(check_eval, self.data, self.dataset)}

    def without(self, names: Iterable[str]) -> Self | None:
        """None without its set."""
        return None if self.dataset in names else self

    def measure(self, model: Model, known: DatasetResult | None, progress: Progress) -> DatasetResult:
        """Embed the set and rank each query's pool, unless texts, pictures and pools are those of `known`."""
        eval_set, info = read_eval(self.data, self.dataset, verify=False), describe(self.data, self.dataset)
        content = content_digest([*eval_set.queries, *eval_set.candidates])
        made_of = Provenance(model=model.fingerprint, data=fingerprint([content, eval_set.pools]), settings=self.settings)
        if known is None or not known.provenance.agrees_with(made_of):
            return _measured(model, eval_set, info, made_of, progress)
        return replace(known, meta_task=info.meta_task, split=info.split)


def retrieval_sets(data: Path, datasets: Sequence[str] | None = None, *, blank: bool = False) -> list[RetrievalSet]:
    """The sets of a data folder that MMEB counts and the user's own, or those named. Raises ConfigError for an unknown name."""
    folder = data / EVAL
    pictures = corpus_state(folder / "images.zip", folder / "images")
    return [
        RetrievalSet(
            data=data,
            dataset=name,
            blank=blank,
            state=fingerprint([corpus_state(folder / name, folder / "datasets.json"), pictures]),
        )
        for name in _chosen(eval_datasets(data), datasets)
    ]


def file_name(*, blank: bool) -> str:
    """The file of what is merged from the sets."""
    return BLANK_RESULT_NAME if blank else RESULT_NAME


def merged(results: Sequence[DatasetResult], data: Path) -> MmebResult:
    """Means over what was measured of a data folder's sets, by one model with one setting. At least one result is given."""
    first = results[0].provenance
    digests = [[item.name, item.provenance.data] for item in results]
    libraries = {name: ", ".join(sorted({item.provenance.libraries[name] for item in results})) for name in first.libraries}
    infos = [describe(data, name) for name in _chosen(eval_datasets(data), None)]
    return MmebResult(
        provenance=replace(first, data=fingerprint(digests), libraries=libraries),
        datasets=tuple(results),
        groups=group_scores([_dataset_hits(result) for result in counted(results)], seed=SEED),
        num_sets=dict(Counter(group for info in infos for group in (info.meta_task, info.split, "overall"))),
    )


def counted(results: Sequence[DatasetResult]) -> Sequence[DatasetResult]:
    """Those that enter the means: all but sets that MMEB does not count, where there are others."""
    return [item for item in results if item.name not in NOT_COUNTED] or results


def table(result: MmebResult) -> str:
    """The result as a plain text table, in percent, with 95 % intervals."""
    lines = [f"{'dataset':<24} {'meta-task':<15} {'P@1':>6}  {'95 % interval':<14} {'chance':>6}"]
    lines += [_table_row(item.name, item.meta_task, item.score) for item in result.datasets]
    lines += [_table_row(f"mean: {name}", result.size_of(name), item) for name, item in result.groups.items()]
    return "\n".join(lines)


def _chosen(known: Sequence[str], wanted: Sequence[str] | None) -> list[str]:
    unknown = sorted(set(wanted or ()) - set(known))
    if unknown:
        raise ConfigError(f"dataset {unknown[0]}: not in MMEB-eval; there are {', '.join(known)}")
    if wanted:
        return [name for name in known if name in wanted]
    for name in NOT_COUNTED.intersection(known):
        logger.info("%s: left out, since MMEB's 36 sets do not count it; --dataset %s evaluates it", name, name)
    return [name for name in known if name not in NOT_COUNTED] or list(known)


def _measured(model: Model, eval_set: EvalSet, info: DatasetInfo, made_of: Provenance, progress: Progress) -> DatasetResult:
    seen: Callable[[Side], Side] = blanked if made_of.settings["blank"] else _as_it_is
    sides = [seen(side) for side in (*eval_set.queries, *eval_set.candidates)]
    embeddings = embed_sides(model, sides, what=eval_set.name, progress=progress)
    queries, candidates = embeddings[: len(eval_set.queries)], embeddings[len(eval_set.queries) :]
    hits = hits_at_1(queries, candidates, eval_set.pools)
    shown = replace(eval_set, queries=tuple(sides[: len(queries)]), candidates=tuple(sides[len(queries) :]))
    return DatasetResult(
        name=eval_set.name,
        provenance=made_of,
        meta_task=info.meta_task,
        split=info.split,
        num_candidates=len(candidates),
        smallest_pool=min(map(len, eval_set.pools)),
        has_pictures=any(side.images for side in (*eval_set.queries, *eval_set.candidates)),
        score=score(hits, chance=chance_of(eval_set.pools), seed=SEED),
        hits=tuple(hits.tolist()),
        examples=examples(shown, queries, candidates),
    )


def _content(sets: Sequence[DatasetResult]) -> dict[str, str]:
    return {item.name: item.provenance.data for item in sets}


def _as_it_is(side: Side) -> Side:
    return side


def _dataset_hits(result: DatasetResult) -> DatasetHits:
    return DatasetHits(meta_task=result.meta_task, split=result.split, hits=np.array(result.hits), chance=result.score.chance)


def _table_row(name: str, kind: str, value: Score) -> str:
    spread = f"{100 * value.low:.1f}-{100 * value.high:.1f}"
    return f"{name:<24} {kind:<15} {100 * value.value:>6.1f}  {spread:<14} {100 * value.chance:>6.1f}"


@click.command()
@subject_options
@click.option("--data", type=click.Path(path_type=Path), help="Data folder with MMEB-eval/. Default: the one the run names.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the result file. Default: <work>/eval/<run or model>.")
@click.option("--dataset", "datasets", multiple=True, help="Evaluate this set only; may be given several times.")
@click.option("--blank", is_flag=True, help="Replace every picture by a grey one: what is guessed without looking.")
def main(data: Path | None, out: Path | None, datasets: tuple[str, ...], blank: bool, **subject: Any) -> None:
    """Measure P@1 on MMEB-eval: printed per dataset, per meta-task, for IND, OOD and overall, and written as JSON.

    Each set is written when it is done, and found again by the next call; what was measured before stands in the table too.
    """
    with one_line_errors():
        chosen = find_subject(**subject)
        place, folder = chosen.data_folder(data), ResultFolder(out or chosen.out)
        path, failures = folder.path / file_name(blank=blank), Failures()
        folder.path.mkdir(parents=True, exist_ok=True)  # before the hours of work
        wanted = retrieval_sets(place, datasets or None, blank=blank)
        failures.check(wanted, show_progress)
        model = chosen.load()
        measure_missing(model, wanted, folder, failures, show_progress)
        result = found(folder, wanted, model.fingerprint)
        if result is not None:
            click.echo(table(result))
            write_result(result, path)
            click.echo(f"result: {path}")
        failures.raise_any()


def found(folder: ResultFolder, wanted: Sequence[RetrievalSet], model: str) -> MmebResult | None:
    """All that is measured of the data folder's sets with the setting of those wanted; None where nothing is."""
    first = wanted[0]
    others = retrieval_sets(first.data, blank=first.blank)
    sets = {each.dataset: each for each in (*others, *wanted)}
    results = [folder.find(sets[name], model) for name in sorted(sets)]
    known = [result for result in results if result is not None]
    return merged(known, first.data) if known else None


if __name__ == "__main__":
    main()
