"""How a step's rows are cut into chunks, and how many chunks are not replayed: numbers, or `auto` until a run has chosen them."""

from dataclasses import dataclass
from typing import Literal

from pipeline.errors import ConfigError

Auto = Literal["auto"]
AUTO: Auto = "auto"

Count = int | Auto


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkBudget:
    """`tokens` bound a packed micro-batch; `kept` chunks of a step keep the graph of their first pass."""

    tokens: int
    kept: int

    @staticmethod
    def of(tokens: Count, kept: Count) -> "ChunkBudget":
        """The two numbers, where no `auto` is left."""
        assert isinstance(tokens, int) and isinstance(kept, int), "auto is chosen before the first step"
        return ChunkBudget(tokens=tokens, kept=kept)


def check_chunks(tokens: Count, kept: Count, zero_stage: int) -> None:
    """Raise ConfigError, naming the field, for numbers that no phase can have."""
    for name, value, least in (("chunk_tokens", tokens, 1), ("kept_chunks", kept, 0)):
        if isinstance(value, int) and value < least:
            raise ConfigError(f"phase.{name}: {value} is less than {least}")
    if kept not in (0, AUTO) and zero_stage == 3:
        raise ConfigError("phase.kept_chunks: ZeRO-3 frees weights between passes; keep no graphs (0 or auto) or use stage 2")
