"""Multiple-choice and yes/no questions about pictures, answered natively or from the compression tokens alone."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self, get_args

import click

from eval.derangement import derangement
from eval.encode import content_digest
from eval.measurement import Check, Failures, ResultFolder, measure_missing
from eval.metrics import Score
from eval.model_protocol import Model, Progress, silent
from eval.option_matcher import DEFAULT_MATCHER, MATCHERS, option_matcher
from eval.options import subject_options
from eval.pictures import thumbnail
from eval.predictions import PredictionFile
from eval.prompts import STYLES, prompt
from eval.question_scores import Accuracy, HallusionScore, Verdict, by_category, circular, hallusion, judge, overall
from eval.results import Provenance, Setting
from eval.subject import find_subject, one_line_errors, show_progress
from eval.tsv import QuestionRow, QuestionTable, SkippedRow, read_tsv
from pipeline.errors import DataError
from pipeline.folder_state import corpus_state
from pipeline.manifest import fingerprint
from pipeline.sample import Side

Mode = Literal["native", "compressed", "swapped"]
"""`native`: pictures and question. `compressed`: the question alone, behind the picture's compression tokens. `swapped`: the
same with another row's tokens, so that only what needs no picture is left."""

NUM_EXAMPLES = 8
FOLDER = "mcq"
"""Where the question files of a data folder lie."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VlmSettings:
    """How questions are asked and answers read; all of it goes into the result."""

    matcher: str = DEFAULT_MATCHER
    prompt_style: str = "qwen2-vl"
    max_new_tokens: int = 32
    batch_rows: int = 64


DEFAULTS = VlmSettings()


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerExample:
    """One question as the report shows it: thumbnails as data URIs, what was answered and how it was read."""

    index: str
    category: str
    question: str
    options: dict[str, str]
    answer: str
    prediction: str
    parsed: str | None
    is_hit: bool
    pictures: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class VlmResult:
    """Accuracies of one model on one question file in one mode.

    `unparsed` answers matched no rule and are wrong. `circular` is there where the file holds rotations, `hallusion` where
    its index has HallusionBench's form. `hits` are in the order of the file.
    """

    name: str
    mode: str
    provenance: Provenance
    accuracy: Accuracy
    categories: dict[str, Accuracy]
    unparsed: int
    skipped: tuple[SkippedRow, ...]
    circular: Score | None
    hallusion: HallusionScore | None
    hits: tuple[float, ...]
    examples: tuple[AnswerExample, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions:
    """A question file in one mode as a measurement (eval.measurement). `answers` is the folder where answers are kept."""

    tsv: Path
    mode: Mode
    answers: Path
    state: str
    asking: VlmSettings = DEFAULTS
    result: type[VlmResult] = VlmResult

    @property
    def name(self) -> str:
        """A file for each question file and mode."""
        return f"{self.tsv.stem}-{self.mode}.json"

    @property
    def settings(self) -> dict[str, Setting]:
        """How questions are asked and answers read."""
        return {
            "mode": self.mode,
            "matcher": self.asking.matcher,
            "judge": "exact_matching",
            "prompt_style": self.asking.prompt_style,
            "max_new_tokens": self.asking.max_new_tokens,
        }

    def sources(self) -> dict[str, Check]:
        """The file."""
        return {self.tsv.name: partial(read_tsv, self.tsv)}

    def without(self, names: Iterable[str]) -> Self | None:
        """None without its file."""
        return None if self.tsv.name in names else self

    def measure(self, model: Model, known: VlmResult | None, progress: Progress) -> VlmResult:
        """Ask what has no answer yet and score the answers, unless the questions are those of `known`."""
        matcher = option_matcher(self.asking.matcher)
        table = read_tsv(self.tsv)
        made_of = Provenance(model=model.fingerprint, data=fingerprint(table.rows), settings=self.settings)
        if known is not None and known.provenance.agrees_with(made_of):
            return known
        asked = fingerprint([model.fingerprint, table.rows, self.mode, self.asking.prompt_style, self.asking.max_new_tokens])
        with PredictionFile(self.answers / f"{table.name}-{self.mode}.jsonl", asked) as answers:
            _ask(model, table, answers, mode=self.mode, settings=self.asking, progress=progress)
        return _scored(table, [judge(row, answers.answers[row.index], matcher) for row in table.rows], made_of)


def questions(tsv: Path, mode: Mode, answers: Path, asking: VlmSettings = DEFAULTS) -> Questions:
    """The measurement of a question file as it stands now."""
    return Questions(
        tsv=tsv, mode=mode, answers=answers, state=corpus_state(tsv, tsv.parent / "images" / tsv.stem), asking=asking
    )


def evaluate(
    model: Model, tsv: Path, *, mode: Mode, out: Path, settings: VlmSettings = DEFAULTS, progress: Progress = silent
) -> VlmResult:
    """Ask every question of a file and score the answers.

    Answers are kept in `<out>/<name>-<mode>.jsonl` as they come; run again, only the missing ones are asked. Raises
    ConfigError for an unknown matcher or prompt style, DataError for an unusable file.
    """
    return questions(tsv, mode, out, settings).measure(model, None, progress)


def _scored(table: QuestionTable, verdicts: Sequence[Verdict], made_of: Provenance) -> VlmResult:
    categories = by_category(verdicts)
    return VlmResult(
        name=table.name,
        mode=str(made_of.settings["mode"]),
        provenance=made_of,
        accuracy=overall(verdicts, categories),
        categories=categories,
        unparsed=sum(verdict.parsed is None for verdict in verdicts),
        skipped=table.skipped,
        circular=circular(verdicts),
        hallusion=hallusion(verdicts),
        hits=tuple(float(verdict.is_hit) for verdict in verdicts),
        examples=tuple(_example(verdict) for verdict in _shown(verdicts)),
    )


def table_text(result: VlmResult) -> str:
    """The result as a plain text table, in percent, with 95 % intervals."""
    name = f"{result.name}, {result.mode}"
    lines = [f"{name:<32} {'accuracy':>8}  {'95 % interval':<14} {'majority':>8} {'rows':>6}"]
    lines += [_table_row(name, item) for name, item in [*result.categories.items(), ("overall", result.accuracy)]]
    if result.circular is not None:
        lines.append(f"  circular (all rotations right): {100 * result.circular.value:.1f} of {result.circular.count} questions")
    if result.hallusion is not None:
        figures = result.hallusion
        values = {"aAcc": figures.a_acc, "fAcc": figures.f_acc, "qAcc": figures.q_acc, "mean": figures.mean}
        lines.append("  " + ", ".join(f"{name} {100 * value:.1f}" for name, value in values.items()))
    matcher = result.provenance.settings["matcher"]
    lines.append(f"  unparsed: {result.unparsed}; rows left out: {len(result.skipped)}; matcher {matcher}")
    return "\n".join(lines)


def _ask(
    model: Model, table: QuestionTable, answers: PredictionFile, *, mode: Mode, settings: VlmSettings, progress: Progress
) -> None:
    """Answer the rows that have no answer yet, batch by batch."""
    sources = _sources(table, mode)
    missing = [number for number, row in enumerate(table.rows) if row.index not in answers.answers]
    what = f"{table.name} {mode}"
    for start in range(0, len(missing), settings.batch_rows):
        batch = missing[start : start + settings.batch_rows]
        texts = model.answer(
            [Side(images=table.rows[sources[number]].images) for number in batch],
            [prompt(table.rows[number], settings.prompt_style) for number in batch],
            compressed=mode != "native",
            max_new_tokens=settings.max_new_tokens,
        )
        answers.append({table.rows[number].index: text for number, text in zip(batch, texts, strict=True)})
        progress(what, len(answers.answers), len(table.rows))


def _sources(table: QuestionTable, mode: Mode) -> list[int]:
    """Whose pictures stand in the context of each row: its own, or those of a row with other pictures."""
    if mode != "swapped":
        return list(range(len(table.rows)))
    return derangement([content_digest([Side(images=row.images)]) for row in table.rows], what=table.name)


def _shown(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """A few rows of each category in turn, spread over the file: the same in every mode, so that they can stand side by side."""
    groups: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        groups.setdefault(verdict.row.category, []).append(verdict)
    turns = -(-NUM_EXAMPLES // len(groups))
    picked = [group[turn * len(group) // turns] for turn in range(turns) for group in groups.values() if turn < len(group)]
    return picked[:NUM_EXAMPLES]


def _example(verdict: Verdict) -> AnswerExample:
    row: QuestionRow = verdict.row
    return AnswerExample(
        index=row.index,
        category=row.category,
        question=row.question,
        options=dict(row.options),
        answer=row.answer,
        prediction=verdict.prediction,
        parsed=verdict.parsed,
        is_hit=verdict.is_hit,
        pictures=tuple(map(thumbnail, row.images)),
    )


def _table_row(name: str, item: Accuracy) -> str:
    spread = f"{100 * item.score.low:.1f}-{100 * item.score.high:.1f}"
    return f"  {name:<30} {100 * item.score.value:>8.1f}  {spread:<14} {100 * item.majority:>8.1f} {item.score.count:>6}"


def found_files(data: Path) -> list[Path]:
    """The question files of a data folder; none where it has none."""
    return sorted((data / FOLDER).glob("[!.]*.tsv"))  # macOS puts a ._name.tsv beside what it copies


def question_files(data: Path, names: Sequence[str] = ()) -> list[Path]:
    """The question files of a data folder, or those named. Raises DataError when there is none."""
    found = found_files(data)
    unknown = sorted(set(names) - {path.stem for path in found})
    if unknown or not found:
        raise DataError(f"{data / 'mcq'}: no {unknown[0] if unknown else '*'}.tsv in it; put VLMEvalKit question files there")
    return [path for path in found if not names or path.stem in names]


@click.command()
@subject_options
@click.option("--data", type=click.Path(path_type=Path), help="Data folder with mcq/*.tsv. Default: the one the run names.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder of answers and results. Default: <work>/eval/<run or model>."
)
@click.option(
    "--mode", type=click.Choice(get_args(Mode)), default="native", show_default=True, help="What an answer may look at."
)
@click.option("--dataset", "names", multiple=True, help="Name of a question file without .tsv; may be given several times.")
@click.option(
    "--matcher", type=click.Choice(list(MATCHERS)), default=DEFAULT_MATCHER, show_default=True, help="Rules that read an answer."
)
@click.option(
    "--prompt-style", type=click.Choice(STYLES), default="qwen2-vl", show_default=True, help="Wording of the questions."
)
@click.option("--max-new-tokens", type=click.IntRange(min=1), default=32, show_default=True, help="Longest answer.")
def main(data: Path | None, out: Path | None, mode: Mode, names: tuple[str, ...], **rest: Any) -> None:
    """Ask multiple-choice and yes/no questions; print accuracy by category beside its majority baseline, and write JSON."""
    settings = VlmSettings(**{name: rest.pop(name) for name in ("matcher", "prompt_style", "max_new_tokens")})
    with one_line_errors():
        subject = find_subject(**rest)
        folder, failures = ResultFolder(out or subject.out), Failures()
        wanted = [questions(path, mode, folder.path, settings) for path in question_files(subject.data_folder(data), names)]
        folder.path.mkdir(parents=True, exist_ok=True)  # before the hours of work
        failures.check(wanted, show_progress)
        model = subject.load()
        measure_missing(model, wanted, folder, failures, show_progress)
        for each in wanted:
            result = folder.find(each, model.fingerprint)
            if result is not None:
                click.echo(f"{table_text(result)}\n  result: {folder.path / each.name}")
        failures.raise_any()


if __name__ == "__main__":
    main()
