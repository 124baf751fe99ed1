"""`--set path.to.field=value`: any field of a recipe from the command line, typed by the recipe's own annotations.

All settings are written into the recipe's plain form and the recipe is built once, so its checks see the values together.
"""

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, Literal, get_args, get_origin

from pipeline.errors import ConfigError
from pipeline.manifest import canonical_json
from pipeline.recipe import Recipe
from pipeline.template_file import named_templates
from pipeline.templates import Templates
from pipeline.typed import (
    TYPE,
    allowed,
    alternatives,
    build,
    class_named,
    dataclasses_in,
    element_kind,
    field_kinds,
    hint,
    join,
    unknown_field,
)


def override(recipe: Recipe, settings: Sequence[str]) -> Recipe:
    """The recipe with settings `path.to.field=value` applied in order; without any, the recipe itself.

    A path goes through fields and, for tuples, numbers (`phases.0.steps`). A value is written as its type is: `8`, `0.5`,
    `true`, a name (`tokens.start=eos`), the class of a component, which then has its defaults (`adapter=LoRA`), a list with
    commas (`layout.order=SYSTEM,CONTEXT`), or JSON as `crem recipes show` prints it; `templates` take a file too, of which the
    recipe then has the content (`templates=my.toml`). Raises ConfigError naming field, value and what is allowed.
    """
    if not settings:
        return recipe
    tree = json.loads(canonical_json(recipe))
    for setting in settings:
        path, is_setting, text = setting.partition("=")
        if not is_setting:
            raise ConfigError(f"--set {setting}: write path.to.field=value")
        _change(tree, path.strip(), text.strip())
    changed = build(Recipe, tree)
    assert isinstance(changed, Recipe)
    return changed


def _change(tree: dict[str, Any], path: str, text: str) -> None:
    """Write the value of one setting into the plain recipe."""
    node, kind, walked = tree, Recipe, ""
    *parents, last = path.split(".")
    for part in parents:
        key, kind = _step(node, kind, part, walked, tree, path)
        walked = join(walked, part)
        if isinstance(node, dict) and key not in node:
            raise ConfigError(f"--set {path}: {walked} has no value yet; set it as a whole first")
        node = node[key]
    key, kind = _step(node, kind, last, walked, tree, path)
    node[key] = _read(kind, text, path)


def _step(node: Any, kind: Any, part: str, walked: str, tree: object, path: str) -> tuple[Any, Any]:
    """The key and the annotation of the entry `part` of a plain dataclass or tuple at `walked`."""
    if isinstance(node, dict):
        kinds = field_kinds(class_named(kind, node[TYPE], walked))
        if part not in kinds:
            fuller = [found for found in _paths(tree) if found.endswith(f".{path}")]
            if fuller:
                raise ConfigError(f"--set {path}: no such field; did you mean {' or '.join(fuller)}?")
            raise ConfigError(f"--set {path}: {unknown_field(part, kinds, walked)}")
        return part, kinds[part]
    if isinstance(node, list):
        if not part.isdecimal() or int(part) >= len(node):
            raise ConfigError(f"--set {path}: {walked} has no entry {part!r}; there are {len(node)}, counted from 0")
        (member,) = (member for member in alternatives(kind) if get_origin(member) is tuple)
        return int(part), element_kind(member, int(part))
    raise ConfigError(f"--set {path}: {walked} is {allowed(kind)} and has no field {part!r}")


def _paths(node: object, path: str = "") -> Iterator[str]:
    """The paths of all fields below a plain value."""
    entries = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for name, value in entries:
        if name != TYPE:
            yield join(path, name)
            yield from _paths(value, join(path, name))


def _read(kind: Any, text: str, path: str) -> object:
    """The plain value that a text on the command line stands for."""
    classes = dataclasses_in(kind)
    if text in classes:
        return _with_defaults(class_named(kind, text, f"--set {path}"))
    tuples = [member for member in alternatives(kind) if get_origin(member) is tuple]
    if (classes or tuples) and text.startswith(("[", "{")):
        return _read_json(kind, text, path)
    if kind is Templates:
        return _read_file(text, path)
    for member in alternatives(kind):
        for value in _scalars(member, text):
            return value
    for member in tuples:
        # Entries that have parts themselves would need commas twice: those are written as JSON.
        if all(get_origin(entry) is not tuple and not dataclasses_in(entry) for entry in get_args(member)) or not text:
            parts = text.split(",") if text else []
            kinds = [element_kind(member, min(place, len(get_args(member)) - 1)) for place in range(len(parts))]
            return [_read(entry, part.strip(), path) for entry, part in zip(kinds, parts, strict=True)]
    advice = " (write it as JSON, as crem recipes show prints it)" if tuples else hint(kind, text)
    raise ConfigError(f"--set {path}={text}: {text!r} is not {allowed(kind)}{advice}")


def _scalars(kind: Any, text: str) -> Iterator[object]:
    """The plain scalar of one annotation that a text stands for, if it does."""
    if get_origin(kind) is Literal:
        yield from (choice for choice in get_args(kind) if str(choice) == text)
    elif kind is bool:
        yield from (value for word, value in {"true": True, "false": False}.items() if word == text.lower())
    elif kind is str:
        yield text
    elif kind in (int, float):
        try:
            yield kind(text)
        except ValueError:
            return
    elif isinstance(kind, type) and issubclass(kind, Enum):
        yield from (name for name in kind.__members__ if name == text.upper())


def _read_json(kind: Any, text: str, path: str) -> object:
    """A value in JSON, checked at once and filled with its defaults, so that later settings find every field."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"--set {path}: not JSON ({error}); crem recipes show prints values in this form") from error
    return json.loads(canonical_json(build(kind, value, path)))


def _read_file(name: str, path: str) -> object:
    """The plain templates of a file, or of one of ours by its name."""
    try:
        return json.loads(canonical_json(named_templates(name)))
    except ConfigError as error:
        raise ConfigError(f"--set {path}: {error}") from error


def _with_defaults(cls: Any) -> Mapping[str, object]:
    """A plain dataclass with its defaults; the fields that have none are left out, for later settings to give."""
    plain: dict[str, object] = {TYPE: cls.__name__}
    for item in dataclasses.fields(cls):
        if item.default is not dataclasses.MISSING:
            plain[item.name] = json.loads(canonical_json(item.default))
        elif item.default_factory is not dataclasses.MISSING:
            plain[item.name] = json.loads(canonical_json(item.default_factory()))
    return plain
