"""What a run says of its steps before the first one: what they are drawn from, and the numbers that users of gradient caching
mix up.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from pipeline.chunk_budget import AUTO
from pipeline.data.mmeb_train_sets import TRAIN_SETS, shortfall
from pipeline.data.qa import QaTable, shares_text
from pipeline.data.shards import ShardIndex
from pipeline.phase import Mixture, Phase
from pipeline.recipe import Recipe
from pipeline.templates import Templates
from pipeline.train.dataloader.corpus import sets_of
from pipeline.train.dataloader.step_work import StepWork
from pipeline.train.engine import zero_stage


def opening(work: StepWork, recipe: Recipe, phase: Phase, num_ranks: int, num_workers: int) -> str:
    """One line: global batch, sub-batch, ranks, and the chunks of this rank's first step. `phase` has numbers for `auto`."""
    mixture = phase.mixture
    pairs = f"{mixture.pairs} pairs in one-dataset runs of {mixture.sub_batch}" if mixture.pairs else "no pairs"
    longest = max((chunk.full.input_ids.numel() for chunk in work.chunks), default=0)
    replayed, asked = max(0, len(work.chunks) - phase.budget.kept), recipe.phase
    chosen = [
        f"{name} {getattr(phase, name)}{' by auto' * (getattr(asked, name) == AUTO)}" for name in ("chunk_tokens", "kept_chunks")
    ]
    return (
        f"global batch: {pairs} and {mixture.outside} conversations, one optimizer step each; {num_ranks} rank(s), "
        f"ZeRO {_zero(phase)}, {num_workers} loader process(es) each; first step on rank 0: {len(work.chunks)} chunks of at "
        f"most {longest} positions ({', '.join(chosen)}), {replayed} of them replayed; rows of at most {recipe.max_length} tokens"
    )


def _zero(phase: Phase) -> str:
    """The ZeRO stage, what DeepSpeed runs in its place, and how often gradients cross the ranks."""
    run = zero_stage(phase)
    named = f"{phase.zero_stage}" if run == phase.zero_stage else f"{phase.zero_stage}, run as {run}"
    return f"{named} (gradients are reduced once a {'chunk' if run > 1 else 'step'})"


def composition(index: ShardIndex, mixture: Mixture, pairs: Mapping[str, float], talks: Mapping[str, float]) -> Iterator[str]:
    """Lines that say what the rows of a step are drawn from, by the shares of the datasets, and what is not read.

    A folder with other sets than the paper's trains another model: sets of MMEB-train that are missing or short, and sets of
    conversations that the recipe does not name, are named.
    """
    sizes = {name: len(rows) for name, rows in index.datasets.items()}
    if mixture.pairs:
        yield f"pairs are drawn from {_drawn(pairs, sets_of(index, 'pairs'))}"
        yield _mmeb(sizes)
    if not mixture.outside:
        return
    there = sets_of(index, "conversations")
    read = [name for name in there if mixture.reads(name)]
    chosen = "mixture.outside_sets" if mixture.outside_sets else "all that are there: mixture.outside_sets names none"
    yield f"conversations are drawn from {_drawn(talks, read)} ({chosen})"
    unread = [f"{name} ({sizes[name]} rows)" for name in there if not mixture.reads(name)]
    if unread:
        yield f"conversations that mixture.outside_sets does not name, so that none is drawn: {', '.join(unread)}"


def told(templates: Templates, drawn: Iterable[str]) -> Iterator[str]:
    """A line that says which table of instructions each drawn dataset of pairs has; none where the recipe has none."""
    by_table: dict[str, list[str]] = {}
    for name in sorted(drawn) if templates.instructions else ():
        found = templates.of(name)
        by_table.setdefault(found.of if found else "those of their rows", []).append(name)
    if by_table:
        yield "instructions: " + "; ".join(f"{table} for {', '.join(sets)}" for table, sets in by_table.items())


def asked(qa: QaTable, phase: Phase, drawn: Iterable[str]) -> Iterator[str]:
    """A line that says which share of each drawn dataset's sides has what the phase asks; none where nothing is synthesized."""
    if phase.needs:
        shares = (f"{name} ({shares_text(qa.shares(name))})" for name in sorted(drawn))
        yield f"sides with {phase.needs}: {', '.join(shares)}"


def _drawn(parts: Mapping[str, float], names: Sequence[str]) -> str:
    """Datasets with their parts of a stream, largest first; then those of which nothing is ever drawn."""
    order = sorted((name for name in names if parts.get(name)), key=lambda name: -parts[name])
    drawn = ", ".join(f"{name} {parts[name]:.1%}" for name in order)
    never = ", ".join(name for name in names if not parts.get(name))
    return f"{drawn}; never from {never}" if never else drawn


def _mmeb(sizes: Mapping[str, int]) -> str:
    absent = [name for name in TRAIN_SETS if name not in sizes]
    short = [
        f"{name} ({sizes[name]} of {known.rows})"
        for name, known in TRAIN_SETS.items()
        if shortfall(name, sizes.get(name, known.rows))
    ]
    lacks = [f"not in the shards: {', '.join(absent)}"] if absent else []
    lacks += [f"fewer rows than printed: {', '.join(short)}"] if short else []
    return "; ".join([f"MMEB-train: {len(TRAIN_SETS) - len(absent)} of {len(TRAIN_SETS)} sets", *lacks])
