"""P@1 on MMEB-eval: embed queries and candidates, rank each query's pool, average as the benchmark does."""

import logging
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from eval.gold_ranks import Ranked, write_ranks
from eval.measurement import ResultFolder
from eval.metrics import DatasetHits, Score, group_scores
from eval.model_protocol import Model, Progress, silent
from eval.options import encoding_options, preset_options, subject_options, take_encoding
from eval.protocols import MMEB_V1, PROTOCOLS, Protocol
from eval.ranks import Told, is_rank, measure_together, run_again
from eval.reranking import RerankedSet, both_ranks, reranked_sets
from eval.results import Provenance, write_result
from eval.retrieval_set import (
    SEED,
    DatasetResult,
    RetrievalSet,
    chosen_sets,
    lacking_sets,
    retrieval_sets,
)
from eval.subject import Subject, find_subject, one_line_errors, show_messages
from pipeline.data.mmeb_eval import check_eval, describe, eval_datasets
from pipeline.data.mmeb_registry import NOT_COUNTED
from pipeline.manifest import fingerprint

logger = logging.getLogger(__name__)


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

    def means(self) -> dict[str, dict[str, float]]:
        """Of each metric, the value of every set, and the mean over the sets of every group that all have it."""
        found: dict[str, dict[str, float]] = {}
        for item in self.datasets:
            for name, value in item.measures.items():
                found.setdefault(name, {})[item.name] = value.value
        for group in self.groups:
            names = [item.name for item in self.members(group)]
            for values in found.values():
                if all(name in values for name in names):
                    values[group] = float(np.mean([values[name] for name in names]))
        return found

    def figures(self) -> dict[str, float]:
        """Every metric of every set and mean, by `metric/name`."""
        hits = {item.name: item.score.value for item in self.datasets} | {name: item.value for name, item in self.groups.items()}
        every = self.means() | {"hit_at_1": hits}
        return {f"{metric}/{name}": value for metric, values in every.items() for name, value in values.items()}

    def is_over(self, other: "MmebResult", group: str) -> bool:
        """Whether a mean is over the same sets, with the same content, as that of another model."""
        return _content(self.members(group)) == _content(other.members(group))

    def size_of(self, group: str) -> str:
        """In words, over how many sets a mean is taken: `4 sets`, or `3 of 36 sets` where some are missing."""
        count, there = self.groups[group].count, self.num_sets.get(group, 0)
        return f"{count} of {there} sets" if count < there else f"{count} set{'s' if count > 1 else ''}"


def evaluate(
    model: Model,
    data: Path,
    *,
    datasets: Sequence[str] | None = None,
    blank: bool = False,
    protocol: Protocol = MMEB_V1,
    progress: Progress = silent,
) -> MmebResult:
    """Evaluate a model on the sets of `<data>/MMEB-eval` that MMEB counts and the user's own, or on those named.

    With `blank` every picture is a grey one of the same size: what is left is what words and pools give away. One dataset
    is in memory at a time. Raises ConfigError for an unknown name, DataError for unusable data or non-finite embeddings.
    """
    wanted = retrieval_sets(data, datasets, blank=blank, protocol=protocol)
    for each in wanted:  # before the hours of work
        check_eval(data, each.dataset)
    return merged([each.measure(model, None, progress) for each in wanted], data)


def merged(results: Sequence[DatasetResult], data: Path) -> MmebResult:
    """Means over what was measured of a data folder's sets, by one model with one setting. At least one result is given."""
    first = results[0].provenance
    digests = [[item.name, item.provenance.data] for item in results]
    libraries = {name: ", ".join(sorted({item.provenance.libraries[name] for item in results})) for name in first.libraries}
    infos = [describe(data, name) for name in chosen_sets(eval_datasets(data), None)]
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


