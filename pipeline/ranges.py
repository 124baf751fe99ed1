"""Bounds of a recipe's values. A dataclass checks its own when it is made, so a bad one is refused before any model loads."""

from collections.abc import Sequence

from pipeline.errors import ConfigError


def check_least(owner: object, where: str, **least: float) -> None:
    """Raise ConfigError, naming the field below `where`, where a number of `owner` is less than the bound of that name."""
    for name, bound in least.items():
        value = getattr(owner, name)
        if not value >= bound:
            raise ConfigError(f"{f'{where}.{name}'.removeprefix('.')}: {value} is less than {bound}")


def check_between(where: str, value: float, least: float, most: float) -> None:
    """Raise ConfigError, naming the field `where`, for a number outside of [least, most]."""
    if not least <= value <= most:
        raise ConfigError(f"{where}: {value} is not between {least:g} and {most:g}")


def check_once(where: str, names: Sequence[str]) -> None:
    """Raise ConfigError, naming the field `where`, for a name that stands there twice: the last one would win in silence."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"{where}: {', '.join(twice)} stands there twice; name each once")
