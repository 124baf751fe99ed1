"""Questions about pictures, answered natively or from the compression tokens alone, and scored as their benchmark is."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self, get_args

import click

from eval.benchmarks.registry import BY_NAME
from eval.measurement import Check, Failures, ResultFolder, measure_missing
from eval.model_protocol import Model, Progress, silent
from eval.option_matcher import DEFAULT_MATCHER, MATCHERS, option_matcher
from eval.options import subject_options
from eval.predictions import PredictionFile, answers_path
from eval.prompts import STYLES, check_style
from eval.question_asking import ask
from eval.question_files import question_files, read_questions
from eval.questions import QuestionTable
from eval.results import Provenance, Setting
from eval.subject import find_subject, one_line_errors, show_progress
from eval.verdicts import Rules
from eval.vlm_result import VlmResult, result_of, table_text
from eval.vlm_settings import DEFAULTS, PRESETS, Mode, VlmSettings
from pipeline.folder_state import corpus_state
from pipeline.manifest import fingerprint

SETTINGS = ("matcher", "prompt_style", "max_new_tokens", "min_tokens", "max_tokens", "parity", "allow_changed")


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
        return {"mode": self.mode, "judge": "exact", **self.asking.decisive}

    def sources(self) -> dict[str, Check]:
        """The file."""
        return {self.tsv.name: self._read}

    def without(self, names: Iterable[str]) -> Self | None:
        """None without its file."""
        return None if self.tsv.name in names else self

    def _read(self) -> QuestionTable:
        asking = self.asking
        return read_questions(self.tsv, parity=asking.parity, allow_changed=asking.allow_changed, alpha=asking.alpha)

    def measure(self, model: Model, known: VlmResult | None, progress: Progress) -> VlmResult:
        """Ask what has no answer yet and score the answers, unless the questions are those of `known`."""
        rules = Rules(matcher=option_matcher(self.asking.matcher), parity=self.asking.parity)
        check_style(self.asking.prompt_style)
        table = self._read()
        made_of = Provenance(model=model.fingerprint, data=fingerprint([table.rows, table.skipped]), settings=self.settings)
        if known is not None and known.provenance.agrees_with(made_of):
            return known
        benchmark = BY_NAME[table.benchmark]
        length = self.asking.max_new_tokens or benchmark.max_new_tokens
        asked = fingerprint([model.fingerprint, table.rows, self.mode, self.asking.prompt_style, self.asking.way, length])
        path = answers_path(self.answers, f"{table.name}-{self.mode}", asked)
        with PredictionFile(path, asked) as answers:
            ask(model, table, answers, mode=self.mode, settings=self.asking, progress=progress)
        verdicts = [benchmark.verdict(row, answers.answers[row.index], rules) for row in table.rows]
        return result_of(table, verdicts, made_of, {**answers.conditions, "max_new_tokens": length})


def questions(tsv: Path, mode: Mode, answers: Path, asking: VlmSettings = DEFAULTS) -> Questions:
    """The measurement of a question file as it stands now."""
    return Questions(
        tsv=tsv, mode=mode, answers=answers, state=corpus_state(tsv, tsv.parent / "images" / tsv.stem), asking=asking
    )


def evaluate(
    model: Model, tsv: Path, *, mode: Mode, out: Path, settings: VlmSettings = DEFAULTS, progress: Progress = silent
) -> VlmResult:
    """Ask every question of a file and score the answers.

    Answers are kept below `out` as they come, in a file named by what they belong to; run again, only the missing ones are
    asked. Raises ConfigError for an unknown matcher or prompt style, DataError for an unusable file.
    """
    return questions(tsv, mode, out, settings).measure(model, None, progress)


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
    "--preset",
    type=click.Choice(list(PRESETS)),
    default="recipe",
    show_default=True,
    help="Settings together: the model's own, or VLMEvalKit's (limits of pixels, system line, alpha, length, parity).",
)
@click.option("--matcher", type=click.Choice(list(MATCHERS)), help=f"Rules that read an answer. Default: {DEFAULT_MATCHER}.")
@click.option("--prompt-style", type=click.Choice(STYLES), help="Wording of the questions. Default: qwen2-vl.")
@click.option("--max-new-tokens", type=click.IntRange(min=1), help="Longest answer. Default: the benchmark's own.")
@click.option("--min-tokens", type=click.IntRange(min=1), help="Least visual tokens of a picture. Default: the recipe's.")
@click.option("--max-tokens", type=click.IntRange(min=1), help="Most visual tokens of a picture. Default: the recipe's.")
@click.option("--parity/--no-parity", default=None, help="Read and score as VLMEvalKit does, accidents included.")
@click.option("--allow-changed", is_flag=True, help="Take a known benchmark's file that is not the published one.")
def main(data: Path | None, out: Path | None, mode: Mode, names: tuple[str, ...], **rest: Any) -> None:
    """Ask questions about pictures; print accuracy by category and each benchmark's own figure, and write JSON."""
    preset = PRESETS[rest.pop("preset")]
    given = {name: rest.pop(name) for name in SETTINGS}
    settings = replace(preset, **{name: value for name, value in given.items() if value is not None})
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
