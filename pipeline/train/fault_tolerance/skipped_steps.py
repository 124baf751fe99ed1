"""Steps skipped because their loss or gradient is not finite: counted, and the end of a run that has too many in a row."""

import logging

from pipeline.errors import PipelineError
from pipeline.train.step import StepReport

logger = logging.getLogger(__name__)


class Skips:
    """Counts skipped steps; `total` and `in_a_row` go on from the checkpoint that a run resumed from."""

    def __init__(self, limit: int, total: int = 0, in_a_row: int = 0) -> None:
        self.limit, self.total, self.in_a_row = limit, total, in_a_row

    def note(self, step: int, report: StepReport) -> None:
        """Take note of a step, 0-based. Raises PipelineError at the last of `limit` skipped steps in a row."""
        if report.finite:
            self.in_a_row = 0
            return
        self.total += 1
        self.in_a_row += 1
        logger.warning("step %d: loss or gradient is not finite, so it moved nothing (%s)", step + 1, report)
        if self.in_a_row >= self.limit:
            raise PipelineError(
                f"step {step + 1}: loss or gradient is not finite for {self.in_a_row} steps in a row ({report}); lower the "
                "learning rate, or look at what was read with crem data show; the last checkpoint is intact"
            )
