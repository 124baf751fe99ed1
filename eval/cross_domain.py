"""Zero-shot retrieval across domains (CREM, Table 7): captions and pictures both ways, long captions, and SugarCrepe."""

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from eval.cross_domain_set import CrossDomainResult, CrossDomainSet, Direction, cross_domain_sets
from eval.gold_ranks import Ranks, write_ranks
from eval.measurement import ResultFolder
from eval.metrics import Score, interval
from eval.options import encoding_options, preset_options, subject_options, take_encoding
from eval.ranks import Told, is_rank, measure_together, run_again
from eval.results import write_result
from eval.retrieval_set import SEED
from eval.subject import find_subject, one_line_errors, show_messages
from pipeline.data.caption_sets import FOLDER, LAYOUTS
from pipeline.data.sugarcrepe import KINDS, NAME

logger = logging.getLogger(__name__)

RESULT_NAME = "cross_domain.json"
GROUPS = {group: tuple(kind for kind in KINDS if kind.startswith(group)) for group in ("replace", "swap", "add")}
"""SugarCrepe's groups, whose figure is the mean over their kinds, each counting once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossDomainResults:
    """What is known of the sets, and the means of SugarCrepe's groups."""

    sets: tuple[CrossDomainResult, ...]
    groups: dict[str, Score]

    def figures(self) -> dict[str, float]:
        """Every metric by `set/direction/metric`, and the means of SugarCrepe's groups."""
        every = [(f"{item.name}/{each.name}", each) for item in self.sets for each in item.directions]
        found = {f"{name}/{metric}": score.value for name, each in every for metric, score in each.measures.items()}
        return found | {f"{NAME}/{name}": score.value for name, score in self.groups.items()}


def merged(sets: Sequence[CrossDomainResult]) -> CrossDomainResults:
    """The sets together, with the means of SugarCrepe's groups where it is among them."""
    kinds = {each.name: each for item in sets if item.name == NAME for each in item.directions}
    groups = {name: _mean([kinds[kind] for kind in members]) for name, members in GROUPS.items() if kinds}
    return CrossDomainResults(sets=tuple(sets), groups=groups)


def _mean(kinds: Sequence[Direction]) -> Score:
    strata = [each.ranks.measures()["recall_at_1"] for each in kinds]
    low, high = interval(strata, seed=SEED)
    value = float(np.mean([hits.mean() for hits in strata]))
    chance = float(np.mean([each.measures["recall_at_1"].chance for each in kinds]))
    return Score(value=value, low=low, high=high, chance=chance, count=len(kinds))


def table(results: CrossDomainResults) -> str:
    """R@1 with its interval, R@5, R@10 and chance in percent, a line a direction; what is a part of a published test says so."""
    titles = f"{'R@1':>6}  {'95 % interval':<14} {'R@5':>6} {'R@10':>6} {'chance':>7}  {'queries':>8}"
    lines = [f"{'dataset':<12} {'direction':<12} {titles}"]
    for item in results.sets:
        lines += [_line(item.name, each) for each in item.directions]
    lines += [f"{NAME:<12} {'mean: ' + name:<13}{_figures(each)}" for name, each in results.groups.items()]
    return "\n".join(lines)


def _line(name: str, each: Direction) -> str:
    one, five, ten = (each.measures[f"recall_at_{cutoff}"] for cutoff in (1, 5, 10))
    beyond = "     -      -" if name == NAME else f"{100 * five.value:>6.1f} {100 * ten.value:>6.1f}"
    part = "  a part of the published test" if each.is_part else ""
    return f"{name:<12} {each.name:<12} {_figures(one)} {beyond} {100 * one.chance:>7.2f}  {each.queries:>8,}{part}"


def _figures(one: Score) -> str:
    return f"{100 * one.value:>6.1f}  {f'{100 * one.low:.1f}-{100 * one.high:.1f}':<14}"


@dataclass(frozen=True, slots=True)
class _Named:
    """A direction's ranks under a name of their own."""

    name: str
    ranks: Ranks


@click.command()
@subject_options
@preset_options
@encoding_options
@click.option("--data", type=click.Path(path_type=Path), help="Data folder with cross-domain/. Default: the one the run names.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the result file. Default: <work>/eval/<run or model>.")
@click.option(
    "--dataset", "datasets", multiple=True, type=click.Choice([*LAYOUTS, NAME]), help="Evaluate this set only; several times."
)
@click.option("--dry-run", is_flag=True, help="Print sides, tokens, operations and hours by kind of GPU; embed nothing.")
def main(data: Path | None, out: Path | None, datasets: tuple[str, ...], processes: int, **given: Any) -> None:
    """Measure R@1, R@5 and R@10 on the sets of cross-domain/: printed by set and direction, and written as JSON.

    Every file and picture is looked at before the model loads. Each set is written when it is done, and found again by the next
    call.
    """
    with one_line_errors():
        is_dry = given.pop("dry_run")
        chosen = find_subject(**{name: value for name, value in given.items() if name not in ("cache", "workers")})
        place, out = chosen.data_folder(data), out or chosen.out
        if is_dry:
            from eval.estimate import forecast  # brings torch in

            click.echo(forecast(chosen.outline(), cross_domain_sets(place, datasets or None, preset=chosen.preset)))
            return
        wanted = cross_domain_sets(place, datasets or None)
        out.mkdir(parents=True, exist_ok=True)  # before the hours of work
        if processes > 1 and not is_rank():
            sys.exit(run_again("eval.cross_domain", processes))
        how = take_encoding(given)
        wanted = cross_domain_sets(place, datasets or None, how=how, preset=chosen.preset)
        measure_together(chosen, wanted, out, how.ranks, lambda folder, model: _tell(folder, wanted, model, place))


def _tell(folder: ResultFolder, wanted: Sequence[CrossDomainSet], model: str, data: Path) -> Told | None:
    """Print and write what is known of the data folder's sets."""
    there = {each.dataset: each for each in (*cross_domain_sets(data), *wanted)}
    results = [folder.find(each, model) for each in there.values()]
    if not (known := [result for result in results if result is not None]):
        return None
    lacking = [name for name in (*LAYOUTS, NAME) if name not in there]
    if lacking:
        logger.warning("%s: lacks %s", data / FOLDER, ", ".join(lacking))
    whole, path = merged(known), folder.path / RESULT_NAME
    click.echo(table(whole))
    write_result(whole, path)
    directions = [(item.name, each) for item in known for each in item.directions]
    places = path.with_suffix(".parquet")
    write_ranks([_Named(f"{name}/{each.name}", each.ranks) for name, each in directions], places)
    click.echo(f"result: {path}, and the rank of each query's best right candidate beside it in {places.name}")
    metrics = {f"eval/{path.stem}/{name}": value for name, value in whole.figures().items()}
    return Told(metrics=metrics, files=(path, places))


if __name__ == "__main__":
    show_messages()
    main()
