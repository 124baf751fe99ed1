"""The figures that tables of papers are made of, taken from our results: in percent, each with what makes it incomparable."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

from eval.benchmarks.known_files import KNOWN
from eval.benchmarks.registry import SIX, benchmark_named
from eval.cross_domain import CrossDomainResults
from eval.metrics import Score
from eval.mmeb import MmebResult
from eval.run_report.measured import Results
from eval.vlm_result import VlmResult, kept_tokens
from pipeline.data.mmeb_registry import META

GROUPS = {
    "CLS": "classification",
    "QA": "vqa",
    "RET": "retrieval",
    "GD": "grounding",
    "IND": "IND",
    "OOD": "OOD",
    "Overall": "overall",
    "MMEB": "overall",
}
"""The papers' columns, and the means of ours that they are."""

BENCHMARKS = dict(zip(("MMB", "MMVet", "AI2D", "Hallus.", "MMMU", "MMStar"), (each.name for each in SIX), strict=True))
CAPTIONS = {"F": "flickr30k", "C": "coco", "S": "sharegpt4v", "U": "urban1k"}
CHOICES = {"Repl.": "replace", "Swap": "swap", "Add": "add"}
PUBLISHED_QUERIES = 1000
"""Each of MMEB's sets has so many queries in MMEB-eval."""

TOY = "toy world"
SWAPPED = "swapped"
"""The mode that is a control: another picture's tokens."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure in percent with its 95 % interval, where one is known. `note` says why it is not comparable; empty: it is."""

    value: float
    low: float | None = None
    high: float | None = None
    note: str = ""


Figures = Mapping[str, Figure]
"""Figures by the papers' columns; what was not measured is not among them."""


def of_score(score: Score, note: str = "") -> Figure:
    """A score in percent."""
    return Figure(100 * score.value, 100 * score.low, 100 * score.high, note)


def retrieval_figures(result: MmebResult, note: str = "") -> dict[str, Figure]:
    """P@1 by meta-task, split and overall. A mean over other sets than MMEB's own is told by their number."""
    found = {}
    for column, group in GROUPS.items():
        if group in result.groups:
            sizes = {item.name: item.score.count for item in result.members(group)}
            found[column] = of_score(result.groups[group], note or unlike_mmeb(group, sizes))
    return found


def unlike_mmeb(group: str, sizes: Mapping[str, int | None]) -> str:
    """Why a mean over these sets (with their numbers of queries, where known) is not MMEB's; empty where it is."""
    expected = {name for name, info in META.items() if group in (info.meta_task, info.split, "overall")}
    if sizes.keys() != expected:
        return f"{len(expected & sizes.keys())} of {len(expected)} sets" + (" and others" if sizes.keys() - expected else "")
    short = [name for name, count in sizes.items() if count not in (None, PUBLISHED_QUERIES)]
    return f"{len(short)} sets without their {PUBLISHED_QUERIES:,} queries" if short else ""


def set_figures(result: MmebResult, note: str = "") -> dict[str, Figure]:
    """P@1 of each set."""
    return {
        item.name: of_score(item.score, note or ("" if item.score.count == PUBLISHED_QUERIES else f"{item.score.count} queries"))
        for item in result.datasets
    }


def answer_figures(files: Mapping[str, VlmResult], note: str = "") -> dict[str, Figure]:
    """The figure of each of the six benchmarks, and `AVG` of all; of two files of one benchmark the first counts."""
    found: dict[str, Figure] = {}
    for column, name in BENCHMARKS.items():
        result = next((each for each in files.values() if each.benchmark == name), None)
        if result is not None and result.headline.score is not None:
            found[column] = of_score(result.headline.score, note or _unlike_published(result))
    return found | _average(found)


def noted_answers(metrics: Mapping[str, float], note: str) -> dict[str, Figure]:
    """The same from what a run noted: shares by the name of the question file."""
    found: dict[str, Figure] = {}
    for column, name in BENCHMARKS.items():
        of = {file: value for file, value in metrics.items() if (known := benchmark_named(file)) and known.name == name}
        if of:
            file, value = next(iter(sorted(of.items())))
            found[column] = Figure(100 * value, note=note or ("" if file in KNOWN else f"{file}: no known file"))
    return found | _average(found)


