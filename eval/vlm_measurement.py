"""A question file in one mode as a measurement: asked, or its answers found, and scored as its benchmark is."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from eval.benchmarks.benchmark import Benchmark
from eval.benchmarks.registry import BY_NAME
from eval.judges.judges import EXACT, Judge
from eval.judges.scripts import Unjudged
from eval.measurement import Check
from eval.model_protocol import Model, Progress, silent
from eval.option_matcher import option_matcher
from eval.predictions import AnswerPlace
from eval.prompts import check_style
from eval.question_asking import Answers, Asking, ask
from eval.question_files import read_questions
from eval.questions import QuestionTable
from eval.results import Provenance, Setting
from eval.verdicts import Rules, Verdict
from eval.vlm_result import VlmResult, result_of
from eval.vlm_settings import DEFAULTS, Mode, VlmSettings
from pipeline.encode.ranks import LONE, Ranks
from pipeline.errors import DataError
from pipeline.folder_state import corpus_state
from pipeline.manifest import fingerprint


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions:
    """A question file in one mode as a measurement (eval.measurement). `answers` is the folder where answers are kept."""

    tsv: Path
    mode: Mode
    answers: Path
    state: str
    asking: VlmSettings = DEFAULTS
    ranks: Ranks = LONE
    judge: Judge | None = None
    result: type[VlmResult] = VlmResult

    @property
    def name(self) -> str:
        """A file for each question file and mode."""
        return f"{self.tsv.stem}-{self.mode}.json"

    @property
    def settings(self) -> dict[str, Setting]:
        """How questions are asked and answers read."""
        return {"mode": self.mode, "judge": self.judge.name if self.judge else EXACT, **self.asking.decisive}

    def sources(self) -> dict[str, Check]:
        """The file."""
        return {self.tsv.name: self.read}

    def without(self, names: Iterable[str]) -> Self | None:
        """None without its file."""
        return None if self.tsv.name in names else self

    def read(self) -> QuestionTable:
        """The questions. Raises as read_questions."""
        asking = self.asking
        return read_questions(self.tsv, parity=asking.parity, allow_changed=asking.allow_changed, alpha=asking.alpha)

    def asked(self, table: QuestionTable) -> Asking:
        """Its questions as they are asked. Raises ConfigError for an unknown prompt style."""
        check_style(self.asking.prompt_style)
        return Asking(table=table, mode=self.mode, settings=self.asking, ranks=self.ranks)

    def place(self, asking: Asking, model: str) -> AnswerPlace:
        """Where a model's answers are."""
        name = f"{asking.table.name}-{self.mode}"
        return AnswerPlace(folder=self.answers, name=name, model=model, asked=fingerprint(asking.identity))

    def made_of(self, table: QuestionTable, model: str) -> Provenance:
        """What a result is made from."""
        return Provenance(model=model, data=fingerprint([table.rows, table.skipped]), settings=self.settings)

    def measure(self, model: Model, known: VlmResult | None, progress: Progress) -> VlmResult:
        """Ask what has no answer yet and score the answers, unless the questions are those of `known`."""
        option_matcher(self.asking.matcher)  # before the hours of work
        table = self.read()
        made_of = self.made_of(table, model.fingerprint)
        if known is not None and known.provenance.agrees_with(made_of):
            return known
        asking = self.asked(table)
        answers = ask(model, asking, self.place(asking, model.fingerprint), progress)
        return self.score(asking, answers, made_of)

    def score(self, asking: Asking, answers: Answers, made_of: Provenance) -> VlmResult:
        """Score answers to the questions."""
        verdicts, said = self.verdicts(asking.table, answers.texts)
        return result_of(asking.table, verdicts, made_of, answers.conditions, said)

    def verdicts(self, table: QuestionTable, texts: Mapping[str, str]) -> tuple[list[Verdict], tuple[str, ...]]:
        """How each answer is read, in the order of the file, and what a judge had to do with it.

        Of several ranks the first one asks the judge. Raises DataError where the judge gave no reply about some.
        """
        rules = Rules(matcher=option_matcher(self.asking.matcher), parity=self.asking.parity)
        benchmark = BY_NAME[table.benchmark]
        verdicts = [benchmark.verdict(row, texts[row.index], rules) for row in table.rows]
        if self.judge is None or not self.ranks.is_first:
            return verdicts, ()
        return judged(verdicts, benchmark, rules, self.judge, self.answers)


def judged(
    verdicts: Sequence[Verdict], benchmark: Benchmark, rules: Rules, judge: Judge, folder: Path
) -> tuple[list[Verdict], tuple[str, ...]]:
    """The verdicts after a judge was asked about those that need one, and a sentence that says so."""
    scripts = [script for each in verdicts if (script := benchmark.judged(each, rules, judge.model)) is not None]
    found: dict[str, Verdict] = {}
    unjudged: list[Unjudged] = []
    for judgement in judge.run(scripts, folder):
        if isinstance(judgement, Unjudged):
            unjudged.append(judgement)
        else:
            found[judgement.row.index] = judgement
    if unjudged:
        first = unjudged[0]
        raise DataError(
            f"the judge {judge.model} gave no reply about {len(unjudged)} of {len(scripts)} answers ({first.index}: "
            f"{first.reason}); its other replies are kept, and the same command asks for the missing ones"
        )
    unread = sum(each.parsed is None for each in found.values())
    said = f"judge {judge.name}: asked about {len(scripts)} of {len(verdicts)} answers, {unread} of them left unread"
    return [found.get(each.row.index, each) for each in verdicts], (said,)


def questions(
    tsv: Path, mode: Mode, answers: Path, asking: VlmSettings = DEFAULTS, ranks: Ranks = LONE, judge: Judge | None = None
) -> Questions:
    """The measurement of a question file as it stands now."""
    state = corpus_state(tsv, tsv.parent / "images" / tsv.stem)
    return Questions(tsv=tsv, mode=mode, answers=answers, state=state, asking=asking, ranks=ranks, judge=judge)


def evaluate(
    model: Model, tsv: Path, *, mode: Mode, out: Path, settings: VlmSettings = DEFAULTS, progress: Progress = silent
) -> VlmResult:
    """Ask every question of a file and score the answers.

    Answers are kept below `out` as they come, in a file named by what they belong to; run again, only the missing ones are
    asked. Raises ConfigError for an unknown matcher or prompt style, DataError for an unusable file.
    """
    return questions(tsv, mode, out, settings).measure(model, None, progress)
