"""A trained (or untrained) model to embed sides and answer questions with, loaded from a checkpoint or a model folder."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from pipeline.batch import Row, chunk_by_tokens, pack, row_places
from pipeline.errors import CheckpointError, ConfigError
from pipeline.manifest import file_digest, fingerprint
from pipeline.model import generation
from pipeline.model.embedder import Embedder
from pipeline.model.inputs import load_pixels
from pipeline.recipe import Recipe
from pipeline.recipe_diff import differences
from pipeline.recipe_json import recipe_fingerprint
from pipeline.roles import Role
from pipeline.sample import Side, Turn
from pipeline.sequence import SequenceBuilder, native_layout
from pipeline.train import checkpoint
from pipeline.train.build import build_embedder, chorus_ids
from pipeline.train.feed import conversation_context

CHUNK_TOKENS = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingModel:
    """One model that retrieves with the pooled compression tokens and answers natively or from those tokens alone."""

    embedder: Embedder
    recipe: Recipe
    builder: SequenceBuilder
    fingerprint: str
    decode: Callable[[list[int]], str]

    @torch.no_grad()
    def embed(self, sides: Sequence[Side]) -> np.ndarray:
        """Embeddings (N, D) float32 of unit norm, in the order of `sides`."""
        rows = [replace(self._row(self.builder, side, ()), slot=slot) for slot, side in enumerate(sides)]
        out = np.zeros((len(rows), self.embedder.width), dtype=np.float32)
        for chunk in chunk_by_tokens(rows, CHUNK_TOKENS):
            batch = pack(chunk, self.recipe.layout, self.recipe.pooling.positions)
            out[batch.slots.numpy()] = self.embedder(batch).embeddings.numpy()
        return out

    def answer(
        self, contexts: Sequence[Side], questions: Sequence[str], *, compressed: bool, max_new_tokens: int = 32
    ) -> list[str]:
        """Greedy answers to `questions[i]` about `contexts[i]`.

        Natively the model sees pictures, text and question; compressed, the context is read into the compression tokens and
        the answer continues from SYSTEM and those tokens alone. Raises ConfigError for compressed answers of a recipe without
        compression tokens.
        """
        if compressed and not self.recipe.tokens.count:
            raise ConfigError(
                f"tokens.count: recipe {self.recipe.name} has no compression tokens to answer from; answer natively"
            )
        one = self._answer_compressed if compressed else self._answer_native
        answers: list[str] = [""] * len(questions)
        for places in _portions(len(questions), 64):
            tokens = one([contexts[i] for i in places], [questions[i] for i in places], max_new_tokens)
            for place, ids in zip(places, tokens, strict=True):
                answers[place] = self.decode(ids)
        return answers

    def _answer_native(self, contexts: list[Side], questions: list[str], limit: int) -> list[list[int]]:
        builder = replace(self.builder, layout=native_layout(self.recipe.layout))
        turns = [(Turn(question=question),) for question in questions]
        rows = [
            self._row(builder, conversation_context(side, native=True), turn) for side, turn in zip(contexts, turns, strict=True)
        ]
        memory, states = self._remember(rows, builder.layout.order)
        return self._decode(memory, states, limit)

    def _answer_compressed(self, contexts: list[Side], questions: list[str], limit: int) -> list[list[int]]:
        rows = [self._row(self.builder, conversation_context(side, native=False), ()) for side in contexts]
        memory, _ = self._remember(rows, (Role.SYSTEM, Role.COMPRESSION))
        memory, states = generation.proceed(
            self.embedder, memory, [self.builder.question_ids(question) for question in questions]
        )
        return self._decode(memory, states, limit)

    def _remember(self, rows: Sequence[Row], roles: tuple[Role, ...]) -> tuple[generation.Memory, torch.Tensor]:
        batch = pack(rows, self.recipe.layout, self.recipe.pooling.positions)
        parts = zip(rows, row_places(rows), strict=True)
        kept = [torch.from_numpy(place[np.isin(row.sequence.roles, roles)]) for row, place in parts]
        return generation.remember(self.embedder, batch, kept)

    def _decode(self, memory: generation.Memory, states: torch.Tensor, limit: int) -> list[list[int]]:
        vocabulary = self.builder.vocabulary
        # New ids lie behind the head's last row: there is nothing to keep it from choosing.
        banned = [token for token in vocabulary.chorus if token < self.embedder.backbone.vocab_size]
        return generation.decode(self.embedder, memory, states, end=vocabulary.im_end, banned=banned, max_new_tokens=limit)

    def _row(self, builder: SequenceBuilder, side: Side, turns: Sequence[Turn]) -> Row:
        pixels = tuple(load_pixels(picture, self.recipe.pixels, where="a picture to embed") for picture in side.images)
        patch = self.recipe.pixels.patch
        grids = np.array([(1, picture.shape[1] // patch, picture.shape[2] // patch) for picture in pixels], dtype=np.int64)
        return Row(key="", sequence=builder.build(side, grids, turns), pixels=pixels)


def load_model(path: Path, *, recipe: Recipe | None = None) -> EmbeddingModel:
    """Load a checkpoint folder (its recipe and model folder are written in it) or, with a recipe, a bare model folder.

    Raises CheckpointError, naming the folder and what it lacks; also when `recipe` is not the one a checkpoint was trained with.
    """
    if (path / checkpoint.STATE).is_file():
        state = checkpoint.read_state(path)
        own = checkpoint.recipe(path)
        _refuse_other_values(path, own, recipe or own)
        model = _assemble((path / state.model_folder).resolve(), own, state.digests[checkpoint.WEIGHTS])
        model.embedder.load_state_dict(checkpoint.weights(path), strict=False)
        return model
    if recipe is None:
        raise CheckpointError(f"{path}: no {checkpoint.STATE}, so not a checkpoint; for a model folder name a recipe too")
    return _assemble(path, recipe, "untrained")


def _refuse_other_values(path: Path, own: Recipe, given: Recipe) -> None:
    for difference in differences(own, given):
        raise CheckpointError(
            f"{path}: trained with {difference.path} = {difference.old}, and the recipe given has {difference.new}; "
            "give the values it was trained with, or none: a checkpoint brings its own"
        )


def _assemble(folder_path: Path, recipe: Recipe, trained: str) -> EmbeddingModel:
    embedder, folder = build_embedder(folder_path, recipe, dtype=torch.float32)
    embedder.eval()
    vocabulary = folder.vocabulary(chorus_ids(folder, recipe))
    config = file_digest(folder_path / "config.json")
    return EmbeddingModel(
        embedder=embedder,
        recipe=recipe,
        builder=SequenceBuilder(vocabulary=vocabulary, layout=recipe.layout, max_length=recipe.max_length),
        fingerprint=fingerprint([config, trained, recipe_fingerprint(recipe)]),
        decode=lambda ids: str(folder.tokenizer.decode(ids, skip_special_tokens=True)).strip(),
    )


def _portions(count: int, size: int) -> list[range]:
    return [range(start, min(start + size, count)) for start in range(0, count, size)]
