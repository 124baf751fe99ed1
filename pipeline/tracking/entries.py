"""Names and values in the forms and sizes that an MLflow store takes, as plain values that can wait in a file of JSON."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

from pipeline.tracking.address import redact

Entry = TypeVar("Entry")
Number = tuple[str, float, int, int]
"""Name, value, milliseconds since 1970, step: what MLflow calls a metric."""

MAX_METRICS_PER_CALL = 1000
MAX_PARAMS_PER_CALL = 100
_MAX_PARAM_CHARACTERS = 6000
_MAX_TAG_CHARACTERS = 5000
_MAX_KEY_CHARACTERS = 250


def flatten(params: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Nested values as dotted names: `{"a": {"b": 1}}` becomes `{"a.b": 1}`, and `{"a": [{"b": 1}]}` `{"a.0.b": 1}`.

    A list of plain values stays one value.
    """
    flat: dict[str, object] = {}
    for name, value in params.items():
        nested = value
        if isinstance(value, list | tuple) and any(isinstance(item, Mapping | list | tuple) for item in value):
            nested = {str(index): item for index, item in enumerate(value)}
        if isinstance(nested, Mapping) and nested:
            flat |= flatten(nested, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def params_of(values: Mapping[str, object]) -> dict[str, str]:
    """Settings by dotted names, cut to 6,000 characters."""
    return {_key(name): redact(str(value))[:_MAX_PARAM_CHARACTERS] for name, value in flatten(values).items()}


def metrics_of(values: Mapping[str, float], step: int | None) -> list[Number]:
    """Numbers at a step and at this moment. Those that are not finite are left out: a database cannot hold them."""
    now = milliseconds()
    return [(_key(name), float(value), now, step or 0) for name, value in values.items() if math.isfinite(value)]


def tags_of(values: Mapping[str, str]) -> dict[str, str]:
    """Short texts, cut to 5,000 characters."""
    return {_key(name): redact(str(value))[:_MAX_TAG_CHARACTERS] for name, value in values.items()}


def milliseconds() -> int:
    """This moment, as MLflow counts: since 1970."""
    return int(time.time() * 1000)


def batches(entries: Sequence[Entry], size: int) -> Iterator[list[Entry]]:
    """The entries in lists of at most `size`: the store refuses larger calls."""
    for start in range(0, len(entries), size):
        yield list(entries[start : start + size])


def _key(name: str) -> str:
    """A name the store accepts: its character set, at most 250 characters."""
    return "".join(letter if letter.isalnum() or letter in "_-. /:" else "_" for letter in name)[:_MAX_KEY_CHARACTERS]
