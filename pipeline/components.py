"""Open kinds: where a recipe's part is an abstract base class, any frozen dataclass under it will do, a user's as much as ours.

To write the class is to register it: nothing is listed anywhere. A name means one class at a time, wherever it was written.
"""

import inspect
import sys
from abc import ABCMeta
from collections.abc import Iterator
from dataclasses import is_dataclass
from typing import Any


def is_open(kind: Any) -> bool:
    """Whether an annotation is the base of an open kind: an abstract class that is no component itself."""
    return isinstance(kind, ABCMeta) and (inspect.isabstract(kind) or not is_dataclass(kind))


def members(base: type) -> list[type]:
    """The components under a base: its frozen dataclasses that lack no method, in the order in which they were written."""
    return [each for each in _classes(base) if not shortcoming(each)]


def named(base: type, name: str) -> list[type]:
    """All classes of a name under a base, those that are no components too."""
    return [each for each in _classes(base) if each.__name__ == name]


def shortcoming(cls: type) -> str:
    """Why a class is no component, in words that follow its name; empty for one that is."""
    lacking = sorted(getattr(cls, "__abstractmethods__", ()))
    if lacking:
        return f"lacks {' and '.join(lacking)}"
    is_own = "__dataclass_fields__" in vars(cls)  # a base's fields are inherited, and what the class adds would be forgotten
    if not is_own or not cls.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        return "is no frozen dataclass; write @dataclass(frozen=True) above it"
    return ""


def _classes(base: type) -> list[type]:
    """The classes below a base that are in use; of one that was written twice in the same place, the newest."""
    found: dict[tuple[str, str], type] = {}
    for each in _below(base):
        if _is_current(each):
            found[each.__module__, each.__qualname__] = each
    return list(found.values())


def _below(base: type) -> Iterator[type]:
    below: list[type] = base.__subclasses__()
    for each in below:
        yield each
        yield from _below(each)


def _is_current(cls: type) -> bool:
    """Whether a class is the one that its module holds: no draft that @dataclass replaced, none of a file that was read again."""
    found: object = sys.modules.get(cls.__module__)
    for name in cls.__qualname__.split("."):
        if name == "<locals>":
            return True
        found = getattr(found, name, None)
    return found is cls
