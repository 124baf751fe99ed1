"""Multiple-choice and yes/no questions about pictures, answered natively or from the compression tokens alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import click

from eval.derangement import derangement
from eval.encode import content_digest
from eval.metrics import Score
from eval.model_protocol import Model, Progress, silent
from eval.option_matcher import DEFAULT_MATCHER, MATCHERS, option_matcher
from eval.options import subject_options
from eval.pictures import thumbnail
from eval.predictions import PredictionFile
from eval.prompts import STYLES, prompt
from eval.question_scores import Accuracy, HallusionScore, Verdict, by_category, circular, hallusion, judge, overall
from eval.results import Provenance, write_result
from eval.subject import find_subject, one_line_errors, show_progress
from eval.tsv import QuestionRow, QuestionTable, SkippedRow, read_tsv
from pipeline.errors import DataError
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

    @property
    def file_name(self) -> str:
        """Name of the result file."""
        return f"{self.name}-{self.mode}.json"


def evaluate(
    model: Model, tsv: Path, *, mode: Mode, out: Path, settings: VlmSettings = DEFAULTS, progress: Progress = silent
) -> VlmResult:
    """Ask every question of a file and score the answers.

    Answers are kept in `<out>/<name>-<mode>.jsonl` as they come; run again, only the missing ones are asked. Raises
    ConfigError for an unknown matcher or prompt style, DataError for an unusable file.
    """
    matcher = option_matcher(settings.matcher)
    table = read_tsv(tsv)
    asked = fingerprint([model.fingerprint, table.rows, mode, settings.prompt_style, settings.max_new_tokens])
    answers = PredictionFile(out / f"{table.name}-{mode}.jsonl", asked)
    _ask(model, table, answers, mode=mode, settings=settings, progress=progress)
    verdicts = [judge(row, answers.answers[row.index], matcher) for row in table.rows]
    categories = by_category(verdicts)
    return VlmResult(
        name=table.name,
        mode=mode,
        provenance=Provenance(model=model.fingerprint, data=fingerprint(table.rows), settings=_recorded(settings, mode)),
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


def _recorded(settings: VlmSettings, mode: Mode) -> dict[str, str | int | float | bool | None]:
    return {
        "mode": mode,
        "matcher": settings.matcher,
        "judge": "exact_matching",
        "prompt_style": settings.prompt_style,
        "max_new_tokens": settings.max_new_tokens,
    }


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


def question_files(data: Path, names: Sequence[str] = ()) -> list[Path]:
    """The question files of a data folder, or those named. Raises DataError when there is none."""
    found = sorted((data / FOLDER).glob("*.tsv"))
    unknown = sorted(set(names) - {path.stem for path in found})
    if unknown or not found:
        raise DataError(f"{data / 'mcq'}: no {unknown[0] if unknown else '*'}.tsv in it; put VLMEvalKit question files there")
    return [path for path in found if not names or path.stem in names]


def refuse_unusable(paths: Sequence[Path]) -> None:
    """Read all files once, so that one that cannot be used ends the command before hours of work. Raises DataError."""
    for path in paths:
        read_tsv(path)


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
        folder = out or subject.out
        paths = question_files(subject.data_folder(data), names)
        refuse_unusable(paths)
        folder.mkdir(parents=True, exist_ok=True)  # before the hours of work
        model = subject.load()
        for path in paths:
            result = evaluate(model, path, mode=mode, out=folder, settings=settings, progress=show_progress)
            click.echo(table_text(result))
            write_result(result, folder / result.file_name)
            click.echo(f"  result: {folder / result.file_name}")


if __name__ == "__main__":
    main()
