"""P@1 on MMEB-eval: embed queries and candidates, rank each query's own pool, average as the benchmark does."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from eval.encode import content_digest, embed_sides
from eval.metrics import DatasetHits, Score, chance_of, group_scores, hits_at_1, pool_scores, score
from eval.model_protocol import Model, Progress, silent
from eval.options import subject_options
from eval.pictures import blanked, thumbnail
from eval.results import Provenance, write_result
from eval.subject import find_subject, one_line_errors, show_progress
from pipeline.data.mmeb_eval import EvalSet, describe, eval_datasets, read_eval
from pipeline.data.mmeb_registry import NOT_COUNTED
from pipeline.errors import ConfigError
from pipeline.manifest import fingerprint
from pipeline.sample import IMAGE_MARKER, Side

logger = logging.getLogger(__name__)

SEED = 0
NUM_EXAMPLES = 4
TOP = 3
RESULT_NAME, BLANK_RESULT_NAME = "mmeb.json", "mmeb-blank.json"
_MAX_EXAMPLE_CHARACTERS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownSide:
    """A side as the report shows it: its words without markers, and thumbnails as data URIs."""

    text: str
    pictures: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownCandidate:
    """A candidate of an example with its score and its place in the ranking (from 1; a tie counts against it)."""

    side: ShownSide
    score: float
    rank: int
    is_right: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalExample:
    """A query with its best candidates and, when it is not among them, the right one."""

    query: ShownSide
    candidates: tuple[ShownCandidate, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetResult:
    """One evaluation set: P@1 with interval, each query's hit (0, 1, or 1/n for a tie of n), and a few examples."""

    name: str
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
    """P@1 of one model: per dataset, and means over datasets by meta-task, `IND`, `OOD` and `overall`."""

    provenance: Provenance
    datasets: tuple[DatasetResult, ...]
    groups: dict[str, Score]

    @property
    def overall(self) -> Score:
        """The mean over all datasets, each counting once."""
        return self.groups["overall"]


def evaluate(
    model: Model, data: Path, *, datasets: Sequence[str] | None = None, blank: bool = False, progress: Progress = silent
) -> MmebResult:
    """Evaluate a model on the sets of `<data>/MMEB-eval` that MMEB counts and the user's own, or on those named.

    With `blank` every picture is a grey one of the same size: what is left is what words and pools give away. One dataset
    is in memory at a time. Raises ConfigError for an unknown name, DataError for unusable data or non-finite embeddings.
    """
    results, digests = [], []
    names = _chosen(eval_datasets(data), datasets)
    for name in names:  # before the hours of work
        describe(data, name)
    for name in names:
        eval_set = read_eval(data, name)
        digests.append([name, content_digest([*eval_set.queries, *eval_set.candidates]), fingerprint(eval_set.pools)])
        results.append(_evaluate_set(model, eval_set, data, blank=blank, progress=progress))
    return MmebResult(
        provenance=Provenance(model=model.fingerprint, data=fingerprint(digests), settings={"blank": blank, "seed": SEED}),
        datasets=tuple(results),
        groups=group_scores([_dataset_hits(result) for result in results], seed=SEED),
    )


def table(result: MmebResult) -> str:
    """The result as a plain text table, in percent, with 95 % intervals."""
    lines = [f"{'dataset':<24} {'meta-task':<15} {'P@1':>6}  {'95 % interval':<14} {'chance':>6}"]
    lines += [_table_row(item.name, item.meta_task, item.score) for item in result.datasets]
    lines += [
        _table_row(f"mean: {name}", f"{item.count} set{'s' if item.count > 1 else ''}", item)
        for name, item in result.groups.items()
    ]
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


def _evaluate_set(model: Model, eval_set: EvalSet, data: Path, *, blank: bool, progress: Progress) -> DatasetResult:
    seen: Callable[[Side], Side] = blanked if blank else _as_it_is
    sides = [seen(side) for side in (*eval_set.queries, *eval_set.candidates)]
    embeddings = embed_sides(model, sides, what=eval_set.name, progress=progress)
    queries, candidates = embeddings[: len(eval_set.queries)], embeddings[len(eval_set.queries) :]
    hits = hits_at_1(queries, candidates, eval_set.pools)
    info = describe(data, eval_set.name)
    shown = replace(eval_set, queries=tuple(sides[: len(queries)]), candidates=tuple(sides[len(queries) :]))
    return DatasetResult(
        name=eval_set.name,
        meta_task=info.meta_task,
        split=info.split,
        num_candidates=len(candidates),
        smallest_pool=min(map(len, eval_set.pools)),
        has_pictures=any(side.images for side in (*eval_set.queries, *eval_set.candidates)),
        score=score(hits, chance=chance_of(eval_set.pools), seed=SEED),
        hits=tuple(hits.tolist()),
        examples=tuple(_example(shown, number, queries, candidates) for number in _spread(len(queries))),
    )


def _as_it_is(side: Side) -> Side:
    return side


def _spread(count: int) -> list[int]:
    """A few query numbers over the whole set: neighbours often share a picture."""
    return sorted({number * count // NUM_EXAMPLES for number in range(NUM_EXAMPLES)})


def _example(eval_set: EvalSet, number: int, queries: np.ndarray, candidates: np.ndarray) -> RetrievalExample:
    pool = eval_set.pools[number]
    scores = pool_scores(queries[number], candidates, pool)
    # Stable on the reversed pool: the right candidate, listed first, comes last among equals.
    order = (len(pool) - 1 - np.argsort(-scores[::-1], kind="stable")).tolist()
    ranks = {place: rank for rank, place in enumerate(order, start=1)}
    places = [*order[:TOP], *([0] if ranks[0] > TOP else [])]
    return RetrievalExample(
        query=shown_side(eval_set.queries[number]),
        candidates=tuple(
            ShownCandidate(
                side=shown_side(eval_set.candidates[pool[place]]),
                score=round(float(scores[place]), 4),
                rank=ranks[place],
                is_right=place == 0,
            )
            for place in places
        ),
    )


def shown_side(side: Side) -> ShownSide:
    """A side cut down to what a report shows."""
    words = " ".join(IMAGE_MARKER.sub(" ", side.instruction + side.text).split())
    return ShownSide(text=words[:_MAX_EXAMPLE_CHARACTERS], pictures=tuple(map(thumbnail, side.images)))


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
    """Measure P@1 on MMEB-eval: printed per dataset, per meta-task, for IND, OOD and overall, and written as JSON."""
    with one_line_errors():
        chosen = find_subject(**subject)
        folder = chosen.data_folder(data)
        path = (out or chosen.out) / _file_name(blank=blank, is_whole=not datasets)
        path.parent.mkdir(parents=True, exist_ok=True)  # before the hours of work
        result = evaluate(chosen.load(), folder, datasets=datasets or None, blank=blank, progress=show_progress)
        click.echo(table(result))
        write_result(result, path)
    click.echo(f"result: {path}")


def _file_name(*, blank: bool, is_whole: bool) -> str:
    """Where a result goes: that of chosen sets does not take the place of the whole benchmark's."""
    whole = BLANK_RESULT_NAME if blank else RESULT_NAME
    return whole if is_whole else whole.replace("mmeb", "mmeb-some")


if __name__ == "__main__":
    main()
