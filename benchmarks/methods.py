"""Every method on the toy world, on one model and as many pairs: `make methods`.

All runs share a work folder, so that corpus and model are made once; each run's figures are kept beside it, and a run that has
them is not made again. What stops goes on where it stopped: it is `crem run` that works.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from eval import mmeb, reconstruct, retrieval_set
from eval.metrics import Score
from eval.results import read_result
from eval.vlm_result import VlmResult
from jobs.evaluate import FEWER, TRAINED
from jobs.train import stage_name
from pipeline.losses.weights import Stepwise, Weight
from pipeline.manifest import canonical_json, write_atomic
from pipeline.phase import Phase
from pipeline.recipe import Recipe
from pipeline.recipe_json import recipe_fingerprint
from pipeline.recipes import RECIPES, load

ASKED = ("ToyMC", "ToyYN")
"""The question files whose mean is told."""

METHODS = ("tiny_retrieval", "tiny_no_generation", "tiny", "tiny_coma", "tiny_btoks", "tiny_elastic")
"""What is compared, as far as there is a recipe of the name: the baseline first."""

META_TASKS = ("classification", "vqa", "retrieval", "grounding", "overall")
Call = Callable[..., None]
Precision = dict[str, tuple[float, float, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What a run gave: P@1 by meta-task (value, low, high), accuracies by mode and texts written out, all in percent (None where
    the model cannot be asked so), and the seconds of its steps. `fewer` is P@1 of fewer elastic tokens, by their number, and
    `fewer_told` what is answered and written out from them."""

    recipe: str
    seed: int
    fingerprint: str
    precision: Precision
    answers: dict[str, float]
    texts: float | None
    seconds: float
    fewer: dict[str, Precision] = field(default_factory=dict)
    fewer_told: dict[str, dict[str, float]] = field(default_factory=dict)


def scaled(recipe: Recipe, steps: int, seed: int) -> Recipe:
    """A recipe with another seed and so many steps for `tiny`'s; phases, warm-ups and changes of weights in proportion."""
    share = steps / load("tiny").phase.steps
    return replace(recipe, seed=seed, phases=tuple(_scaled(phase, share) for phase in recipe.phases))


def _scaled(phase: Phase, share: float) -> Phase:
    steps = max(1, round(phase.steps * share))
    warmup = round(phase.optimizer.warmup_steps * share)
    return replace(
        phase,
        steps=steps,
        optimizer=replace(phase.optimizer, warmup_steps=warmup),
        contrastive_weight=_moved(phase.contrastive_weight, share),
        language_weight=_moved(phase.language_weight, share),
    )


def _moved(weight: Weight, share: float) -> Weight:
    """A weight whose changes come earlier or later; the order of its changes stays."""
    if not isinstance(weight, Stepwise):
        return weight
    points: list[tuple[int, float]] = []
    for step, value in weight.points:
        points.append((max(points[-1][0] + 1, round(step * share)) if points else 0, value))
    return Stepwise(tuple(points))


def crem(*words: str | Path) -> None:
    """Call the command, whose words go to stderr. Raises CalledProcessError."""
    subprocess.run([sys.executable, "-m", "launchers.cli", *map(str, words)], check=True, stdout=sys.stderr)


def run(recipe: Recipe, work: Path, processes: int, call: Call = crem) -> Figures:
    """The figures of a recipe: those kept beside the work folder if they are its own, else of a run made now."""
    kept = work / "figures" / f"{recipe.name}-{recipe.seed}.json"
    if kept.is_file():
        found = Figures(**json.loads(kept.read_text()))
        if found.fingerprint == recipe_fingerprint(recipe):
            return found
    source = work / "recipes" / f"{recipe.name}-{recipe.seed}.json"
    write_atomic(source, canonical_json(recipe))
    call("run", "--recipe", source, "--work", work, "--processes", processes, "--until", "train")
    call("evaluate", "--recipe", source, "--work", work, "--no-untrained", "--no-blank")
    figures = read(recipe, work)
    write_atomic(kept, json.dumps(asdict(figures), indent=1) + "\n")
    return figures


