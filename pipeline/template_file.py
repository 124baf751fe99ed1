"""Templates from a TOML file, checked whole, with the file and the key of whatever is wrong.

[template]                                        # how a side is put together; {pictures} may be left out
query = "Instruct: {instruction}\\n{pictures}Query: {text}"
candidate = "Instruct: {instruction}\\n{pictures}Text: {text}"

[default]                                         # of every dataset that no other table is for
query = "Find what the query asks for."
candidate = ""                                    # no instruction: pictures and words alone

[meta_task.vqa]                                   # of MMEB's sets: classification, grounding, retrieval, vqa
[dataset.MSCOCO_t2i]                              # of one dataset, by the name that shards and MMEB-eval give it
"""

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError
from pipeline.templates import DATASET, DEFAULT, META_TASK, Instructions, Templates, fault_of_template

MOST_BYTES = 1 << 20
"""Larger files are refused: a thousand datasets have about a quarter of it."""

OWN = Path(__file__).parent / "recipes" / "templates"
"""Files of our own."""

TEMPLATE = "template"

_TABLES = (TEMPLATE, DEFAULT, META_TASK, DATASET)
_SIDES = ("query", "candidate")
_SUFFIX = ".toml"


def named_templates(name: str) -> Templates:
    """The templates of a file (`my.toml`), or of one of ours by its name (`magic`). Raises ConfigError for others."""
    if name.endswith(_SUFFIX):
        return read_templates(Path(name))
    own = sorted(path.stem for path in OWN.glob(f"*{_SUFFIX}"))
    if name not in own:
        raise ConfigError(f"templates {name!r}: name a file that ends with {_SUFFIX}, or one of ours: {', '.join(own)}")
    return read_templates(OWN / f"{name}{_SUFFIX}")


def read_templates(path: Path) -> Templates:
    """The templates of a file. Raises ConfigError, naming file and key, for one that cannot be used."""
    try:
        return _templates(_tables(path))
    except OSError as error:
        raise ConfigError(f"templates {path}: cannot be read ({error.strerror})") from error
    except ConfigError as error:
        raise ConfigError(f"templates {path}: {error}") from error


def _tables(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise ConfigError("no such file")
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ConfigError(f"has more than {MOST_BYTES} bytes")
    try:
        return tomllib.loads(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ConfigError(f"is not UTF-8 at byte {error.start}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"is not TOML ({error})") from error


def _templates(tables: Mapping[str, Any]) -> Templates:
    for name, table in tables.items():
        if name not in _TABLES:
            raise ConfigError(f"[{name}] is not known; there are {', '.join(_TABLES)}")
        if not isinstance(table, dict):
            raise ConfigError(f"{name} is no table; write [{name}]")
    words = _texts(tables.get(TEMPLATE, {}), f"[{TEMPLATE}]")
    for side, text in words.items():
        if fault := fault_of_template(text):
            raise ConfigError(f"[{TEMPLATE}] {side}: {fault}")
    instructions = tuple(_instructions(tables))
    if not instructions:
        raise ConfigError(f"has no instructions; give [{DEFAULT}] or [{DATASET}.<name>], with query and candidate")
    return Templates(**{f"{side}_template": text for side, text in words.items()}, instructions=instructions)


def _instructions(tables: Mapping[str, Any]) -> Iterator[Instructions]:
    """Those of all tables; each has both sides, so that nobody wonders what a missing one is."""
    named = [(DEFAULT, tables[DEFAULT])] if DEFAULT in tables else []
    named += [(f"{kind}.{name}", table) for kind in (META_TASK, DATASET) for name, table in tables.get(kind, {}).items()]
    for of, table in named:
        if not isinstance(table, dict):
            raise ConfigError(f"[{of}] is no table of query and candidate")
        words = _texts(table, f"[{of}]")
        for side in _SIDES:
            if side not in words:
                raise ConfigError(f'[{of}] lacks {side}; write {side} = "" for none')
        yield Instructions(of=of, query=words["query"].strip(), candidate=words["candidate"].strip())


def _texts(table: Mapping[str, object], where: str) -> Mapping[str, str]:
    """A table of texts by side. Raises ConfigError for another key, and for what is no text."""
    for name, value in table.items():
        if name not in _SIDES:
            raise ConfigError(f"{where} {name}: is not known; there are {', '.join(_SIDES)}")
        if not isinstance(value, str):
            raise ConfigError(f"{where} {name}: {value!r} is no text")
    return {name: str(value) for name, value in table.items()}
