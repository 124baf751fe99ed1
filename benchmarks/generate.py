"""How fast answers are decoded, and how much they keep: natively behind the whole context, and behind compression tokens alone.

For each length of context and each batch both kinds decode so many tokens in turn, from caches that were read before; the
figure of each is the median, and ratios are of one run. Where no model folder is named, the model is a small random one: then
the ratios say how the two grow with context and batch, and nothing about a published model.
"""

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import click
import torch

from benchmarks.latency import small_folder
from eval.subject import one_line_errors
from pipeline.inference import CACHED_ROLES, EmbeddingModel, load_untrained
from pipeline.model import generation
from pipeline.model.device import usual_place
from pipeline.model.generation import Ending, Greedy, Memory
from pipeline.recipe import Recipe, TinyBackbone
from pipeline.recipes import load
from pipeline.roles import Role
from pipeline.sample import Side

CONTEXTS, BATCHES = (256, 640, 1280), (1, 4, 16, 64)
QUESTION = "what is on the left of the picture"
_NEVER = -1
"""No token: nothing ends before its length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What one row keeps when its answer begins, and the state (1, D) of its last token."""

    memory: Memory
    state: torch.Tensor

    def rows(self, count: int) -> "Asked":
        """The same row so many times, each with keys and values of its own."""
        keys, values = (tuple(layer.repeat(count, 1, 1, 1) for layer in part) for part in (self.memory.keys, self.memory.values))
        memory = Memory(
            keys=keys, values=values, seen=self.memory.seen.repeat(count, 1), position=self.memory.position.repeat(count)
        )
        return Asked(memory=memory, state=self.state.repeat(count, 1))

    @property
    def bytes(self) -> int:
        """Of keys and values of all layers."""
        return sum(layer.nbytes for part in (self.memory.keys, self.memory.values) for layer in part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One context and batch: tokens per second and cache bytes, native and compressed."""

    context: int
    batch: int
    native: float
    compressed: float
    native_bytes: int
    compressed_bytes: int

    @property
    def text(self) -> str:
        """A row of the table."""
        cells = (f"{self.context:,}", f"{self.batch}", f"{self.native:,.0f}", f"{self.compressed:,.0f}")
        ratio, share = self.compressed / self.native, self.compressed_bytes / self.native_bytes
        sizes = (f"{self.native_bytes / 2**20:,.2f}", f"{self.compressed_bytes / 2**20:,.2f}", f"{100 * share:.1f} %")
        return f"| {' | '.join((*cells, f'{ratio:.2f}', *sizes))} |"


def side_of(model: EmbeddingModel, context: int) -> Side:
    """A text whose row has so many CONTEXT tokens, as near as its words allow."""
    words = QUESTION.split()

    def tokens(count: int) -> int:
        text = " ".join(words[number % len(words)] for number in range(count))
        return int((model.reader.roles(Side(text=text)) == Role.CONTEXT).sum())

    least, most = 1, 2 * context
    while least < most:
        middle = (least + most) // 2
        least, most = (middle + 1, most) if tokens(middle) < context else (least, middle)
    return Side(text=" ".join(words[number % len(words)] for number in range(least)))


def asked(model: EmbeddingModel, side: Side, *, compressed: bool) -> Asked:
    """Read a context and a question; keep all of it, or SYSTEM and the compression tokens."""
    row = model.reader.row(side, slot=0)
    roles: Sequence[Role] = CACHED_ROLES if compressed else (Role.SYSTEM, Role.CONTEXT)
    batch = model.reader.pack([row]).to(model.device)
    kept = torch.tensor([place for place, role in enumerate(row.sequence.roles.tolist()) if role in roles])
    memory, _ = generation.remember(model.embedder, batch, [kept])
    memory, states = generation.proceed(model.embedder, memory, [model.builder.question_ids(QUESTION)])
    return Asked(memory=memory, state=states)


def seconds(model: EmbeddingModel, given: Asked, new_tokens: int) -> float:
    """Seconds to decode so many tokens of each row."""
    ending = Ending(end=_NEVER, banned=(), max_new_tokens=new_tokens)
    names = [0] * len(given.state)
    begun = perf_counter()
    generation.decode(model.embedder, given.memory, given.state, ending, decoding=Greedy(), names=names)
    if model.device.type == "cuda":
        torch.cuda.synchronize()
    return perf_counter() - begun


def measured(
    model: EmbeddingModel, contexts: Sequence[int], batches: Sequence[int], *, new_tokens: int, repeats: int
) -> Iterator[Line]:
    """Both kinds in turn, so that a busy machine slows both alike. The first round is not counted."""
    for context in contexts:
        side = side_of(model, context)
        kinds = {compressed: asked(model, side, compressed=compressed) for compressed in (False, True)}
        for batch in batches:
            rows = {compressed: kind.rows(batch) for compressed, kind in kinds.items()}
            taken: dict[bool, list[float]] = {False: [], True: []}
            for number in range(repeats + 1):
                for compressed, given in rows.items():
                    time = seconds(model, given, new_tokens)
                    if number:
                        taken[compressed].append(time)
            rates = {compressed: batch * new_tokens / median(times) for compressed, times in taken.items()}
            yield Line(
                context=context,
                batch=batch,
                native=rates[False],
                compressed=rates[True],
                native_bytes=rows[False].bytes,
                compressed_bytes=rows[True].bytes,
            )


def small_model(folder: Path, spec: TinyBackbone) -> EmbeddingModel:
    """A small random model with room for the longest context."""
    return load_untrained(small_folder(folder, spec), _roomy(load("tiny")))


def _roomy(recipe: Recipe) -> Recipe:
    return replace(recipe, max_length=4 * max(CONTEXTS))


@click.command()
@click.option("--model-folder", type=click.Path(path_type=Path), help="A published folder instead of a small model.")
@click.option("--recipe", "name", default="crem_2b", show_default=True, help="Prompt and tokens, with --model-folder.")
@click.option("--hidden", default=256, show_default=True, help="Width of the small model's layers.")
@click.option("--layers", default=4, show_default=True, help="Layers of the small model.")
@click.option("--context", "contexts", multiple=True, type=int, default=CONTEXTS, show_default=True)
@click.option("--batch", "batches", multiple=True, type=int, default=BATCHES, show_default=True)
@click.option("--new-tokens", default=16, show_default=True)
@click.option("--repeats", default=3, show_default=True)
def main(model_folder: Path | None, name: str, hidden: int, layers: int, **given: Any) -> None:
    """Print tokens per second and cache sizes of native and compressed answers by context and batch."""
    spec = TinyBackbone(hidden=hidden, layers=layers, feed_forward=4 * hidden, vocab_size=600)
    with tempfile.TemporaryDirectory() as folder:
        if model_folder is None:
            model, scale = small_model(Path(folder), spec), f"small scale: a random model of {layers} layers, width {hidden}"
        else:
            device, dtype = usual_place()
            model = load_untrained(model_folder, _roomy(load(name)), device=device, dtype=dtype)
            scale = model_folder.name
        _print(model, scale, **given)


def _print(
    model: EmbeddingModel,
    scale: str,
    *,
    contexts: tuple[int, ...],
    batches: tuple[int, ...],
    new_tokens: int,
    repeats: int,
) -> None:
    count = model.recipe.tokens.count
    print(f"{scale}, on {model.device}, {count} compression tokens, {new_tokens} new tokens, median of {repeats}")
    print("| context | batch | native tokens/s | compressed tokens/s | times as fast | native MiB | compressed MiB | kept |")
    print(f"|{'---:|' * 8}")
    for line in measured(model, contexts, batches, new_tokens=new_tokens, repeats=repeats):
        print(line.text, flush=True)


if __name__ == "__main__":
    with one_line_errors():
        main()
