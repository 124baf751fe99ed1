"""A GPU whose memory does not suffice: said in one line, with the settings that a run may go on with."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from pipeline.errors import PipelineError
from pipeline.recipe import Recipe
from pipeline.train.distributed import own_rank


class OutOfMemoryError(PipelineError):
    """A GPU ran out of memory."""


@contextmanager
def naming_settings(recipe: Recipe) -> Iterator[None]:
    """Inside of the block a GPU that runs out of memory is an OutOfMemoryError of one line.

    The recipe has numbers for `auto`, once they are chosen.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        said = str(error).split(". GPU ")[0].splitlines()[0]
        raise OutOfMemoryError(
            f"rank {own_rank()}: {said}; go on from the newest checkpoint with less: --set {', '.join(_settings(recipe))}"
        ) from error


def _settings(recipe: Recipe) -> list[str]:
    """What still can be lowered, none of which changes what is trained."""
    path, phase = recipe.phase_path, recipe.phase
    # Where auto has chosen nothing yet, no chunk takes memory yet either.
    found = [f"{path}.chunk_tokens={max(1, phase.chunk_tokens // 2)}"] if isinstance(phase.chunk_tokens, int) else []
    found += [f"{path}.kept_chunks=0"] if phase.kept_chunks else []
    found += [f"{path}.features=host"] if phase.tower == "frozen" and phase.features == "device" else []
    found += [] if phase.gradient_checkpointing else [f"{path}.gradient_checkpointing=true"]
    # ZeRO-3 frees weights between passes, so it keeps no graphs.
    found += [f"{path}.zero_stage={phase.zero_stage + 1}"] if phase.zero_stage < 3 else []
    return [*found[:-1], f"or {found[-1]}"] if len(found) > 1 else found
