"""What differs between two recipes, field by field."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from pipeline.errors import CheckpointError
from pipeline.recipe import Recipe
from pipeline.recipe_json import course_values, decisive_values
from pipeline.typed import TYPE, join


@dataclass(frozen=True, slots=True)
class Difference:
    """A field by its path, and what it is in either recipe, in words (`16`, `eos`, `LoRA(alpha=64, rank=16)`)."""

    path: str
    old: str
    new: str


def differences(old: Recipe, new: Recipe, values: Callable[[Recipe], Mapping[str, object]] = decisive_values) -> list[Difference]:
    """The fields in which two recipes differ, of those that `values` looks at (all but labels), in the order of their paths.

    A component of another class, and a tuple of another length, is one difference. Phases are matched in their order; one that
    the other recipe lacks is one difference too, told by its name.
    """
    return list(_differences(values(old), values(new), ""))


def refuse_differences(path: Path, own: Recipe, given: Recipe) -> None:
    """Raise CheckpointError where a recipe that is given for a trained folder is not the one that it was trained with."""
    for difference in differences(own, given, course_values):
        raise CheckpointError(
            f"{path}: trained with {difference.path} = {difference.old}, and the recipe given has {difference.new}; "
            "give the values it was trained with, or none: it brings its own"
        )


def _differences(old: object, new: object, path: str) -> Iterator[Difference]:
    if isinstance(old, dict) and isinstance(new, dict) and old.keys() == new.keys() and old.get(TYPE) == new.get(TYPE):
        for name in old:
            yield from _differences(old[name], new[name], join(path, name))
    elif isinstance(old, list) and isinstance(new, list) and (len(old) == len(new) or path == "phases"):
        for place, (before, after) in enumerate(zip_longest(old, new)):
            if before is None or after is None:
                yield Difference(join(path, place), _named(before), _named(after))
            else:
                yield from _differences(before, after, join(path, place))
    elif old != new:
        yield Difference(path, _words(old), _words(new))


def _named(phase: Mapping[str, object] | None) -> str:
    """A phase in a few words, for a recipe that has none at its place."""
    return "none" if phase is None else f"{phase['name']}, {phase['steps']} steps"


def _words(value: object) -> str:
    """A plain value as one reads it."""
    if isinstance(value, dict):
        fields = ", ".join(f"{name}={_words(part)}" for name, part in value.items() if name != TYPE)
        return f"{value.get(TYPE, '')}({fields})"
    if isinstance(value, list):
        return f"[{', '.join(map(_words, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)
