"""Stage `evaluate`: retrieval, comprehension and reconstruction of the trained model, and retrieval of the untrained one."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from eval import reconstruct, retrieval_set
from eval.judges.judges import EXACT, Judge, judge_of
from eval.measurement import Failures, Measurement, measure_missing
from eval.model_protocol import Progress
from eval.question_files import FOLDER, found_files, question_files
from eval.subject import newest_checkpoint
from eval.vlm_measurement import Questions, questions
from eval.vlm_settings import DEFAULTS, Mode
from jobs.convert import data_input
from jobs.defaults import KINDS
from jobs.evaluated import Evaluated, checkpoint_folder, trained_model, trained_steps, untrained_model
from jobs.stage import Context, Input, Result, Writing
from pipeline.data import mmeb_eval
from pipeline.encode import embedding_cache
from pipeline.encode.share import Encoding
from pipeline.errors import DataError
from pipeline.manifest import Manifest, fingerprint
from pipeline.recipe_json import stage_values
from pipeline.tracking import Tracker

logger = logging.getLogger(__name__)

UNTRAINED, TRAINED = "untrained", "trained"
MODES: tuple[Mode, ...] = ("native", "compressed", "swapped")
FEWER = "trained_{}_tokens"
"""The trained model of fewer compression tokens than it has: of a recipe of elastic ones."""
WITHOUT_TOKENS: tuple[Mode, ...] = ("native",)
"""How a model without compression tokens can be asked."""

_KIND_OF = {retrieval_set.RetrievalSet: "retrieval", Questions: "questions", reconstruct.Reconstruction: "reconstruction"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What is measured now. What was measured by another choice stays, and is found again.

    `only` are kinds (empty: all); `checkpoint` is a step or a folder (empty: the finished training). `allow_changed`
    takes a known benchmark's file that is not the published one. `judge` and `judge_urls` say who reads what the rules cannot.
    """

    only: tuple[str, ...] = ()
    untrained: bool = True
    blank: bool = True
    checkpoint: str = ""
    allow_changed: bool = False
    judge: str = EXACT
    judge_urls: tuple[str, ...] = ()

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds, in a fixed order."""
        return tuple(kind for kind in KINDS if kind in (self.only or KINDS))

    def has(self, label: str, each: Measurement) -> bool:
        """Whether a measurement of the model with that label is chosen."""
        if label == UNTRAINED and not self.untrained:
            return False
        if isinstance(each, retrieval_set.RetrievalSet) and each.blank and not self.blank:
            return False
        return _KIND_OF[type(each)] in self.kinds


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateStage:
    """Measures the model before and after training, the latter also with blank pictures and with other rows' tokens.

    It is a list of small measurements (eval.measurement). Each has its own result file; a set that cannot be used costs that set,
    and the stage then fails at its end. A recipe of elastic tokens is measured at each of their numbers: in retrieval, in answers
    from the tokens alone, and in texts written out.
    """

    context: Context
    choice: Choice = field(default_factory=Choice)
    name: str = "evaluate"
    writing: Writing = Writing.PIECES

    @property
    def folder(self) -> Path:
        """Result files, in one folder for each model."""
        return self.context.evaluation

    def inputs(self) -> Mapping[str, Input]:
        """The benchmarks, the untrained and the trained model, and the shards that tell which texts training saw."""
        # Of a user's folder other parts are read than convert reads, so the two are not held against each other.
        data = "data" if self.context.data == self.context.toy else "benchmarks"
        given = {
            data: data_input(self.context, (mmeb_eval.EVAL, FOLDER)),
            "model": Input(path=self.context.model, made_by="model"),
        }
        if data == "data" and found_files(self.context.data):
            # Stage `toy` answers for its own files, not for one that is put beside them.
            given["questions"] = Input(path=self.context.data, parts=(FOLDER,))
        if self.choice.checkpoint:
            given["checkpoint"] = Input(path=self.place)
        else:
            given["train"] = Input(path=self.context.train, made_by="train")
        if "reconstruction" in self.choice.kinds:
            given["shards"] = Input(path=self.context.shards, made_by="convert")
        return given

    def settings(self) -> Mapping[str, object]:
        """How questions are asked and read, and what is measured."""
        choice = {name: getattr(self.choice, name) for name in ("kinds", "untrained", "blank", "allow_changed")}
        if self.choice.judge != EXACT:
            choice["judge"] = self.choice.judge
        return {"modes": self.modes, "vlm": DEFAULTS, "recipe": stage_values(self.context.recipe), "choice": choice}

    @property
    def modes(self) -> tuple[Mode, ...]:
        """How the trained model is asked."""
        return MODES if self.context.recipe.tokens.count else WITHOUT_TOKENS

    def run(self, out: Path, tracker: Tracker) -> Result:
        """Measure what is chosen and not there yet. Raises DataError at the end where something could not be measured."""
        failures, made = Failures(), 0
        trained = newest_checkpoint(self.place)
        models = [untrained_model(self.context, out, UNTRAINED)]
        for count in self.context.recipe.tokens.elastic[:-1]:
            models.append(trained_model(self.context, out, FEWER.format(count), trained, tokens=count))
        models.append(trained_model(self.context, out, TRAINED, trained))
        chosen = self._chosen(models)
        is_forced = self.context.force
        left = [item for each in models for item in (chosen[each.label] if is_forced else each.missing(chosen[each.label]))]
        if left and "retrieval" in self.choice.kinds and (lacking := retrieval_set.lacking_sets(self.context.data)):
            logger.warning("%s", lacking)
        failures.check(left, self.watched("data"))
        counts = {"step": trained_steps(trained)}
        for each in models:
            for item in chosen[each.label] if is_forced else []:
                each.results.set_aside(item.name)
            made += len(measure_missing(each.model, chosen[each.label], each.results, failures, self.watched(each.label)))
            counts |= each.show(self._measurements(each), failures, self.context.data, tracker)
            each.model.release()
        failures.raise_any()
        return Result(counts={**counts, "measured": made}, content=fingerprint([each.content for each in models]))

    def _chosen(self, models: Sequence[Evaluated]) -> dict[str, list[Measurement]]:
        """What is to be measured of each model, by label. Raises DataError where that is nothing."""
        if (self.context.data / FOLDER).is_dir() and not found_files(self.context.data):
            logger.warning("%s: no *.tsv in it, so no questions are asked", self.context.data / FOLDER)
        chosen = {each.label: [item for item in self._measurements(each) if self.choice.has(each.label, item)] for each in models}
        if not any(chosen.values()):
            kinds = " and ".join(self.choice.kinds)
            raise DataError(f"{self.context.data}: nothing of {kinds} can be measured with recipe {self.context.recipe.name}")
        return chosen

    @property
    def place(self) -> Path:
        """Where the trained model is looked for."""
        return checkpoint_folder(self.context, self.choice.checkpoint) if self.choice.checkpoint else self.context.train

    def retrieval(self, label: str, how: Encoding) -> list[retrieval_set.RetrievalSet]:
        """The sets that can be measured of a model by its label: of the trained one, with blank pictures too."""
        data = self.context.data
        if not (data / mmeb_eval.EVAL).is_dir() and "retrieval" not in self.choice.kinds:
            return []
        blank = retrieval_set.retrieval_sets(data, blank=True, how=how) if label == TRAINED else []
        return [*retrieval_set.retrieval_sets(data, how=how), *blank]

    def _measurements(self, model: Evaluated) -> list[Measurement]:
        """All that can be measured of a model, whether or not it is chosen."""
        data, how = self.context.data, Encoding.usual(self.context.work / embedding_cache.FOLDER)
        found: list[Measurement] = list(self.retrieval(model.label, how))
        has_sets = bool(found)
        if model.label == UNTRAINED:
            return found
        # Native answers read no tokens: those of fewer are those of all.
        modes = self.modes if model.label == TRAINED else tuple(mode for mode in self.modes if mode not in WITHOUT_TOKENS)
        judge = _judge(self.choice.judge, self.choice.judge_urls)
        # An empty folder costs nothing else; what is asked for by name must be there.
        for file in question_files(data) if "questions" in self.choice.only else found_files(data):
            asking = replace(DEFAULTS, allow_changed=self.choice.allow_changed)
            found += [questions(file, mode, model.results.path, asking, judge=judge) for mode in modes]
        if has_sets and self.context.recipe.tokens.count and Manifest.read(self.context.shards):
            found.append(reconstruct.reconstruction(data, self.context.shards))
        return found

    def watched(self, label: str) -> Progress:
        """Tells the context's progress of a model's work."""

        def report(what: str, done: int, total: int) -> None:
            self.context.progress(f"evaluate {label}, {what}", done, total, "")

        return report


@cache
def _judge(name: str, urls: tuple[str, ...]) -> Judge | None:
    """The judge, made once: one in this process is loaded once. Raises ConfigError as `judge_of`."""
    return judge_of(name, urls)
