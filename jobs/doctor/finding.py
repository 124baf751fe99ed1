"""What was found of one thing, and the table of all."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum


class Level(Enum):
    """What a finding means for a run."""

    GOOD = "ok"
    WARNING = "warning"
    STOPS = "stops"
    """A run would not start, or not end."""
    UNKNOWN = "not looked at"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One row: what was looked at, how it is, what was seen, and what to do about it (empty where nothing)."""

    subject: str
    level: Level
    seen: str
    advice: str = ""


def good(subject: str, seen: str) -> Finding:
    """Nothing to do."""
    return Finding(subject=subject, level=Level.GOOD, seen=seen)


def warning(subject: str, seen: str, advice: str) -> Finding:
    """A run works, but not as well as it could."""
    return Finding(subject=subject, level=Level.WARNING, seen=seen, advice=advice)


def stops(subject: str, seen: str, advice: str) -> Finding:
    """A run would be stopped by it."""
    return Finding(subject=subject, level=Level.STOPS, seen=seen, advice=advice)


def unknown(subject: str, seen: str, advice: str = "") -> Finding:
    """It cannot be known from here, or nobody asked."""
    return Finding(subject=subject, level=Level.UNKNOWN, seen=seen, advice=advice)


def table(findings: Sequence[Finding]) -> str:
    """A line each, with what to do below it."""
    subjects, levels = (max((len(text) for text in column), default=0) for column in zip(*map(_columns, findings), strict=True))
    lines = []
    for finding in findings:
        subject, level = _columns(finding)
        lines.append(f"{subject:<{subjects}}  {level:<{levels}}  {' '.join(finding.seen.split())}")
        if finding.advice:
            lines.append(f"{'':<{subjects + levels + 2}}  -> {' '.join(finding.advice.split())}")
    return "\n".join(lines)


def _columns(finding: Finding) -> tuple[str, str]:
    return finding.subject, finding.level.value
