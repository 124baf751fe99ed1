"""Where training reads and writes, and what changes with the machine."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPaths:
    """Folders that training reads and writes. `qa` may be missing: then no pair asks its own question.

    `start` is the checkpoint that the weights begin from; without one they are those of the model folder. `negatives` are the
    references to mined negatives, where the phase asks for them.
    """

    shards: Path
    qa: Path | None
    model: Path
    out: Path
    start: Path | None = None
    negatives: Path | None = None

    @property
    def started(self) -> Path:
        """The model folder that is written of the weights of `start`: it goes where the checkpoints go, which refer to it."""
        return self.out / "start"

    @property
    def lengths(self) -> Path:
        """Tables of the rows' lengths in tokens; they outlive a training."""
        return self.out.with_name("lengths")

    @property
    def heartbeats(self) -> Path:
        """Signs of life of the ranks while they train."""
        return self.out.with_name("heartbeats")

    @property
    def checkpoints(self) -> Path:
        """Where the step folders are."""
        return self.out / "checkpoints"

    @property
    def unreadable(self) -> Path:
        """One JSON line for each side that a step could not read."""
        return self.out / "unreadable.jsonl"

    @property
    def chunks(self) -> Path:
        """What `auto` chose for the run."""
        return self.out / "chunks.json"

    @property
    def metrics(self) -> Path:
        """One JSON line a step."""
        return self.out / "metrics.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What changes with the machine and never what is trained: loader processes (None: as the cores allow), and seconds that
    a step may take.
    """

    num_workers: int | None = None
    step_timeout: float = 1800.0


DEFAULT_OPTIONS = RunOptions()