def noted_retrieval(metrics: Mapping[str, float], note: str) -> dict[str, Figure]:
    """P@1 from what a run noted: shares by set and by group. How many queries a set had is not noted."""
    sets = {name: None for name in metrics if name in META}
    found = {}
    for column, group in GROUPS.items():
        if group in metrics:
            members = {name: None for name in sets if group in (META[name].meta_task, META[name].split, "overall")}
            found[column] = Figure(100 * metrics[group], note=note or unlike_mmeb(group, members))
    return found


def caption_figures(results: CrossDomainResults, note: str = "") -> dict[str, Figure]:
    """R@1 by set and direction, and SugarCrepe's groups."""
    found = {}
    short = {name: letter for letter, name in CAPTIONS.items()}
    for item in (each for each in results.sets if each.name in short):
        for each in item.directions:
            part = note or ("a part of the test" if each.is_part else "")
            found[f"{short[item.name]}.{each.name}"] = of_score(each.measures["recall_at_1"], part)
    for column, group in CHOICES.items():
        if group in results.groups:
            found[column] = of_score(results.groups[group], note)
    return found


def all_figures(results: Results, note: str = "") -> dict[str, Figure]:
    """Every figure of a model that a paper's table has a column for; `Nat.` and `Comp.` are the means of Table 2's six."""
    found: dict[str, Figure] = {}
    if results.retrieval is not None:
        found |= retrieval_figures(results.retrieval, note)
    found |= answer_figures(results.questions.get("native", {}), note)
    compressed = results.questions.get("compressed", {})
    found |= _under_mode(found, answer_figures(compressed, note))
    if "Comp." in found and (share := mean_cache_share(compressed)) is not None:
        found["Cache"] = Figure(100 * share, note=found["Comp."].note)
    if results.captions is not None:
        found |= caption_figures(results.captions, note)
    return found


def mean_cache_share(files: Mapping[str, VlmResult]) -> float | None:
    """Compression tokens over the mean number of context tokens of all questions; None where one file does not tell."""
    sizes = [(kept_tokens(each), len(each.hits)) for each in files.values()]
    known = [(size, rows) for size, rows in sizes if size is not None and rows]
    if not known or len(known) < len(files):
        return None
    context = sum(size.context * rows for size, rows in known) / sum(rows for _, rows in known)
    return known[0][0].compression / context


def _under_mode(native: Figures, compressed: Figures) -> dict[str, Figure]:
    means = {"Nat.": native.get("AVG"), "Comp.": compressed.get("AVG")}
    return {name: figure for name, figure in means.items() if figure is not None}


def _average(found: Figures) -> dict[str, Figure]:
    """The plain mean of the six; nothing where one is missing."""
    if len(found) < len(BENCHMARKS):
        return {}
    notes = [figure.note for figure in found.values() if figure.note]
    return {"AVG": Figure(fmean(figure.value for figure in found.values()), note=notes[0] if notes else "")}


def _unlike_published(result: VlmResult) -> str:
    known = KNOWN.get(result.name)
    if known is None:
        return f"{result.name}: no known file"
    if known.md5 != result.md5:
        return "not the published file"
    score = result.headline.score
    return "" if score is None or score.count == result.headline.of else f"{score.count} of {result.headline.of}"


def answer_means(results: Results) -> dict[str, float]:
    """By mode, the mean of the files' own figures in percent: over the files that have one in every mode that was asked."""
    scores = {
        mode: {name: each.headline.score.value for name, each in files.items() if each.headline.score is not None}
        for mode, files in results.questions.items()
        if mode != SWAPPED and files
    }
    shared = set.intersection(*(set(files) for files in scores.values())) if scores else set()
    return {mode: 100 * fmean(files[name] for name in shared) for mode, files in scores.items()} if shared else {}
