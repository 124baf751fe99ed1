"""What differs between two recipes, field by field."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from pipeline.recipe import Recipe
from pipeline.recipe_json import decisive_values
from pipeline.typed import TYPE, join


@dataclass(frozen=True, slots=True)
class Difference:
    """A field by its path, and what it is in either recipe, in words (`16`, `eos`, `LoRA(alpha=64, rank=16)`)."""

    path: str
    old: str
    new: str


def differences(old: Recipe, new: Recipe, values: Callable[[Recipe], Mapping[str, object]] = decisive_values) -> list[Difference]:
    """The fields in which two recipes differ, of those that `values` looks at (all but labels), in the order of their paths.

    A component of another class, and a tuple of another length, is one difference.
    """
    return list(_differences(values(old), values(new), ""))


def _differences(old: object, new: object, path: str) -> Iterator[Difference]:
    if isinstance(old, dict) and isinstance(new, dict) and old.keys() == new.keys() and old.get(TYPE) == new.get(TYPE):
        for name in old:
            yield from _differences(old[name], new[name], join(path, name))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for place, pair in enumerate(zip(old, new, strict=True)):
            yield from _differences(*pair, join(path, place))
    elif old != new:
        yield Difference(path, _words(old), _words(new))


def _words(value: object) -> str:
    """A plain value as one reads it."""
    if isinstance(value, dict):
        fields = ", ".join(f"{name}={_words(part)}" for name, part in value.items() if name != TYPE)
        return f"{value.get(TYPE, '')}({fields})"
    if isinstance(value, list):
        return f"[{', '.join(map(_words, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)