@dataclass(frozen=True, slots=True, kw_only=True)
class RerankedResult:
    """The same sets ranked by embeddings (E), and with the first `top` of each query ranked anew by a reranker (E+R)."""

    reranker: str
    top: int
    embeddings: MmebResult
    reranked: MmebResult

    def table(self) -> str:
        """Both side by side as a plain text table, in percent, with 95 % intervals."""
        before, after = self.embeddings, self.reranked
        lines = [f"{'dataset':<24} {'meta-task':<15} {'E':>6}  {'95 % interval':<14} {'E+R':>6}  {'95 % interval':<14}"]
        for one, other in zip(before.datasets, after.datasets, strict=True):
            lines.append(f"{one.name:<24} {one.meta_task:<15} {_percent(one.score)} {_percent(other.score)}".rstrip())
        for name, mean in before.groups.items():
            lines.append(
                f"{f'mean: {name}':<24} {before.size_of(name):<15} {_percent(mean)} {_percent(after.groups[name])}".rstrip()
            )
        return "\n".join(lines)


def _percent(value: Score) -> str:
    spread = f"{100 * value.low:.1f}-{100 * value.high:.1f}"
    return f"{100 * value.value:>6.1f}  {spread:<14}"


def _content(sets: Sequence[DatasetResult]) -> dict[str, str]:
    return {item.name: item.provenance.data for item in sets}


def _dataset_hits(result: DatasetResult) -> DatasetHits:
    return DatasetHits(meta_task=result.meta_task, split=result.split, hits=np.array(result.hits), chance=result.score.chance)


def _table_row(name: str, kind: str, value: Score) -> str:
    return f"{name:<24} {kind:<15} {_percent(value)} {100 * value.chance:>6.1f}"


@click.command()
@subject_options
@preset_options
@encoding_options
@click.option("--data", type=click.Path(path_type=Path), help="Data folder with MMEB-eval/. Default: the one the run names.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the result file. Default: <work>/eval/<run or model>.")
@click.option("--dataset", "datasets", multiple=True, help="Evaluate this set only; may be given several times.")
@click.option(
    "--protocol",
    type=click.Choice(list(PROTOCOLS)),
    default=MMEB_V1.name,
    show_default=True,
    help="Which candidates are one (v1: text and picture, v2: in text-to-picture sets the picture alone), and whether a query "
    "ranks its row's candidates or, global, those of the whole set.",
)
@click.option("--dry-run", is_flag=True, help="Print sides, tokens, operations and hours by kind of GPU; embed nothing.")
@click.option("--blank", is_flag=True, help="Replace every picture by a grey one: what is guessed without looking.")
@click.option("--rerank", type=click.Path(path_type=Path), help="Checkpoint of a reranker: both rankings are told side by side.")
@click.option("--top", type=click.IntRange(min=1), default=5, show_default=True, help="Candidates a query that it ranks anew.")
def main(data: Path | None, out: Path | None, datasets: tuple[str, ...], protocol: str, processes: int, **given: Any) -> None:
    """Measure P@1 on MMEB-eval: printed per dataset, per meta-task, for IND, OOD and overall, and written as JSON.

    Each set is written when it is done, and found again by the next call; what was measured before stands in the table too.
    On a cluster, launchers/slurm_eval.sh runs this same command on every GPU.
    """
    with one_line_errors():
        blank, is_dry = given.pop("blank"), given.pop("dry_run")
        rerank, top = given.pop("rerank"), given.pop("top")
        subject = {name: value for name, value in given.items() if name not in ("cache", "workers")}
        chosen = find_subject(**subject)
        place, out = chosen.data_folder(data), out or chosen.out
        if is_dry:
            from eval.estimate import forecast  # brings torch in

            sets = retrieval_sets(place, datasets or None, protocol=PROTOCOLS[protocol], preset=chosen.preset)
            _say_lacking(place)
            click.echo(forecast(chosen.outline(), sets))
            return
        out.mkdir(parents=True, exist_ok=True)  # before the hours of work
        if processes > 1 and not is_rank():
            sys.exit(run_again("eval.mmeb", processes))
        how = take_encoding(given)
        rules, preset = PROTOCOLS[protocol], chosen.preset
        sets = retrieval_sets(place, datasets or None, blank=blank, protocol=rules, how=how, preset=preset)
        measure_sets(chosen, sets, out, reranked_sets(sets, chosen, rerank, top) if rerank else ())


