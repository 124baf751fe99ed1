"""A trained (or untrained) model to embed sides and answer questions with, loaded from a checkpoint or a model folder."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from pipeline import answer_batches
from pipeline.asked_as import AskedAs, asked_as, conditions
from pipeline.batch import Batch, Row, chunk_by_tokens, row_places
from pipeline.cache_size import CacheSize, cache_size
from pipeline.embedding_json import SETTINGS
from pipeline.errors import CheckpointError, ConfigError, DataError
from pipeline.exported import Exported
from pipeline.manifest import fingerprint
from pipeline.model import compressed_items, generation
from pipeline.model.backbone import Folder, folder_digests
from pipeline.model.compressed_items import CompressedItems
from pipeline.model.device import Dtype, device_of
from pipeline.model.embedder import Embedder
from pipeline.model.generation import GREEDY, Decoding, Ending, Memory
from pipeline.model_origin import ModelOrigin, untrained_parts
from pipeline.recipe import Recipe
from pipeline.recipe_diff import refuse_differences
from pipeline.roles import Role
from pipeline.sample import Side, Turn
from pipeline.sequence import SequenceBuilder, conversation_context, native_layout
from pipeline.side_reader import SideReader
from pipeline.templates import Templates
from pipeline.train import checkpoint
from pipeline.train.build import DTYPES, build_embedder, load_trained, sequence_builder

logger = logging.getLogger(__name__)

CACHED_ROLES = (Role.SYSTEM, Role.COMPRESSION)
"""What a compressed item keeps of its row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingModel:
    """One model that retrieves with the pooled compression tokens and answers natively or from those tokens alone.

    `folder` is the model folder that the weights began from; `decode` turns token ids into text. `fingerprint` and
    `encoder_fingerprint` name what it was made of; `untrained` names weights that nobody trained ("untrained tokens"), if any.
    """

    embedder: Embedder
    folder: Path
    recipe: Recipe
    builder: SequenceBuilder
    fingerprint: str
    encoder_fingerprint: str
    decode: Callable[[list[int]], str]
    untrained: str = ""

    @property
    def device(self) -> torch.device:
        """Where the weights are; batches are moved there, and results come back to the CPU."""
        return next(self.embedder.parameters()).device

    @property
    def reader(self) -> SideReader:
        """What makes rows and batches of sides, without the weights."""
        return SideReader(builder=self.builder, pixels=self.recipe.pixels, pooled=self.recipe.pooling.positions)

    @property
    def templates(self) -> Templates:
        """How it reads the sides of a dataset's pairs: sides that are handed to it are read as they stand."""
        return self.recipe.templates

    def embed(self, sides: Sequence[Side]) -> np.ndarray:
        """Embeddings (N, D) float32 of unit norm, in the order of `sides`."""
        out = np.zeros((len(sides), self.embedder.width), dtype=np.float32)
        for rows in self._chunks(self.builder, sides, [()] * len(sides)):
            out[[row.slot for row in rows]] = self.embed_batch(self.reader.pack(rows))
        return out

    @torch.no_grad()
    def embed_batch(self, batch: Batch) -> np.ndarray:
        """Embeddings (N, D) float32 of unit norm of a batch's rows, in their order there."""
        embeddings: np.ndarray = self.embedder(batch.to(self.device)).embeddings.cpu().numpy()
        return embeddings

    def with_tokens(self, count: int) -> "EmbeddingModel":
        """The model of the first `count` compression tokens, over the same weights: what a recipe of so many makes of them.

        Whether that is good, training decides. Raises ConfigError for a number that is not from 1 to the recipe's.
        """
        tokens, builder = self.recipe.tokens, self.builder
        if not 1 <= count <= tokens.count:
            raise ConfigError(f"tokens: {count}; recipe {self.recipe.name} has {tokens.count}, take one to all of them")
        return replace(
            self,
            embedder=self.embedder.first_tokens(count),
            recipe=replace(self.recipe, tokens=replace(tokens, count=count, elastic=())),
            builder=replace(builder, vocabulary=replace(builder.vocabulary, chorus=builder.vocabulary.chorus[:count])),
            fingerprint=f"{count} tokens of {self.fingerprint}",
            encoder_fingerprint=f"{count} tokens of {self.encoder_fingerprint}",
        )

    @property
    def conditions(self) -> dict[str, str | int]:
        """What answers are given under besides weights and words."""
        return conditions(self)

    def cache_size(self, contexts: Sequence[Side]) -> CacheSize:
        """How much of the contexts answers from their tokens keep, one context for each question."""
        return cache_size(self, contexts)

    def asked_as(self, how: AskedAs) -> "EmbeddingModel":
        """The model over the same weights, asked in another way than its recipe's."""
        return asked_as(self, how)

    @torch.no_grad()
    def compress(self, sides: Sequence[Side]) -> CompressedItems:
        """Embeddings and caches of `sides`, in their order, from one pass: to search with, to answer from, to save.

        Raises ConfigError when the recipe has no compression tokens, DataError when there are no sides.
        """
        if Role.COMPRESSION not in self.recipe.phase.layout.order:
            raise ConfigError(
                f"tokens.count: recipe {self.recipe.name} has no compression tokens to answer from; answer natively"
            )
        if not sides:
            raise DataError("compress: no sides are given")
        order, parts = list[int](), list[CompressedItems]()
        for rows in self._chunks(self.builder, sides, [()] * len(sides)):
            order += [row.slot for row in rows]
            parts.append(self._compress_rows(rows))
        return compressed_items.join(parts).take(np.argsort(order).tolist())

    def answer(
        self,
        contexts: Sequence[Side],
        questions: Sequence[str],
        *,
        compressed: bool,
        max_new_tokens: int = 32,
        decoding: Decoding = GREEDY,
    ) -> list[str]:
        """Answers to `questions[i]` about `contexts[i]`, the same whatever stands beside them.

        Natively the model sees pictures, text and question; compressed, each distinct context is read once into the
        compression tokens, and every answer about it continues from SYSTEM and those tokens alone. Raises ConfigError for
        compressed answers of a recipe without compression tokens.
        """
        if compressed and contexts:
            places = {side: place for place, side in enumerate(dict.fromkeys(contexts))}
            once = self.compress([conversation_context(side, self.builder.layout) for side in places])
            own = once.take([places[side] for side in contexts])
            return self.answer_from(own, questions, max_new_tokens=max_new_tokens, decoding=decoding)
        builder = replace(self.builder, layout=native_layout(self.recipe.phase.layout))
        sides = [conversation_context(side, builder.layout) for side in contexts]
        answers = [""] * len(questions)
        for rows in self._chunks(builder, sides, [(Turn(question=question),) for question in questions]):
            _, memory, states = self._read(rows, builder.layout.order)
            last = [int(place[-1]) for place in row_places(rows)]
            names = [generation.answer_name(row.item, questions[row.slot]) for row in rows]
            texts = self._decode(memory, states[last], names, max_new_tokens, decoding)
            for row, text in zip(rows, texts, strict=True):
                answers[row.slot] = text
        return answers

    def answer_from(
        self, items: CompressedItems, questions: Sequence[str], *, max_new_tokens: int = 32, decoding: Decoding = GREEDY
    ) -> list[str]:
        """Answers to `questions[i]` from the cache of item i alone. Raises DataError when another model made the items."""
        items.check(self.fingerprint, where="the items")
        if len(items) != len(questions):
            raise DataError(f"{len(questions)} questions about {len(items)} items; take() one item for each question")
        answers: list[str] = []
        question_ids = [self.builder.question_ids(question) for question in questions]
        for places in answer_batches.answered_together(items.num_kept, question_ids):
            part = items.take(places)
            ids = [question_ids[place] for place in places]
            memory, states = generation.proceed(self.embedder, part.memory(self.device), ids)
            own = zip(part.names.tolist(), (questions[place] for place in places), strict=True)
            answers += self._decode(memory, states, [generation.answer_name(*each) for each in own], max_new_tokens, decoding)
        return answers

    def _compress_rows(self, rows: Sequence[Row]) -> CompressedItems:
        batch, memory, states = self._read(rows, CACHED_ROLES)
        roles = [row.sequence.roles for row in rows]
        kept = compressed_items.split(memory, int((roles[0] == Role.SYSTEM).sum()))
        kept["positions"] = torch.tensor([row.sequence.next_position() for row in rows])
        return CompressedItems(
            fingerprint=self.fingerprint,
            embeddings=self.embedder.pool(states, batch).cpu(),
            names=torch.tensor([row.item for row in rows]),
            context_tokens=torch.tensor([int((own == Role.CONTEXT).sum()) for own in roles]),
            **kept,
        )

    def _chunks(self, builder: SequenceBuilder, sides: Sequence[Side], turns: Sequence[Sequence[Turn]]) -> Iterator[list[Row]]:
        """Rows of the sides and their turns in chunks of similar length; a row's slot is its place in `sides`."""
        reader = replace(self.reader, builder=builder)
        for part in answer_batches.decoded_together(reader, sides):
            yield from chunk_by_tokens([reader.row(sides[at], turns[at], slot=at) for at in part], answer_batches.CHUNK_TOKENS)

    def _read(self, rows: Sequence[Row], roles: Sequence[Role]) -> tuple[Batch, Memory, torch.Tensor]:
        """Pack and read rows; what is kept of the tokens with one of `roles`, and the states of all tokens."""
        batch = self.reader.pack(rows).to(self.device)
        places = zip(rows, row_places(rows), strict=True)
        kept = [torch.from_numpy(place[np.isin(row.sequence.roles, roles)]) for row, place in places]
        return batch, *generation.remember(self.embedder, batch, kept)

    def _decode(
        self, memory: Memory, states: torch.Tensor, names: Sequence[int], max_new_tokens: int, decoding: Decoding
    ) -> list[str]:
        vocabulary = self.builder.vocabulary
        ending = Ending(end=vocabulary.im_end, banned=vocabulary.chorus, max_new_tokens=max_new_tokens)
        tokens = generation.decode(self.embedder, memory, states, ending, decoding=decoding, names=names)
        return [self.decode(ids) for ids in tokens]


