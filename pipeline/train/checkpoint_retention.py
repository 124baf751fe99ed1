"""Which checkpoints stay: the last few, those of every so many steps, and the best on the held-out slice."""

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path

from pipeline.errors import CheckpointError
from pipeline.phase import HeldOutFigure, Phase
from pipeline.train import checkpoint

logger = logging.getLogger(__name__)

HIGHER_IS_BETTER: tuple[HeldOutFigure, ...] = ("precision_at_1",)


def prune(root: Path, phase: Phase, step: int) -> None:
    """Delete the checkpoints that the phase does not keep at `step`.

    Folders of later steps stay: they are another run's, or were refused at the start of this one, and must not take the
    place of those that a resume can use. One that cannot be deleted, such as a link to another disk, is named and ends no run.
    """
    found = {checkpoint.step_of(folder): folder for folder in checkpoint.steps(root) if checkpoint.step_of(folder) <= step}
    kept = {*list(found)[: phase.keep_checkpoints], *(number for number in found if on_a_mark(number, phase))}
    kept |= best({number: _figure(folder, phase.keep_best) for number, folder in found.items()}, phase.keep_best)
    for number in found.keys() - kept:
        try:
            shutil.rmtree(found[number])
        except OSError as error:
            logger.warning("%s: no longer needed, but it could not be deleted (%s); delete it yourself", found[number], error)


def on_a_mark(step: int, phase: Phase) -> bool:
    """Whether a checkpoint of this step stays for good."""
    return phase.keep_every > 0 and step % phase.keep_every == 0


def best(figures: Mapping[int, float | None], name: HeldOutFigure) -> set[int]:
    """The step with the best figure, the earliest of equal ones; none where no step has a figure."""
    sign = -1.0 if name in HIGHER_IS_BETTER else 1.0
    ranked = sorted((sign * figure, step) for step, figure in figures.items() if figure is not None)
    return {step for _, step in ranked[:1]}


def _figure(folder: Path, name: HeldOutFigure) -> float | None:
    """A checkpoint's held-out figure; None where it has none or does not say."""
    try:
        return checkpoint.peek(folder).held_out.get(name)
    except CheckpointError:
        return None
