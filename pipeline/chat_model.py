"""A published model folder that answers chat requests in this process, by the project's own batched decoding.

It is asked in the chat of its family: the system line that Qwen's own templates put in, pictures before the first question, then
the turns. There are no tokens of ours, and nothing is hidden.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import torch

from pipeline.answer_batches import CHUNK_TOKENS
from pipeline.asked_as import OWN_SYSTEM_LINE
from pipeline.batch import Row, row_places
from pipeline.chat import NO_LOGPROBS, REFUSED, Answer, ChatRequest, Failed, Sampling
from pipeline.chat.reply import TopLogprobs
from pipeline.errors import DataError
from pipeline.model import generation
from pipeline.model.backbone import open_folder
from pipeline.model.compression import Chorus
from pipeline.model.device import Dtype, device_of
from pipeline.model.embedder import Embedder
from pipeline.model.families.family import Cutter
from pipeline.model.generation import GREEDY, Decoding, Ending, Sampled
from pipeline.model.inputs import PixelLimits
from pipeline.model.pooling import LastToken
from pipeline.model.tiles import Tiles
from pipeline.phase import Mixture, Phase
from pipeline.recipe import PublishedBackbone, Recipe
from pipeline.roles import Layout, Role
from pipeline.sample import Side, Turn
from pipeline.sequence import SequenceBuilder
from pipeline.side_reader import SideReader
from pipeline.train.build import DTYPES, build_embedder

HELD_TOKENS = 1 << 16
"""Keys and values that are held at the same time, room for the answers included: 3.7 GB of a 7B in bfloat16."""

Asked = tuple[str, ChatRequest]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatModel:
    """Answers many requests at a time. `decode` turns token ids into text."""

    embedder: Embedder
    reader: SideReader
    decode: Callable[[list[int]], str]

    @staticmethod
    def load(folder: Path, *, device: str = "cpu", dtype: Dtype = "float32") -> "ChatModel":
        """Load a model folder of one of the families. Raises CheckpointError, naming the folder and what it lacks."""
        place, recipe = device_of(device), _recipe(open_folder(folder).cutter)
        embedder, opened = build_embedder(folder, recipe, dtype=DTYPES[dtype])
        embedder.eval().requires_grad_(False).to(place)
        builder = SequenceBuilder(vocabulary=opened.vocabulary(()), layout=recipe.phase.layout, max_length=sys.maxsize)
        return ChatModel(
            embedder=embedder,
            reader=SideReader(builder=builder, pixels=recipe.pixels, pooled=recipe.pooling.positions),
            decode=lambda ids: str(opened.tokenizer.decode(ids, skip_special_tokens=True)).strip(),
        )

    def answers(self, requests: Sequence[Asked]) -> Iterator[tuple[str, Answer | Failed]]:
        """Each key with what became of its request, those of like length together; a request that cannot be read is refused.

        At a temperature of 0 the likeliest tokens are chosen, else they are drawn by the seed and the key: the same answer comes
        whatever is asked beside it.
        """
        by_sampling = sorted(requests, key=lambda asked: repr(asked[1].sampling))
        for sampling, group in groupby(by_sampling, key=lambda asked: asked[1].sampling):
            rows = list[tuple[str, Row]]()
            for key, request in group:
                row = self._row(request)
                if isinstance(row, Failed):
                    yield key, row
                else:
                    rows.append((key, row))
            for part in _together(rows, sampling.max_tokens):
                yield from self._answered(part, sampling)

    def _row(self, request: ChatRequest) -> Row | Failed:
        if request.sampling.top_logprobs and request.sampling.max_tokens > 1:
            return Failed(NO_LOGPROBS, "a model of this process tells log-probabilities of answers of one token alone")
        turns = [Turn(question=question, answer=answer) for question, answer in request.history]
        try:
            return self.reader.row(Side(images=request.images), [*turns, Turn(question=request.text)], slot=-1)
        except DataError as error:
            return Failed(REFUSED, str(error))

    @torch.no_grad()
    def _answered(self, asked: Sequence[tuple[str, Row]], sampling: Sampling) -> Iterator[tuple[str, Answer]]:
        """Answers to rows that are read and decoded together."""
        rows, vocabulary = [row for _, row in asked], self.reader.builder.vocabulary
        device, places = next(self.embedder.parameters()).device, row_places(rows)
        kept = [torch.from_numpy(place) for place in places]
        memory, states = generation.remember(self.embedder, self.reader.pack(rows).to(device), kept)
        ending = Ending(end=vocabulary.im_end, banned=(), max_new_tokens=sampling.max_tokens)
        last = states[[int(place[-1]) for place in places]]
        likeliest = self._likeliest(last, sampling.top_logprobs)
        told = generation.decode(
            self.embedder,
            memory,
            last,
            ending,
            decoding=_decoding(sampling),
            names=[generation.answer_name(0, key) for key, _ in asked],
        )
        for (key, row), ids, likely in zip(asked, told, likeliest, strict=True):
            is_cut = len(ids) == sampling.max_tokens
            yield (
                key,
                Answer(
                    text=self.decode(ids),
                    finish_reason="length" if is_cut else "stop",
                    max_tokens=sampling.max_tokens,
                    tokens=(len(row.sequence), len(ids) + (not is_cut)),
                    top_logprobs=likely,
                ),
            )

    def _likeliest(self, states: torch.Tensor, count: int) -> list[TopLogprobs]:
        """Of the token behind each state (B, D) the likeliest `count` with their log-probabilities; nothing for 0."""
        if not count:
            return [()] * len(states)
        logprobs = torch.log_softmax(self.embedder.backbone.logits(states).float(), dim=-1)
        found = logprobs.topk(min(count, logprobs.shape[1]), dim=-1)
        rows = zip(found.indices.tolist(), found.values.tolist(), strict=True)
        return [(tuple((self.decode([token]), value) for token, value in zip(*row, strict=True)),) for row in rows]


def _recipe(cutter: Cutter) -> Recipe:
    """What building a model must know of one that no recipe trained: layout, limits of pictures, no tokens of ours."""
    order = (Role.SYSTEM, Role.CONTEXT, Role.QUESTION, Role.ANSWER)
    layout = Layout(order=order, system=OWN_SYSTEM_LINE, represent="")
    return Recipe(
        name="chat",
        summary="a published model, asked in its own chat",
        backbone=PublishedBackbone(name="any"),
        tokens=Chorus(count=0),
        pooling=LastToken(Role.CONTEXT),
        pixels=_limits(cutter),
        phases=(Phase(name="published", steps=1, layout=layout, mixture=Mixture(outside=0, own_sides=())),),
    )


def _limits(cutter: Cutter) -> PixelLimits | Tiles:
    if cutter.tiles:
        return Tiles(side=cutter.side, patch=cutter.patch, merge=cutter.merge)
    return PixelLimits(patch=cutter.patch, merge=cutter.merge)


def _decoding(sampling: Sampling) -> Decoding:
    return Sampled(temperature=sampling.temperature, seed=sampling.seed or 0) if sampling.temperature else GREEDY


def _together(rows: Sequence[tuple[str, Row]], max_tokens: int) -> Iterator[list[tuple[str, Row]]]:
    """Rows in order of length in runs of at most `CHUNK_TOKENS` that are read and `HELD_TOKENS` that are held, padding and room
    for the answers counted; a longer row is alone."""
    run, read = list[tuple[str, Row]](), 0
    for key, row in sorted(rows, key=lambda asked: len(asked[1].sequence)):
        length = len(row.sequence)
        if run and (read + length > CHUNK_TOKENS or (len(run) + 1) * (length + max_tokens) > HELD_TOKENS):
            yield run
            run, read = [], 0
        run.append((key, row))
        read += length
    if run:
        yield run
