"""Stage `evaluate`: retrieval, comprehension and reconstruction of the trained model, and retrieval of the untrained one."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from eval import mmeb, reconstruct, vlm
from eval.model_protocol import Model
from eval.results import write_result
from eval.subject import newest_checkpoint
from jobs.convert import data_input
from jobs.model import backbone_folder
from jobs.stage import Context, Input, Result, Writing
from pipeline.data import mmeb_eval
from pipeline.errors import NothingToMeasureError
from pipeline.recipe_json import course_values
from pipeline.tracking import Tracker

logger = logging.getLogger(__name__)

UNTRAINED, TRAINED = "untrained", "trained"
MODES: tuple[vlm.Mode, ...] = ("native", "compressed", "swapped")
WITHOUT_TOKENS: tuple[vlm.Mode, ...] = ("native",)
"""How a model without compression tokens can be asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateStage:
    """Measures the model before and after training, the latter also with blank pictures and with other rows' tokens."""

    context: Context
    name: str = "evaluate"
    writing: Writing = Writing.RESUME

    @property
    def folder(self) -> Path:
        """Result files, in one folder for each model."""
        return self.context.evaluation

    def inputs(self) -> Mapping[str, Input]:
        """The trained and the untrained model, the data folder, and the shards that tell which texts training saw."""
        return {
            # Of a user's folder it reads other parts than convert does, so the two are not held against each other.
            "data" if self.context.data == self.context.toy else "benchmarks": data_input(
                self.context, (mmeb_eval.EVAL, vlm.FOLDER)
            ),
            "shards": Input(path=self.context.shards, made_by="convert"),
            "model": Input(path=self.context.model, made_by="model"),
            "train": Input(path=self.context.train, made_by="train"),
        }

    def settings(self) -> Mapping[str, object]:
        """How questions are asked and read."""
        return {"modes": self.modes, "vlm": vlm.DEFAULTS, "recipe": course_values(self.context.recipe)}

    @property
    def modes(self) -> tuple[vlm.Mode, ...]:
        """How the trained model is asked."""
        return MODES if self.context.recipe.tokens.count else WITHOUT_TOKENS

    def run(self, out: Path, tracker: Tracker) -> Result:
        """Evaluate both models; results are written as they come."""
        from pipeline.inference import load_model, usual_place

        recipe, data = self.context.recipe, self.context.data
        files = vlm.question_files(data) if (data / "mcq").is_dir() else []
        vlm.refuse_unusable(files)
        device, dtype = usual_place()
        untrained = load_model(backbone_folder(self.context), recipe=recipe, device=device, dtype=dtype)
        first = self._retrieval(untrained, out / UNTRAINED, blank=False, tracker=tracker)
        del untrained
        trained = load_model(newest_checkpoint(self.context.train), recipe=recipe, device=device, dtype=dtype)
        self._retrieval(trained, out / TRAINED, blank=False, tracker=tracker)
        self._retrieval(trained, out / TRAINED, blank=True, tracker=tracker)
        questions = sum(self._questions(trained, files, out / TRAINED, tracker))
        texts = self._reconstruction(trained, out / TRAINED, tracker) if recipe.tokens.count else 0
        return Result(counts={"datasets": len(first.datasets), "questions": questions, "texts": texts})

    def _retrieval(self, model: Model, out: Path, *, blank: bool, tracker: Tracker) -> mmeb.MmebResult:
        label = f"{out.name}{' blank' if blank else ''}"
        result = mmeb.evaluate(model, self.context.data, blank=blank, progress=self._watched(label))
        write_result(result, out / (mmeb.BLANK_RESULT_NAME if blank else mmeb.RESULT_NAME))
        prefix = f"eval/{label.replace(' ', '_')}/hit_at_1"
        figures = {name: group.value for name, group in result.groups.items()}
        figures |= {dataset.name: dataset.score.value for dataset in result.datasets}
        tracker.log_metrics({f"{prefix}/{name}": value for name, value in figures.items()})
        return result

    def _questions(self, model: Model, files: Sequence[Path], out: Path, tracker: Tracker) -> Iterator[int]:
        """Questions answered in each file, once for all modes."""
        for path in files:
            yield max([self._ask(model, path, mode, out, tracker) for mode in self.modes])

    def _ask(self, model: Model, path: Path, mode: vlm.Mode, out: Path, tracker: Tracker) -> int:
        """Questions of a file that were answered in a mode. Where it can show nothing there, that is said."""
        try:
            result = vlm.evaluate(model, path, mode=mode, out=out, progress=self._watched(out.name))
        except NothingToMeasureError as error:
            logger.warning("evaluate: %s, %s is left out: %s", path.stem, mode, error)
            return 0
        write_result(result, out / result.file_name)
        tracker.log_metrics({f"eval/{out.name}/accuracy/{mode}/{result.name}": result.accuracy.score.value})
        return len(result.hits)

    def _reconstruction(self, model: Model, out: Path, tracker: Tracker) -> int:
        """Texts written out again. A corpus without texts of eight words has nothing to measure here, which is said."""
        try:
            result = reconstruct.evaluate(model, self.context.data, self.context.shards, progress=self._watched(out.name))
        except NothingToMeasureError as error:
            logger.warning("evaluate: reconstruction is left out: %s", error)
            return 0
        write_result(result, out / reconstruct.RESULT_NAME)
        tracker.log_metrics(
            {"eval/trained/reconstructed": result.own.value, "eval/trained/reconstructed_swapped": result.swapped.value}
        )
        return result.num_texts

    def _watched(self, label: str) -> "_Watched":
        return _Watched(self.context, label)


@dataclass(frozen=True, slots=True)
class _Watched:
    """The evaluation's progress in the form of the stages'."""

    context: Context
    label: str

    def __call__(self, what: str, done: int, total: int) -> None:
        self.context.progress(f"evaluate {self.label}, {what}", done, total, "")
