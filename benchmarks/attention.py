"""The split into causal attentions against a dense mask and flex_attention: time and memory, forward and backward.

Routes are timed in turn within one process, so that what slows the machine slows all of them; each repeat gives a ratio and
the median of the ratios is what counts. With one thread the clock is the processor time of the process: the same as time on a
calm machine, and it stands still while other programs have the core. Masks and gather tables are made before the clock starts: a
micro-batch makes them once for all its layers. Outputs and gradients are compared first, and a difference ends the program.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from statistics import median
from time import perf_counter, process_time

import click
import torch

from benchmarks.attention_routes import Route, routes
from benchmarks.attention_rows import Rows, packed, single
from eval.subject import one_line_errors

DTYPES = {"cpu": torch.float32, "cuda": torch.bfloat16}
ROUNDING_STEPS = {"cpu": 100, "cuda": 4}
"""Allowed difference of two routes relative to the largest value: float32 sums differ by order, bf16 by rounding."""
MIB = 2**20
HEADER = (
    *("device", "rows", "tokens", "route", "forward, ms", "backward, ms", "time / split"),
    *("made once, MiB", "saved a layer, MiB", "peak, MiB"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seconds:
    """Of one run."""

    forward: float
    backward: float

    @property
    def both(self) -> float:
        return self.forward + self.backward


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tensors:
    """Queries, keys, values, and the gradient of the output."""

    inputs: tuple[torch.Tensor, torch.Tensor, torch.Tensor]
    grad_output: torch.Tensor


def tensors(num_tokens: int, heads: tuple[int, int, int], device: torch.device) -> Tensors:
    """Random, laid out as a model's projections leave them: token by token in memory."""
    generator = torch.Generator().manual_seed(0)
    num_query, num_key, depth = heads
    made = [
        torch.randn(num_tokens, count, depth, generator=generator).to(device, DTYPES[device.type]).transpose(0, 1)[None]
        for count in (num_query, num_key, num_key, num_query)
    ]
    query, key, value = (part.requires_grad_() for part in made[:3])
    return Tensors(inputs=(query, key, value), grad_output=made[3])


def run(route: Route, given: Tensors) -> tuple[Seconds, list[torch.Tensor]]:
    """One forward and, where it can, one backward pass: their times, the output and the gradients."""
    with torch.set_grad_enabled(route.backward):
        inputs = given.inputs if route.backward else tuple(part.detach() for part in given.inputs)
        begun = _now(given)
        out = route.attend(*inputs)
        done = _now(given)
        gradients = torch.autograd.grad(out, inputs, given.grad_output) if route.backward else ()
        ended = _now(given)
    return Seconds(forward=done - begun, backward=ended - done), [out.detach(), *gradients]


def _now(given: Tensors) -> float:
    if given.grad_output.is_cuda:
        torch.cuda.synchronize()
        return perf_counter()
    return process_time() if torch.get_num_threads() == 1 else perf_counter()


def check_equal(compared: list[Route], given: Tensors) -> None:
    """Raise when a route's output or a gradient differs from the dense mask's. Also the warm-up of all routes."""
    results = {route.name: run(route, given)[1] for route in compared}
    steps = ROUNDING_STEPS[given.grad_output.device.type]
    for name, found in results.items():
        for what, ours, true in zip(("output", "query", "key", "value"), found, results["dense mask"], strict=False):
            error = float((ours - true).abs().max() / true.abs().max())
            if not error <= steps * torch.finfo(true.dtype).eps:
                raise click.ClickException(f"{name} is not the dense mask: {what} differs by {error:.2g} of the largest value")


def saved_bytes(route: Route, given: Tensors) -> int:
    """Bytes that the forward pass keeps for the backward one, each storage once.

    Query, key and value count where they are kept: a layer that keeps gathered copies instead lets go of them. What the route
    made once does not.
    """
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        out = route.attend(*given.inputs)
    for part in route.made_once:
        kept.pop(part.untyped_storage().data_ptr(), None)
    del out
    return sum(kept.values())


