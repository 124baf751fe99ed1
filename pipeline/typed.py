"""Plain values (of JSON) become dataclasses again, by their annotations alone; whatever does not fit is refused by its field.

Nothing is evaluated or unpickled: a class is named, and looked up among those that the annotation allows. An abstract base class
as an annotation (pipeline.components) allows every component below it.
"""

import dataclasses
import difflib
import reprlib
import sys
import types
from collections.abc import Iterable, Mapping
from dataclasses import is_dataclass
from enum import Enum
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pipeline.components import is_open, members, named, shortcoming
from pipeline.errors import ConfigError

MOVED = {"phases.layout.hidden.probability": "it is layout.gate_probability now, one for the whole layout"}
"""Fields of recipes that once were, by their paths without numbers, and what says the same today."""

TYPE = "type"
"""The entry of a plain dataclass that names its class."""


def build(kind: Any, value: object, path: str = "") -> Any:
    """The typed value of a plain one: the inverse of `pipeline.manifest.canonical_json`.

    `kind` is an annotation: bool, int, float, str, Literal, an enum (by name), a tuple, a dataclass, an abstract base of some, or
    a union of these.
    Fields that are left out get their defaults; the dataclasses' own checks run. Raises ConfigError naming the field at `path`.
    """
    classes = dataclasses_in(kind)
    if isinstance(value, Mapping) and classes:
        name = value.get(TYPE, next(iter(classes)) if len(classes) == 1 else None)
        return _build_dataclass(class_named(kind, name, path), value, path)
    for member in alternatives(kind):
        if get_origin(member) is tuple and isinstance(value, list):
            return _build_tuple(member, value, path)
        if _fits(member, value):
            return _scalar(member, value)
    raise ConfigError(f"{_in(path)}{reprlib.repr(value)} is not {allowed(kind)}")


def alternatives(kind: Any) -> tuple[Any, ...]:
    """The members of a union, with all components in place of an open kind; any other annotation alone."""
    return tuple(each for member in _union(kind) for each in (members(member) if is_open(member) else (member,)))


def dataclasses_in(kind: Any) -> dict[str, Any]:
    """The dataclasses that an annotation allows, by name."""
    return {member.__name__: member for member in alternatives(kind) if isinstance(member, type) and is_dataclass(member)}


def class_named(kind: Any, name: object, path: str = "") -> Any:
    """The one dataclass of that name that an annotation allows. Raises ConfigError naming the field at `path`."""
    found = [member for member in alternatives(kind) if name in dataclasses_in(member)]
    if not found:
        raise ConfigError(f"{_in(path)}type {name!r} is not {allowed(kind)}{hint(kind, name)}")
    if len(found) > 1:
        raise ConfigError(f"{_in(path)}{name} is a class of {' and of '.join(each.__module__ for each in found)}; rename one")
    return found[0]


def hint(kind: Any, name: object) -> str:
    """What to do about a name that no component of an open kind has; empty for other annotations."""
    bases = [member for member in _union(kind) if is_open(member)]
    for each in (found for base in bases for found in named(base, str(name)) if shortcoming(found)):
        return f"; {name} of {each.__module__} {shortcoming(each)}"
    own = " or ".join(f"{base.__module__}.{base.__name__}" for base in bases)
    where = "in the file that --recipe FILE.py:FN or --components names"
    return f"; a class of your own stands under {own} {where}" if bases else ""


def field_kinds(cls: Any) -> dict[str, Any]:
    """The annotations of a dataclass's fields, by name."""
    hints = get_type_hints(cls)
    return {item.name: hints[item.name] for item in dataclasses.fields(cls) if item.init}


def element_kind(kind: Any, place: int) -> Any:
    """The annotation of one entry of a tuple's annotation."""
    members = get_args(kind)
    return members[0] if members[1:] == (...,) else members[place]


def allowed(kind: Any) -> str:
    """What an annotation allows, in words that follow "is not"."""
    members = alternatives(kind)
    names = [name for member in members for name in _names(member)]
    words = [_WORDS[member] for member in members if member in _WORDS]
    words += [_tuple_words(member) for member in members if get_origin(member) is tuple]
    words += [f"one of {', '.join(names)}" if len(names) > 1 else name for name in names[:1]]
    return " or ".join(words)


def unknown_field(name: str, names: Iterable[str], path: str) -> ConfigError:
    """The error for a field that is not there: where it is now, the nearest names, or all of them."""
    moved = MOVED.get(".".join(part for part in (*path.split("."), name) if not part.isdecimal()))
    if moved:
        return ConfigError(f"{path} has no field {name!r}; {moved}")
    near = difflib.get_close_matches(name, list(names), n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(names)}"
    return ConfigError(f"{path or 'the recipe'} has no field {name!r}; {hint}")


def _union(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)


_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


def _names(member: Any) -> list[str]:
    """Names of a member that is chosen by name: a class, values of a Literal, members of an enum."""
    if isinstance(member, type) and is_dataclass(member):
        return [member.__name__]
    if get_origin(member) is Literal:
        return [str(choice) for choice in get_args(member)]
    return list(member.__members__) if _is_enum(member) else []


def _tuple_words(kind: Any) -> str:
    members = get_args(kind)
    return f"a list, each {allowed(members[0])}" if members[1:] == (...,) else f"[{', '.join(map(allowed, members))}]"


def _is_enum(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Enum)


def _fits(kind: Any, value: object) -> bool:
    """Whether a plain scalar is of an annotation. A bool is no number, and a number must be finite."""
    if get_origin(kind) is Literal:
        return any(value == choice and type(value) is type(choice) for choice in get_args(kind))
    if _is_enum(kind):
        return isinstance(value, str) and value in kind.__members__
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    return kind in _WORDS and type(value) is kind


def _scalar(kind: Any, value: Any) -> Any:
    """A fitting plain scalar in its own type."""
    if _is_enum(kind):
        return kind[value]
    return float(value) if kind is float else value


def _build_tuple(kind: Any, values: list[object], path: str) -> tuple[Any, ...]:
    members = get_args(kind)
    if members[1:] != (...,) and len(values) != len(members):
        raise ConfigError(f"{_in(path)}{reprlib.repr(values)} has {len(values)} entries, not {len(members)}")
    return tuple(build(element_kind(kind, place), value, join(path, place)) for place, value in enumerate(values))


def _build_dataclass(cls: Any, values: Mapping[str, object], path: str) -> Any:
    kinds = field_kinds(cls)
    for name in values:
        if name not in kinds and name != TYPE:
            raise unknown_field(name, kinds, path)
    needed = {item.name for item in dataclasses.fields(cls) if item.default is item.default_factory is dataclasses.MISSING}
    for name in kinds:
        if name in needed and name not in values:
            raise ConfigError(f"{join(path, name)}: {cls.__name__} needs this field; give {allowed(kinds[name])}")
    return cls(**{name: build(kinds[name], values[name], join(path, name)) for name in kinds if name in values})


def join(path: str, name: object) -> str:
    """The path of a field below `path`."""
    return f"{path}.{name}" if path else str(name)


def _in(path: str) -> str:
    return f"{path}: " if path else ""
