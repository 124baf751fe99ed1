"""`embedding.json` of an exported folder: how an embedding is made of its model, and the digests of its files."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from pipeline.errors import CheckpointError, ConfigError
from pipeline.recipe import Recipe
from pipeline.roles import Role
from pipeline.sample import Side
from pipeline.sequence import SequenceBuilder

SETTINGS = "embedding.json"

SHRUNK_BY_OTHERS = ("KeepAll", "Bilinear", "AveragePool")
"""Shrinkers that `pipeline/chorus_input.py` computes."""

POOLED_BY_OTHERS = ("MeanOver", "MLPMean", "AttentionPool", "LastToken")
"""Poolings that `pipeline/chorus_input.py` computes, and the lines of docs/export.md."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A row is `before_ids`, the side's words and pictures, `after_ids`; its last `pooled` states go into `pooling`."""

    before_ids: list[int]
    after_ids: list[int]
    chorus_ids: list[int]
    pooling: str
    pooled: int

    @staticmethod
    def of(builder: SequenceBuilder, recipe: Recipe) -> "Prompt":
        """Read off a row of one word, so that it is what the model is given, whatever the recipe's template.

        Raises ConfigError for a pooling of a user's own, and for one whose number of tokens differs from row to row.
        """
        pooling, positions = type(recipe.pooling).__name__, recipe.pooling.positions
        if pooling not in POOLED_BY_OTHERS:
            raise ConfigError(
                f"pooling: {pooling} is of your own, and an exported folder is read by programs that know "
                f"{', '.join(POOLED_BY_OTHERS)} alone; use the checkpoint"
            )
        if positions.role is Role.CONTEXT and not positions.last:
            raise ConfigError("pooling.role: a mean over CONTEXT has no fixed number of tokens, so it cannot be exported")
        word = list(builder.vocabulary.encode("word"))
        row = builder.build(Side(text="word"), np.zeros((0, 3))).until(positions.role)
        ids, start = row.input_ids.tolist(), row.roles.tolist().index(Role.CONTEXT)
        assert ids[start : start + len(word)] == word, "the side's words come first in CONTEXT"
        return Prompt(
            before_ids=ids[:start],
            after_ids=ids[start + len(word) :],
            chorus_ids=list(builder.vocabulary.chorus),
            pooling=pooling,
            pooled=len(positions(row.roles)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """`embedding.json`: what a reader of the folder must know.

    `recipe` and `fingerprint` name what was exported; `vision` and `factor` the shrinker of visual tokens, which a reader must
    apply. `base` is an adapter's model folder, `base_beside` the same from the
    exported folder, `base_files` the digests of its files; all three are empty for a whole model. `before` and `after` are the
    prompt's ids as text, `chorus_tokens` the names of the compression ids. `files` are the digests of the folder's own files.
    """

    recipe: str
    fingerprint: str
    base: str
    base_beside: str
    base_files: Mapping[str, str]
    before: str
    after: str
    chorus_tokens: list[str]
    prompt: Prompt
    files: Mapping[str, str]
    vision: str = "KeepAll"
    factor: float = 1.0

    def write(self, folder: Path) -> None:
        """Write the file. The prompt's fields stand beside the others, where readers in other languages look for them."""
        fields = asdict(self)
        plain = {**fields.pop("prompt"), **fields}
        (folder / SETTINGS).write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")

    @staticmethod
    def read(folder: Path) -> "Settings":
        """Read the file. Raises CheckpointError when it is no such file."""
        try:
            fields = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
            prompt = Prompt(**{name: fields.pop(name) for name in Prompt.__slots__})
            return Settings(prompt=prompt, **fields)
        except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
            raise CheckpointError(
                f"{folder}: {SETTINGS} is damaged or of another version ({type(error).__name__}); export the model again"
            ) from error
