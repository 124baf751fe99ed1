"""One self-contained HTML page from the result files: no outside file, readable with the network cut."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from eval.compare import compare
from eval.metrics import Score
from eval.mmeb import MmebResult
from eval.page import page_of
from eval.reconstruct import ReconstructResult
from eval.report_charts import Point, line_chart, score_chart
from eval.report_examples import answer_examples, retrieval_examples
from eval.report_markup import Section, escape, paragraph, percent
from eval.report_tables import provenance_table, question_table, reconstruction_table, retrieval_table
from eval.results import Provenance, read_result
from eval.vlm_result import VlmResult
from pipeline.errors import DataError
from pipeline.manifest import write_atomic

_MAX_CHARTS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportInputs:
    """The files that a report is made from; of those left out it says that they were not measured.

    `notice` stands under the title ("toy world: not comparable with MMEB"). `trained`, `untrained` and `blank` are results of
    eval.mmeb, `questions` of eval.vlm, `reconstruction` of eval.reconstruct. `curves` is a JSONL file of
    `{"step": n, metric: value}`, `recipe` the resolved recipe as JSON. `links` maps what a reader may want to go to (a run, a
    folder) to a path relative to the page or to a command or run id.
    """

    title: str
    notice: str = ""
    trained: Path | None = None
    untrained: Path | None = None
    blank: Path | None = None
    questions: tuple[Path, ...] = ()
    reconstruction: Path | None = None
    curves: Path | None = None
    recipe: Path | None = None
    links: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Results:
    """What was read from the files; question results by file name and mode."""

    retrieval: Mapping[str, MmebResult]
    questions: Mapping[str, Mapping[str, VlmResult]]
    reconstruction: ReconstructResult | None


def build_report(inputs: ReportInputs, out: Path) -> None:
    """Write the page. Raises DataError for a result file that is missing or is something else."""
    results = _read(inputs)
    sections = [item for item in (*_result_sections(results), *_run_sections(inputs, results)) if item.body]
    write_atomic(out, page_of(inputs.title, sections, notice=inputs.notice, cards=_cards(results), has_script=True))


def read_curves(path: Path) -> dict[str, list[Point]]:
    """Metrics of a JSONL file as (step, value) points, sorted by name. Raises DataError naming the line that is none."""
    curves: dict[str, list[Point]] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); train first") from error
    for number, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
            step = float(entry.pop("step"))
            for name, value in entry.items():
                curves.setdefault(name, []).append((step, float(value)))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f'{path}: line {number} is not {{"step": n, metric: value}} ({error}); train again') from error
    return dict(sorted(curves.items()))


def _read(inputs: ReportInputs) -> _Results:
    named = {"trained": inputs.trained, "untrained": inputs.untrained, "blank pictures": inputs.blank}
    questions: dict[str, dict[str, VlmResult]] = {}
    for path in inputs.questions:
        result = read_result(VlmResult, path)
        questions.setdefault(result.name, {})[result.mode] = result
    return _Results(
        retrieval={name: read_result(MmebResult, path) for name, path in named.items() if path},
        questions=questions,
        reconstruction=read_result(ReconstructResult, inputs.reconstruction) if inputs.reconstruction else None,
    )


def _cards(results: _Results) -> str:
    """The few numbers that a reader looks for first."""
    cards = []
    if "trained" in results.retrieval:
        overall = results.retrieval["trained"].overall
        untrained = results.retrieval["untrained"].overall if "untrained" in results.retrieval else None
        beside = f", untrained {percent(untrained.value)} %" if untrained else ""
        cards.append(_card("P@1, mean over datasets", overall, f"chance {percent(overall.chance)} %{beside}"))
    for name, modes in results.questions.items():
        for mode, words in (("native", "native answers"), ("compressed", "answers from tokens alone")):
            if mode in modes:
                cards += _answer_card(f"{name}: {words}", modes[mode])
    if results.reconstruction is not None:
        swapped = percent(results.reconstruction.swapped.value)
        cards.append(_card("texts rebuilt exactly", results.reconstruction.own, f"with another's tokens {swapped} %"))
    return f'<div class="cards">{"".join(cards)}</div>' if cards else ""


def _answer_card(name: str, result: VlmResult) -> list[str]:
    """The benchmark's own figure; none where it was not computed."""
    if result.headline.score is None:
        return []
    beside = f", majority {percent(result.accuracy.majority)} %" if result.accuracy and result.headline.unit == "rows" else ""
    return [_card(name, result.headline.score, f"{result.headline.name}{beside}")]


def _card(name: str, score: Score, note: str) -> str:
    return (
        f'<div class="card"><div class="name">{escape(name)}</div><div class="figure">{percent(score.value)} %</div>'
        f'<div class="soft small">{percent(score.low)} to {percent(score.high)}; {escape(note)}</div></div>'
    )


