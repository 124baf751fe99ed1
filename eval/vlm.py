"""`python -m eval.vlm`: questions about pictures, asked natively or from compression tokens, scored as their benchmark is."""

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import click

from eval.benchmarks.registry import average_text
from eval.foreign_predictions import read_predictions
from eval.judges.judges import EXACT, judge_of
from eval.measurement import Failures, ResultFolder, measure_missing
from eval.model_protocol import Model, Progress, silent
from eval.option_matcher import DEFAULT_MATCHER, MATCHERS
from eval.options import subject_options
from eval.predictions import models_that_answered
from eval.prompts import STYLES
from eval.question_asking import Answers, Asking, ask, known_answers
from eval.question_files import question_files
from eval.ranks import is_rank, run_again
from eval.results import write_result
from eval.subject import Subject, find_subject, one_line_errors, show_messages, show_progress
from eval.vlm_export import FORMATS, export
from eval.vlm_measurement import Questions, evaluate, questions
from eval.vlm_result import VlmResult, table_text
from eval.vlm_settings import PRESETS, Mode
from pipeline.chat.address import KEY_VARIABLE
from pipeline.encode.ranks import LONE, Ranks
from pipeline.errors import ConfigError, DataError
from pipeline.manifest import file_digest

__all__ = ["Questions", "evaluate", "main", "questions"]

Do = Literal["infer", "eval", "all"]
SETTINGS = ("matcher", "prompt_style", "max_new_tokens", "min_tokens", "max_tokens", "parity", "allow_changed")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """What a call asks for: files in one mode, what is done with them, and in which form answers are exported besides."""

    files: Sequence[Questions]
    out: Path
    do: Do
    form: str | None
    ranks: Ranks = LONE

    @property
    def folder(self) -> ResultFolder:
        return ResultFolder(self.out, is_written=self.ranks.is_first)

    @property
    def progress(self) -> Progress:
        return show_progress if self.ranks.is_first else silent


@click.command()
@subject_options
@click.argument("more", nargs=-1, metavar="[NAME]...")
@click.option(
    "--data",
    "data",
    multiple=True,
    metavar="FOLDER|NAME",
    help="Data folder with mcq/*.tsv (default: the one the run names), or names of question files there or in $LMUData.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder of answers and results. Default: <work>/eval/<run or model>."
)
@click.option(
    "--mode", type=click.Choice(get_args(Mode)), default="native", show_default=True, help="What an answer may look at."
)
@click.option("--dataset", "names", multiple=True, help="Name of a question file without .tsv; may be given several times.")
@click.option(
    "--do",
    type=click.Choice(get_args(Do)),
    default="all",
    show_default=True,
    help="Ask (infer), score answers that are there without loading a model (eval), or both.",
)
@click.option(
    "--predictions",
    type=click.Path(path_type=Path),
    help="Score these answers (xlsx, tsv, csv, json, jsonl with index, prediction).",
)
@click.option("--export", "form", type=click.Choice(FORMATS), help="Write answers in VLMEvalKit's layout too, with hit by row.")
@click.option(
    "--judge",
    default=EXACT,
    show_default=True,
    metavar="exact|MODEL|FOLDER",
    help="Who reads what the rules cannot: nobody, a served model (--judge-url), or a language model of a folder.",
)
@click.option(
    "--judge-url",
    "judge_urls",
    multiple=True,
    help=f"Where the judge is served, or a file of addresses; {KEY_VARIABLE} holds the key.",
)
@click.option("--processes", type=click.IntRange(1), default=1, show_default=True, help="Processes on this machine: one a GPU.")
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
@click.option("--allow-changed", is_flag=True, default=None, help="Take a known benchmark's file that is not the published one.")
def main(predictions: Path | None, processes: int, **given: Any) -> None:
    """Ask questions about pictures; print accuracy by category and each benchmark's own figure, and write JSON.

    NAMEs may follow --data: --data MMBench_DEV_EN AI2D_TEST.
    """
    with one_line_errors():
        if predictions is not None:
            _score_predictions(predictions, given)
            return
        if processes > 1 and not is_rank():
            sys.exit(run_again("eval.vlm", processes))
        asked = {
            name: given.pop(name)
            for name in ("more", "data", "names", "out", "mode", "do", "form", "preset", "judge", "judge_urls", *SETTINGS)
        }
        asked |= {name: given[name] for name in ("device", "dtype")}
        subject = find_subject(**given)
        ranks = Ranks.join()
        folder, names = _places(asked)
        wanted = _wanted(asked, question_files(subject.data_folder(folder), names), asked["out"] or subject.out, ranks)
        wanted.out.mkdir(parents=True, exist_ok=True)  # before the hours of work
        failures = Failures()
        failures.check(wanted.files[ranks.rank :: ranks.count], wanted.progress)
        failures.share(ranks)
        _measure(subject, wanted, failures)
        ranks.leave()
        if ranks.is_first:
            failures.raise_any()