def load_model(
    path: Path,
    *,
    recipe: Recipe | None = None,
    device: str | torch.device = "cpu",
    dtype: Dtype = "float32",
    tokens: int | None = None,
) -> EmbeddingModel:
    """Load a checkpoint, an exported folder (both hold their recipe) or, with a recipe, a bare model folder.

    `tokens` takes the first so many of its compression tokens. Raises CheckpointError, naming the folder and what it lacks, also
    when `recipe` is not the one it was trained with; ConfigError for a device that is not there. Untrained weights are named.
    """
    place = device_of(device)
    if (path / checkpoint.STATE).is_file():
        model = _of_checkpoint(path, recipe, dtype)
    elif (path / SETTINGS).is_file():
        model = _of_export(path, recipe, dtype)
    elif recipe is None:
        raise CheckpointError(f"{path}: no {checkpoint.STATE}, so not a checkpoint; for a model folder name a recipe too")
    else:
        model = load_untrained(path, recipe, dtype=dtype)
        if model.untrained:
            logger.warning("%s: %s: it is a bare model folder, and recipe %s starts them", path, model.untrained, recipe.name)
    model.embedder.to(place)
    return model if tokens is None else model.with_tokens(tokens)


def load_untrained(path: Path, recipe: Recipe, *, device: str | torch.device = "cpu", dtype: Dtype = "float32") -> EmbeddingModel:
    """The model as training begins with it: a model folder's weights, and new ones where the recipe has weights of its own.

    Its fingerprint begins with what is new, so that every result says so. Raises CheckpointError for a folder without a model.
    """
    place = device_of(device)
    embedder, folder = build_embedder(path, recipe, dtype=DTYPES[dtype])
    untrained = untrained_parts(tokens=embedder.bank, pooling=embedder.pooling)
    model = _model(embedder, folder, recipe, ModelOrigin(folder_digests(path), "untrained", recipe, dtype))
    model.embedder.to(place)
    return replace(model, fingerprint=f"{untrained} {model.fingerprint}".strip(), untrained=untrained)


