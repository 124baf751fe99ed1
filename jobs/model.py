"""Stage `model`: the untrained backbone, made on the spot for a tiny recipe or named by the user for a published one."""

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from jobs.stage import Context, Input, Result, Writing
from pipeline.data.shards import ShardIndex
from pipeline.embedding_json import SETTINGS
from pipeline.errors import CheckpointError, ConfigError
from pipeline.manifest import file_digest, fingerprint, write_atomic
from pipeline.recipe import TinyBackbone
from pipeline.sample import Sample
from pipeline.tracking import Tracker

logger = logging.getLogger(__name__)

WHERE_NAME = "where.json"
MAX_TOKENIZER_ROWS = 20_000
"""Rows whose texts the tiny model's tokenizer is trained on, spread evenly over the corpus."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStage:
    """Builds a tiny random model over the corpus's words, or notes where the published model folder lies.

    Raises ConfigError when the recipe wants a published model and `model_folder` names none.
    """

    context: Context
    model_folder: Path | None = None
    name: str = "model"
    writing: Writing = Writing.ASIDE

    def __post_init__(self) -> None:
        backbone = self.context.recipe.backbone
        if not isinstance(backbone, TinyBackbone) and self.model_folder is None:
            raise ConfigError(
                f"--model-folder: recipe {self.context.recipe.name} trains {backbone.name}; name the folder it was downloaded to"
            )
        if self.model_folder is not None and not (self.model_folder / "config.json").is_file():
            raise CheckpointError(f"{self.model_folder}: no config.json in it, so it is not a model folder; check --model-folder")

    @property
    def folder(self) -> Path:
        """A model folder, or a note that points to one."""
        return self.context.model

    def inputs(self) -> Mapping[str, Input]:
        """The shards, for their words; the user's model folder."""
        if self.model_folder is not None:
            return {"model folder": Input(path=self.model_folder)}
        return {"shards": Input(path=self.context.shards, made_by="convert")}

    def settings(self) -> Mapping[str, object]:
        """The model's shape and seed."""
        return {"backbone": self.context.recipe.backbone, "seed": self.context.recipe.seed}

    def run(self, out: Path, tracker: Tracker) -> Result:
        """Build the tiny model, or write the note."""
        if self.model_folder is not None:
            if (self.model_folder / SETTINGS).is_file():
                logger.warning(
                    "%s: an exported model; training begins with new compression tokens, not its own", self.model_folder
                )
            write_atomic(out / WHERE_NAME, json.dumps({"folder": str(self.model_folder.resolve())}) + "\n")
            return Result(content=fingerprint([file_digest(self.model_folder / "config.json"), self._weights(self.model_folder)]))
        from data_prep.tiny_model import build_tiny_model

        backbone = self.context.recipe.backbone
        assert isinstance(backbone, TinyBackbone), "a published backbone has a model folder, or __post_init__ refused"
        index = ShardIndex.open(self.context.shards)
        return Result(counts={"weights": build_tiny_model(out, corpus_texts(index), backbone, seed=self.context.recipe.seed)})

    @staticmethod
    def _weights(folder: Path) -> list[tuple[str, int, int]]:
        """Names, sizes and times of the weight files: hashing many gigabytes for a note would take minutes."""
        files = [(path.name, path.stat()) for path in sorted(folder.glob("*.safetensors"))]
        return [(name, state.st_size, state.st_mtime_ns) for name, state in files]


def backbone_folder(context: Context) -> Path:
    """The model folder that stage `model` made or pointed to. Raises CheckpointError where there is none."""
    note = context.model / WHERE_NAME
    try:
        folder = Path(json.loads(note.read_text(encoding="utf-8"))["folder"])
    except FileNotFoundError:
        folder = context.model
    if (folder / "config.json").is_file():
        return folder
    if folder != context.model:
        raise CheckpointError(f"{folder}: no model there any more, and {note} points to it; run crem model again")
    raise CheckpointError(f"{folder}: no model there yet; run crem model first")


def corpus_texts(index: ShardIndex) -> Iterator[str]:
    """Texts of evenly spread rows: both sides, questions and answers."""
    stride = max(1, -(-len(index) // MAX_TOKENIZER_ROWS))
    for row in range(0, len(index), stride):
        yield from _sample_texts(index.read(row))


def _sample_texts(sample: Sample) -> Iterator[str]:
    for side in (sample.query, sample.positive):
        if side is None:
            continue
        yield side.instruction + side.text
        for turn in side.turns:
            yield turn.question
            yield turn.answer
