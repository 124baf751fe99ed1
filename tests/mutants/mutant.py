"""What a mutant is."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutant:
    """In `file`, `old` (which occurs once) becomes `new`; `tests` (arguments of pytest) must then fail."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