def _of_checkpoint(path: Path, recipe: Recipe | None, dtype: Dtype) -> EmbeddingModel:
    state = checkpoint.read_state(path)
    own = checkpoint.recipe(path)
    refuse_differences(path, own, recipe or own)
    place = (path / state.model_folder).resolve()
    digests = folder_digests(place)
    embedder, folder = build_embedder(place, own, dtype=DTYPES[dtype])
    if state.model_digest and state.model_digest != fingerprint(digests):
        raise CheckpointError(
            f"{path}: its model folder {place} is not the one it was trained from; run crem model with the settings of then"
        )
    load_trained(embedder, checkpoint.weights(path), path)
    return _model(embedder, folder, own, ModelOrigin(digests, state.digests[checkpoint.WEIGHTS], own, dtype))


def _of_export(path: Path, recipe: Recipe | None, dtype: Dtype) -> EmbeddingModel:
    opened = Exported.open(path)
    refuse_differences(path, opened.recipe, recipe or opened.recipe)
    embedder, folder = opened.build(dtype=DTYPES[dtype])
    made = ModelOrigin({}, opened.fingerprint, opened.recipe, dtype)
    model = _model(embedder, folder, opened.recipe, made, tuple(opened.settings.prompt.chorus_ids))
    opened.check_prompt(model.builder)
    return model


def _model(
    embedder: Embedder, folder: Folder, recipe: Recipe, made: ModelOrigin, chorus: tuple[int, ...] | None = None
) -> EmbeddingModel:
    """`chorus` are the ids of the compression tokens, where the folder does not decide them."""
    embedder.eval()
    embedder.elastic = ()  # one embedding a row: see EmbeddingModel.with_tokens
    return EmbeddingModel(
        embedder=embedder,
        folder=folder.path,
        recipe=recipe,
        builder=sequence_builder(folder, recipe, chorus),
        fingerprint=made.fingerprint,
        encoder_fingerprint=made.encoder_fingerprint,
        decode=lambda ids: str(folder.tokenizer.decode(ids, skip_special_tokens=True)).strip(),
    )