def _result_sections(results: _Results) -> list[Section]:
    found, lines = _retrieval(results.retrieval)
    tables = [question_table(modes) for modes in results.questions.values()]
    answers = [answer_examples(modes) for modes in results.questions.values()]
    return [
        Section("retrieval", "Retrieval: P@1", _with(_RETRIEVAL, lines) or _not_measured("retrieval")),
        Section("questions", "Questions about pictures", _with(_QUESTIONS, tables) or _not_measured("questions")),
        Section(
            "reconstruction",
            "Texts rebuilt from the tokens",
            _with(_REBUILT, _rebuilt(results.reconstruction)) or _not_measured("reconstruction"),
        ),
        Section("found", "What was found", _with(_FOUND, found)),
        Section("answers", "Native and compressed answers", _with(_ANSWERS, answers)),
    ]


def _retrieval(results: Mapping[str, MmebResult]) -> tuple[list[str], list[str]]:
    """Examples of the trained model, and its chart and table beside the others."""
    if "trained" not in results:
        return [], []
    lines = compare(results["trained"], results.get("untrained"), results.get("blank pictures"))
    sets = [line for line in lines if line.smallest_pool is not None]
    chart = f'<div class="scroll chart" tabindex="0">{score_chart(sets)}</div>'
    return [retrieval_examples(results["trained"])], [chart, retrieval_table(lines)]


def _run_sections(inputs: ReportInputs, results: _Results) -> list[Section]:
    curves = read_curves(inputs.curves) if inputs.curves else {}
    charts = "".join(line_chart(name, points) for name, points in list(curves.items())[:_MAX_CHARTS])
    links = "".join(f"<li>{escape(name)}: {_link(target)}</li>" for name, target in inputs.links.items())
    return [
        Section("training", "Training", [f'<div class="charts">{charts}</div>' if charts else ""]),
        Section("recipe", "Recipe", [_recipe(inputs.recipe) if inputs.recipe else ""]),
        Section(
            "provenance",
            "Where the numbers come from",
            [f"<ul>{links}</ul>" if links else "", provenance_table(_sources(results))],
        ),
    ]


def _with(explanation: str, parts: list[str]) -> list[str]:
    """An explanation before parts that are there, nothing where none is."""
    return [paragraph(explanation), *parts] if any(parts) else []


def _not_measured(kind: str) -> list[str]:
    return [paragraph(f"Not measured. crem evaluate --only {kind} measures it, where data and model have it.")]


def _rebuilt(result: ReconstructResult | None) -> list[str]:
    if result is None:
        return []
    counts = f"{result.num_texts} texts of {result.mean_words:.1f} words in the mean;"
    return [paragraph(f"{counts} {percent(result.unseen)} % stand in no training text."), reconstruction_table(result)]


def _recipe(path: Path) -> str:
    try:
        text = json.dumps(json.loads(path.read_text(encoding="utf-8")), indent=2, ensure_ascii=False)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a recipe in JSON ({error}); train again") from error
    return f"<details><summary>Every value</summary><pre>{escape(text)}</pre></details>"


def _link(target: str) -> str:
    """A relative path becomes a link; a command, a run id or an address stays text, so that the page calls nobody."""
    is_path = "/" in target and " " not in target and "//" not in target and ":" not in target
    return f'<a href="{escape(target)}">{escape(target)}</a>' if is_path else f"<code>{escape(target)}</code>"


def _sources(results: _Results) -> dict[str, Provenance]:
    sources = {f"retrieval, {name}": result.provenance for name, result in results.retrieval.items()}
    for name, modes in results.questions.items():
        sources |= {f"{name}, {mode}": result.provenance for mode, result in modes.items()}
    if results.reconstruction is not None:
        sources["reconstruction"] = results.reconstruction.provenance
    return sources


_RETRIEVAL = (
    "Share of queries whose right candidate scores highest in its pool; a tie of n counts 1/n, so a model whose embeddings are "
    "all equal scores chance. Small figures are 95 % bootstrap intervals, stratified by dataset for means. Learned: above chance "
    "and above the untrained model, both beyond the interval."
)
_QUESTIONS = (
    "Accuracy by type of question. Majority is the best that can be done without looking: the most frequent label, or the text "
    "that is most often right elsewhere in the type. From tokens alone, the question is answered behind the compression tokens, "
    "with the picture out of reach; with another picture's tokens put in, accuracy must fall to the majority."
)
_REBUILT = "The text is read into the compression tokens, taken away, and written out again from them."
_FOUND = "The query on the left, its best candidates on the right; the right one is framed."
_ANSWERS = "The same questions answered with the picture in sight and from its compression tokens alone."
