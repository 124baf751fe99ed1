"""A model that stage `evaluate` measures: loaded when needed, its results in a folder of its own, and what they show."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from eval import mmeb, reconstruct, retrieval_set
from eval.gold_ranks import write_ranks
from eval.lazy_model import LazyModel
from eval.measurement import STATES_NAME, Failures, Measurement, ResultFolder, missing
from eval.model_protocol import Model
from eval.results import write_result
from eval.vlm_result import VlmResult
from jobs.model import backbone_folder
from jobs.stage import Context
from pipeline.errors import ConfigError
from pipeline.manifest import Manifest, file_digest, fingerprint, write_atomic
from pipeline.recipe_json import stage_values
from pipeline.stage_folder import STARTED_NAME, give_place, mark_begun
from pipeline.tracking import Tracker

MODEL_NAME = "model.json"
"""What a model was found to be when it was loaded, so that it need not be loaded to find its results again."""

Reader = Callable[..., Model]
"""Loads a model for a recipe, a device and a number type."""

Sets = Sequence[retrieval_set.DatasetResult]


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A model by its label, and its results. Those of another model with the label wait aside (pipeline.stage_folder)."""

    label: str
    model: LazyModel
    results: ResultFolder

    def missing(self, wanted: Sequence[Measurement]) -> list[Measurement]:
        """Those without a result that holds; all, of a model that was never loaded."""
        return missing(self.model, wanted, self.results) if self.model.is_known else list(wanted)

    def show(self, measurements: Iterable[Measurement], failures: Failures, data: Path, tracker: Tracker) -> dict[str, int]:
        """Merge the sets, note every number, and set aside what no longer holds, so that a report shows only what does.

        Returns counts of what there is.
        """
        sets: dict[str, list[retrieval_set.DatasetResult]] = {retrieval_set.RESULT_NAME: [], retrieval_set.BLANK_RESULT_NAME: []}
        asked, texts = dict[str, int](), 0
        for each in measurements:
            left = each.without(failures.left_out) or each
            result = self.results.find(left, self.model.fingerprint) if self.model.is_known else None
            if isinstance(result, retrieval_set.DatasetResult):
                sets[retrieval_set.file_name(blank=bool(result.provenance.settings["blank"]))].append(result)
            elif isinstance(result, VlmResult):
                asked[result.name] = len(result.hits)
                self._note_answers(result, tracker)
            elif isinstance(result, reconstruct.ReconstructResult):
                texts = result.num_texts
                self._note_texts(result, tracker)
            elif not isinstance(each, retrieval_set.RetrievalSet):
                self.results.set_aside(each.name)
        for name, results in sets.items():
            self._show_retrieval(name, results, data, tracker)
        return {"datasets": len(sets[retrieval_set.RESULT_NAME]), "questions": sum(asked.values()), "texts": texts}

    @property
    def content(self) -> str:
        """A fingerprint of the results that a report reads."""
        hidden = {STATES_NAME, STARTED_NAME, MODEL_NAME}
        files = sorted(path for path in self.results.path.glob("*.json") if path.name not in hidden)
        return fingerprint([(path.name, file_digest(path)) for path in files])

    def _show_retrieval(self, name: str, results: Sets, data: Path, tracker: Tracker) -> None:
        if not results:
            self.results.set_aside(name)
            return
        whole = mmeb.merged(results, data)
        ranks = (self.results.path / name).with_suffix(".parquet")
        write_result(whole, self.results.path / name)
        write_ranks(whole.datasets, ranks)
        label = f"{self.label}_blank" if name == retrieval_set.BLANK_RESULT_NAME else self.label
        tracker.log_metrics({f"eval/{label}/{figure}": value for figure, value in whole.figures().items()})
        for file in (self.results.path / name, ranks):
            tracker.log_artifact(file)

    def _note_answers(self, result: VlmResult, tracker: Tracker) -> None:
        """The benchmark's own figure; nothing where it was not computed."""
        if result.headline.score is not None:
            tracker.log_metrics({f"eval/{self.label}/accuracy/{result.mode}/{result.name}": result.headline.score.value})

    def _note_texts(self, result: reconstruct.ReconstructResult, tracker: Tracker) -> None:
        figures = {"reconstructed": result.own.value, "reconstructed_swapped": result.swapped.value}
        tracker.log_metrics({f"eval/{self.label}/{name}": value for name, value in figures.items()})


def untrained_model(context: Context, out: Path, label: str) -> Evaluated:
    """The model that training begins with."""
    made = Manifest.read(context.model)
    return _evaluated(context, out, label, made.outputs["content"] if made else "", untrained_reader(context))


def untrained_reader(context: Context) -> Reader:
    """What loads the model that training begins with."""
    from pipeline.inference import load_untrained

    return partial(load_untrained, backbone_folder(context))


def trained_reader(checkpoint: Path, *, tokens: int | None = None) -> Reader:
    """What loads the model of a checkpoint, or of another folder that a training left."""
    from pipeline.merged import load_merged

    return partial(load_merged, checkpoint, tokens=tokens)


def trained_model(context: Context, out: Path, label: str, checkpoint: Path, *, tokens: int | None = None) -> Evaluated:
    """The model of a checkpoint, or of another folder that a training left; `tokens`: with the first so many of its tokens."""
    from pipeline.train.checkpoint import STATE

    files = sorted(path for path in checkpoint.iterdir() if path.is_file())
    states = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    is_checkpoint = (checkpoint / STATE).is_file()
    content = file_digest(checkpoint / STATE) if is_checkpoint else fingerprint(states)
    return _evaluated(context, out, label, content, trained_reader(checkpoint, tokens=tokens))


def trained_steps(folder: Path) -> int:
    """The step of a checkpoint; 0 for another folder."""
    from pipeline.train.checkpoint import STATE, read_state

    return read_state(folder).step if (folder / STATE).is_file() else 0


def checkpoint_folder(context: Context, name: str) -> Path:
    """The folder that `--checkpoint` names: a step of this work folder's training, or a path. Raises ConfigError for none."""
    from pipeline.train.checkpoint import folder_of, steps

    root = context.train / "checkpoints"
    folder = folder_of(root, int(name)) if name.isdecimal() else Path(name)
    if not folder.is_dir():
        there = ", ".join(path.name for path in reversed(steps(root)))
        raise ConfigError(f"--checkpoint {name}: no folder {folder}; in {root} there are {there or 'none yet'}")
    return folder


def _evaluated(context: Context, out: Path, label: str, content: str, read: Reader) -> Evaluated:
    from pipeline.model.device import usual_place

    device, dtype = usual_place()
    place = out / label
    owner = fingerprint([content, stage_values(context.recipe), dtype])
    give_place(place, owner)
    mark_begun(place, owner)

    def load() -> Model:
        model = read(recipe=context.recipe, device=device, dtype=dtype)
        write_atomic(place / MODEL_NAME, json.dumps({"fingerprint": model.fingerprint}) + "\n")
        return model

    return Evaluated(label, LazyModel(load, _fingerprint(place / MODEL_NAME)), ResultFolder(place))


def _fingerprint(note: Path) -> str:
    """The fingerprint that a model had when it was loaded; empty where it never was."""
    try:
        return str(json.loads(note.read_text(encoding="utf-8"))["fingerprint"])
    except (OSError, ValueError, TypeError, KeyError):
        return ""