def measure_sets(chosen: Subject, wanted: Sequence[RetrievalSet], out: Path, reranked: Sequence[RerankedSet] = ()) -> None:
    """Measure what is not known yet, by all ranks together; the first prints and writes what is known then. One set is wanted."""
    ranks = wanted[0].how.ranks
    if ranks.is_first:
        _say_lacking(wanted[0].data)

    def told(folder: ResultFolder, model: str) -> Told | None:
        return tell(folder, wanted, reranked, model, out)

    measure_together(chosen, [*wanted, *reranked], out, ranks, told)


def tell(
    folder: ResultFolder, wanted: Sequence[RetrievalSet], reranked: Sequence[RerankedSet], model: str, out: Path
) -> Told | None:
    """Print and write what is known of a model: by embeddings, and beside that with a reranker where one was asked for."""
    if (result := found(folder, wanted, model)) is None:
        return None
    told = _written(out / wanted[0].merged_name, table(result), result, result.figures(), result.datasets)
    if not reranked or (both := found_both(folder, wanted, reranked, model)) is None:
        return told
    figures, places = both.reranked.figures(), both_ranks(both.embeddings.datasets, both.reranked.datasets)
    also = _written(out / reranked[0].merged_name, both.table(), both, figures, places)
    return Told(metrics={**told.metrics, **also.metrics}, files=(*told.files, *also.files))


def _written(path: Path, shown: str, result: object, figures: Mapping[str, float], sets: Sequence[Ranked]) -> Told:
    """Print a table, and write its result and ranks."""
    places = path.with_suffix(".parquet")
    click.echo(shown)
    write_result(result, path)
    write_ranks(sets, places)
    click.echo(f"result: {path}, and the rank of each query's right candidate beside it in {places.name}")
    return Told(metrics={f"eval/{path.stem}/{name}": value for name, value in figures.items()}, files=(path, places))


def _say_lacking(data: Path) -> None:
    if lacking := lacking_sets(data):
        logger.warning("%s", lacking)


def found(folder: ResultFolder, wanted: Sequence[RetrievalSet], model: str) -> MmebResult | None:
    """All that is measured of the data folder's sets with the setting of those wanted; None where nothing is."""
    results = [folder.find(each, model) for each in _every(wanted)]
    known = [result for result in results if result is not None]
    return merged(known, wanted[0].data) if known else None


def found_both(
    folder: ResultFolder, wanted: Sequence[RetrievalSet], reranked: Sequence[RerankedSet], model: str
) -> RerankedResult | None:
    """All sets that are measured by embeddings and with the reranker; None where no set is."""
    first = reranked[0]
    pairs = [
        (folder.find(each, model), folder.find(RerankedSet.of(each, first.reranker, first.top), model)) for each in _every(wanted)
    ]
    known = [(before, after) for before, after in pairs if before is not None and after is not None]
    if not known:
        return None
    before, after = (merged(results, first.data) for results in zip(*known, strict=True))
    return RerankedResult(reranker=first.reranker.fingerprint, top=first.top, embeddings=before, reranked=after)


def _every(wanted: Sequence[RetrievalSet]) -> list[RetrievalSet]:
    """The sets that are wanted and all others of the data folder, by name."""
    first = wanted[0]
    others = retrieval_sets(first.data, blank=first.blank, protocol=first.protocol)
    sets = {each.dataset: each for each in (*others, *wanted)}
    return [sets[name] for name in sorted(sets)]


if __name__ == "__main__":
    show_messages()
    main()