def read(recipe: Recipe, work: Path) -> Figures:
    """What the last run of a work folder gave."""
    folder = work / "eval" / "main" / TRAINED
    found = _told(folder)
    fewer = {str(count): folder.with_name(FEWER.format(count)) for count in recipe.tokens.elastic[:-1]}
    names = [stage_name(recipe, recipe.until(phase.name)) for phase in recipe.phases]
    lines = [line for name in names for line in (work / name / "metrics.jsonl").read_text().splitlines()]
    return Figures(
        recipe=recipe.name,
        seed=recipe.seed,
        fingerprint=recipe_fingerprint(recipe),
        precision=_precision(folder),
        fewer={count: _precision(place) for count, place in fewer.items()},
        fewer_told={count: _told(place) for count, place in fewer.items()},
        answers={mode: value for mode, value in found.items() if mode != "texts"},
        texts=found.get("texts"),
        seconds=sum(float(json.loads(line)["seconds"]) for line in lines),
    )


def _told(folder: Path) -> dict[str, float]:
    """Accuracies by mode, and texts written out, in percent; what was not measured is not among them."""
    found: dict[str, float] = {}
    for mode in ("native", "compressed"):
        results = [read_result(VlmResult, path) for name in ASKED if (path := folder / f"{name}-{mode}.json").is_file()]
        scores = [result.accuracy.score.value for result in results if result.accuracy is not None]
        if scores:
            found[mode] = 100 * sum(scores) / len(scores)
    if (written := folder / reconstruct.RESULT_NAME).is_file():
        found["texts"] = 100 * read_result(reconstruct.ReconstructResult, written).own.value
    return found


def _precision(folder: Path) -> Precision:
    groups = read_result(mmeb.MmebResult, folder / retrieval_set.RESULT_NAME).groups
    return {name: _percent(groups[name]) for name in META_TASKS if name in groups}


def _percent(score: Score) -> tuple[float, float, float]:
    return 100 * score.value, 100 * score.low, 100 * score.high


def table(runs: Sequence[Figures]) -> str:
    """A line for each run, in Markdown. Seeds stand apart: their spread is what a difference has to pass."""
    columns = ("recipe", "seed", *META_TASKS, "native", "compressed", "texts", "seconds")
    lines = [f"| {' | '.join(columns)} |", "|---|---|" + "---:|" * (len(columns) - 2)]
    for each in runs:
        for count, fewer in each.fewer.items():
            told = [_number(each.fewer_told.get(count, {}).get(name)) for name in ("compressed", "texts")]
            cells = [f"`{each.recipe}`, {count} tokens", str(each.seed), *_intervals(fewer), "-", *told, "-"]
            lines.append(f"| {' | '.join(cells)} |")
        answers = [_number(each.answers.get(mode)) for mode in ("native", "compressed")]
        cells = [
            f"`{each.recipe}`",
            str(each.seed),
            *_intervals(each.precision),
            *answers,
            _number(each.texts),
            f"{each.seconds:.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _intervals(precision: Precision) -> list[str]:
    return [_interval(precision.get(name)) for name in META_TASKS]


def _interval(score: Sequence[float] | None) -> str:
    return "-" if score is None else f"{score[0]:.1f} ({score[1]:.1f} to {score[2]:.1f})"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.methods")
    parser.add_argument("--work", type=Path, required=True, help="the work folder of all runs")
    parser.add_argument("--steps", type=int, default=600, help="steps for tiny's 900, others in proportion (default: 600)")
    parser.add_argument("--seeds", type=int, default=2, help="number of seeds (default: 2)")
    parser.add_argument("--recipe", action="append", choices=METHODS, help="compare these alone")
    parser.add_argument("--processes", type=int, default=min(2, os.cpu_count() or 1), help="ranks of a training")
    given = parser.parse_args()
    names = [name for name in given.recipe or METHODS if name in RECIPES]
    recipes = [scaled(load(name), given.steps, seed) for name in names for seed in range(given.seeds)]
    print(table([run(recipe, given.work, given.processes) for recipe in recipes]))


if __name__ == "__main__":
    main()