def peak_bytes(route: Route, given: Tensors) -> int:
    """The most bytes allocated at once in a forward and backward pass, over what was there before."""
    if given.grad_output.is_cuda:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run(route, given)
        return torch.cuda.max_memory_allocated() - before
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # or the profiler writes between the lines of the table
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as recorded:
        run(route, given)
    assert recorded.profiler is not None and recorded.profiler.kineto_results is not None
    events = [event for event in recorded.profiler.kineto_results.events() if event.name() == "[memory]"]
    return max(accumulate(int(event.nbytes()) for event in sorted(events, key=lambda event: event.start_ns())))


def measure(rows: Rows, device: torch.device, heads: tuple[int, int, int], *, repeats: int, with_flex: bool) -> Iterator[str]:
    """Lines of the table, one a route."""
    num_tokens = sum(len(row) for row in rows.roles)
    given = tensors(num_tokens, heads, device)
    compared = routes(rows, device, DTYPES[device.type], with_flex=with_flex)
    check_equal(compared, given)
    times: dict[str, list[Seconds]] = {route.name: [] for route in compared}
    for repeat in range(repeats):
        for route in compared if repeat % 2 else reversed(compared):
            times[route.name].append(run(route, given)[0])
    for route in compared:
        start = (device.type, rows.name, f"{num_tokens:,}", route.name)
        yield line(*start, *time_cells(route, times), *memory_cells(route, given))


def time_cells(route: Route, times: dict[str, list[Seconds]]) -> tuple[str, str, str]:
    """Forward and backward in milliseconds, and the ratio to ours of each repeat: median, least and greatest."""
    own, ours = times[route.name], times["split"]
    forward = _milliseconds([s.forward for s in own])
    if not route.backward:
        ratios = [theirs.forward / mine.forward for theirs, mine in zip(own, ours, strict=True)]
        return forward, "does not run", f"{_spread(ratios)}, forward alone"
    ratios = [theirs.both / mine.both for theirs, mine in zip(own, ours, strict=True)]
    return forward, _milliseconds([s.backward for s in own]), _spread(ratios)


def _milliseconds(seconds: list[float]) -> str:
    taken = median(seconds) * 1e3
    return f"{taken:.0f}" if taken >= 10 else f"{taken:.2f}"


def memory_cells(route: Route, given: Tensors) -> tuple[str, str, str]:
    """Made once a micro-batch, kept by each layer for its backward pass, and the most at once; in MiB."""
    made_once = sum(part.nbytes for part in route.made_once)
    saved = f"{saved_bytes(route, given) / MIB:.1f}" if route.backward else "-"
    return f"{made_once / MIB:.1f}", saved, f"{peak_bytes(route, given) / MIB:.1f}"


def _spread(ratios: list[float]) -> str:
    return f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def line(*cells: str) -> str:
    """A row of a Markdown table."""
    return f"| {' | '.join(cells)} |"


@click.command()
@click.option(
    "--device", "devices", multiple=True, type=click.Choice(["cpu", "cuda"]), default=("cpu", "cuda"), show_default=True
)
@click.option("--tokens", multiple=True, type=click.IntRange(min=256), default=(512, 1024, 2048, 4096), show_default=True)
@click.option("--heads", nargs=3, type=int, default=(12, 2, 128), show_default=True, help="Query heads, key heads, depth.")
@click.option("--repeats", type=click.IntRange(min=1), default=7, show_default=True, help="Of the longest; shorter ones more.")
@click.option("--flex/--no-flex", default=True, show_default=True, help="Also flex_attention (compiling takes a while).")
def main(devices: tuple[str, ...], tokens: tuple[int, ...], heads: tuple[int, int, int], repeats: int, flex: bool) -> None:
    """Measure attention by four routes on the CPU, and on a GPU when there is one; print a table in Markdown."""
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; heads {heads}; medians of {repeats} repeats or more")
    for count in tokens:
        print(f"packed rows, {count:,} tokens: {packed(count).histogram()}")
    print()
    print(line(*HEADER))
    print(line(*["---"] * len(HEADER)))
    for device in devices:
        if device == "cuda" and not torch.cuda.is_available():
            print(line(device, "not measured: no GPU", *[""] * (len(HEADER) - 2)))
            continue
        for rows, count in ((make(count), count) for make in (single, packed) for count in tokens):
            often = repeats * min(4, max(tokens) // count)
            for row in measure(rows, torch.device(device), heads, repeats=often, with_flex=flex):
                print(row, flush=True)


if __name__ == "__main__":
    with one_line_errors():
        main()
