"""What a run says of its steps before the first one: the numbers that users of gradient caching mix up."""

from pipeline.recipe import Phase, Recipe
from pipeline.train.work import StepWork


def opening(work: StepWork, recipe: Recipe, phase: Phase, num_ranks: int) -> str:
    """One line: global batch, sub-batch, ranks, and the chunks of this rank's first step."""
    mixture = phase.mixture
    pairs = f"{mixture.pairs} pairs in one-dataset runs of {mixture.sub_batch}" if mixture.pairs else "no pairs"
    longest = max((chunk.full.input_ids.numel() for chunk in work.chunks), default=0)
    replayed = max(0, len(work.chunks) - phase.kept_chunks)
    return (
        f"global batch: {pairs} and {mixture.outside} conversations, one optimizer step each; {num_ranks} rank(s), "
        f"ZeRO {phase.zero_stage}; first step on rank 0: {len(work.chunks)} chunks of at most {longest} positions "
        f"(chunk_tokens {phase.chunk_tokens}), {replayed} of them replayed; rows of at most {recipe.max_length} tokens"
    )
