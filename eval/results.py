"""Result files: dataclasses written as JSON and read back, so that evaluation and report stay separate stages.

A result holds no date and no path: the same model, data and settings give the same bytes.
"""

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from pipeline.errors import DataError
from pipeline.manifest import write_atomic

Result = TypeVar("Result")
Setting = str | int | float | bool | None

_LIBRARIES = ("numpy", "pillow", "torch", "transformers")


def library_versions() -> dict[str, str]:
    """Versions of the libraries that a score may depend on."""
    return {name: version(name) for name in _LIBRARIES}


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """What a result was made from: fingerprints of the model and of the data as read, settings, library versions."""

    model: str
    data: str
    settings: Mapping[str, Setting]
    libraries: Mapping[str, str] = field(default_factory=library_versions)

    def is_of(self, model: str, settings: Mapping[str, Setting]) -> bool:
        """Whether a result was made by that model with those settings."""
        return self.model == model and dict(self.settings) == dict(settings)

    def agrees_with(self, other: "Provenance") -> bool:
        """Whether a result would be the same, as far as libraries of other versions give the same numbers."""
        return self.data == other.data and self.is_of(other.model, other.settings)


def write_result(result: object, path: Path) -> None:
    """Write a result dataclass as JSON, whole or not at all."""
    plain = dataclasses.asdict(result)  # type: ignore[call-overload]
    write_atomic(path, json.dumps(plain, ensure_ascii=False, sort_keys=True, indent=1) + "\n")


def read_result(kind: type[Result], path: Path) -> Result:
    """Read a result of a kind back. Raises DataError when the file is missing or is not such a result."""
    try:
        return typing.cast(Result, _decode(kind, json.loads(path.read_text(encoding="utf-8"))))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); run the evaluation first") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{path}: not a {kind.__name__} ({error}); evaluate again") from error


def _decode(kind: Any, value: Any) -> Any:
    """A JSON value as the type that an annotation names: dataclasses, tuples, mappings, unions with None, plain values."""
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return typing.cast(Any, kind)(**{name: _decode(hints[name], item) for name, item in value.items()})
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        return tuple(_decode(parts[0], item) for item in value)
    if origin in (dict, Mapping):
        return {name: _decode(parts[1], item) for name, item in value.items()}
    if origin in (types.UnionType, typing.Union):
        known = [part for part in parts if dataclasses.is_dataclass(part)]
        return _decode(known[0], value) if known and value is not None else value
    return value