def _places(asked: dict[str, Any]) -> tuple[Path | None, list[str]]:
    """The data folder and the names of question files that were given. Raises ConfigError for two folders."""
    values = [*asked["data"], *asked["more"]]
    folders = [Path(value) for value in values if Path(value).is_dir()]
    names = [value for value in values if not Path(value).is_dir()]
    if len(folders) > 1:
        raise ConfigError(f"--data: {folders[0]} and {folders[1]}; name one data folder, and question files by their names")
    if paths := [name for name in names if "/" in name]:
        raise ConfigError(f"--data {paths[0]}: no such folder")
    return (folders[0] if folders else None), [*names, *asked["names"]]


def _wanted(asked: dict[str, Any], files: Sequence[Path], out: Path, ranks: Ranks = LONE) -> _Wanted:
    given = {name: asked[name] for name in SETTINGS if asked[name] is not None}
    settings = replace(PRESETS[asked["preset"]], **given)
    judge = judge_of(asked["judge"], asked["judge_urls"], device=asked.get("device"), dtype=asked.get("dtype"))
    found = [questions(path, asked["mode"], out, settings, ranks, judge) for path in files]
    return _Wanted(files=found, out=out, do=asked["do"], form=asked["form"], ranks=ranks)


def _measure(subject: Subject, wanted: _Wanted, failures: Failures) -> None:
    """Do what is asked with the files; the first rank says what came of it."""
    if not wanted.ranks.is_first:  # what is met from here on, all meet
        for name in ("eval", "pipeline"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    left = [each for each in wanted.files if each.without(failures.left_out) is not None]
    if wanted.do == "eval":
        results = [found for each in left if (found := _score_known(each, wanted, failures)) is not None]
    else:
        model = subject.load()
        if wanted.do == "infer":
            for each in left:
                failures.passes(each.name, partial(_infer, each, model, wanted))
            return
        measure_missing(model, left, wanted.folder, failures, wanted.progress)
        results = [found for each in left if (found := wanted.folder.find(each, model.fingerprint)) is not None]
    if wanted.ranks.is_first:
        _say(results, wanted)
        for each in left if wanted.form else []:
            _export(each, wanted, failures)


def _infer(each: Questions, model: Model, wanted: _Wanted) -> None:
    asking = each.asked(each.read())
    place = each.place(asking, model.fingerprint)
    ask(model, asking, place, wanted.progress)
    if wanted.ranks.is_first:
        click.echo(f"{each.tsv.stem}, {each.mode}: answers in {place.path}")


def _score_known(each: Questions, wanted: _Wanted, failures: Failures) -> VlmResult | None:
    """Score answers that lie in the folder, of the one model that gave them."""

    def score() -> VlmResult:
        asking = each.asked(each.read())
        place = each.place(asking, _model_of(each, asking))
        return each.score(asking, known_answers(asking, place), each.made_of(asking.table, place.model))

    scored: list[VlmResult] = []
    failures.passes(each.name, lambda: scored.append(score()))
    for result in scored:
        wanted.folder.keep(each, result)
    return scored[0] if scored else None


def _model_of(each: Questions, asking: Asking) -> str:
    name = each.place(asking, "").name
    models = models_that_answered(each.answers, name, each.place(asking, "").asked)
    if len(models) != 1:
        count = f"{len(models)} models have" if models else "no model has"
        raise DataError(f"{each.answers}: {count} answered {name} with these settings; --do infer asks, --out keeps models apart")
    return models[0]


def _say(results: Sequence[VlmResult], wanted: _Wanted) -> None:
    for result in results:
        click.echo(f"{table_text(result)}\n  result: {wanted.out / f'{result.name}-{result.mode}.json'}")
    if average := average_text([(result.benchmark, result.headline) for result in results]):
        click.echo(average)


def _export(each: Questions, wanted: _Wanted, failures: Failures) -> None:
    """Write the answers of the model that gave them, in the form that was asked for."""

    def write() -> None:
        asking = each.asked(each.read())
        place = each.place(asking, _model_of(each, asking))
        _write_export(each, known_answers(asking, place), wanted)

    failures.passes(each.name, write)


def _write_export(each: Questions, answers: Answers, wanted: _Wanted) -> None:
    table = each.read()
    label = f"{wanted.out.name}-{each.mode}"
    verdicts, _ = each.verdicts(table, answers.texts)
    for path in export(table, verdicts, wanted.out, label=label, form=str(wanted.form)):
        click.echo(f"  exported: {path}")


def _score_predictions(path: Path, given: dict[str, Any]) -> None:
    """Score the predictions of others on one question file; no model is needed."""
    folder, names = _places(given)
    if len(names) != 1:
        raise ConfigError("--predictions: name the one question file that they answer: --data NAME")
    out = given["out"] or given["work"] / "eval" / path.stem
    wanted = _wanted(given, question_files(folder, names), out)
    (each,) = wanted.files
    table = each.read()
    answers = Answers(read_predictions(path, table), {"predictions": path.name})
    out.mkdir(parents=True, exist_ok=True)
    result = each.score(each.asked(table), answers, each.made_of(table, f"predictions {file_digest(path)}"))
    write_result(result, out / each.name)
    _say([result], wanted)
    if wanted.form:
        _write_export(each, answers, wanted)


if __name__ == "__main__":
    show_messages()
    main()
