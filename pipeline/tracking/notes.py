"""What a run is told, as values that a thread can send and a file can keep."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.tracking.entries import MAX_METRICS_PER_CALL, Number


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Settings, short texts, numbers, the path of a file to copy, or how the run ended and when; each may be absent."""

    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: Sequence[Number] = ()
    file: str = ""
    status: str = ""
    ended: int = 0

    def as_json(self) -> dict[str, Any]:
        """The parts that are there."""
        parts = {name: getattr(self, name) for name in Note.__slots__}
        return {name: value for name, value in parts.items() if value}

    @classmethod
    def from_json(cls, parts: Mapping[str, Any]) -> "Note":
        """The note that `as_json` gave. Raises TypeError or ValueError for anything else."""
        numbers = tuple((str(name), float(value), int(at), int(step)) for name, value, at, step in parts.get("metrics", ()))
        return cls(**{**parts, "metrics": numbers})


def joined(first: Note, second: Note) -> Note | None:
    """Two notes of numbers as one, as long as a single call takes them: an outage is made up for in few calls."""
    numbers = (*first.metrics, *second.metrics)
    is_one = first.metrics and second.metrics and len(numbers) <= MAX_METRICS_PER_CALL
    return Note(metrics=numbers) if is_one and not (first.as_json().keys() | second.as_json().keys()) - {"metrics"} else None
