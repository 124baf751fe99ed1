"""A user's own wordings and kinds, out of a TOML file with a table for each.

[qa]                       # of a kind that there is, whatever is not said stays as it is
prompt = "... {request} ..."
again = 2                  # an answer that is no target is asked for again, at other seeds

[counting]                 # any other name is a kind of one's own, about pictures, for a target that needs it
prompt = "Count the things in the picture above."
question = "What is there, and how many of each?"
"""

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from data_prep import qa_caption, qa_description, qa_dialogue
from data_prep.qa_kinds import BY_NAME, Kind, about_pictures, described, in_dialogue
from data_prep.qa_script import Wording
from pipeline.data.qa import QaKind
from pipeline.errors import ConfigError

_WORDINGS = {"qa": qa_description.WORDING, "caption": qa_caption.CAPTION, "description": qa_caption.DESCRIPTION}
_MOST_TOKENS, _MOST_AGAIN, _MOST_TURNS = 1 << 20, 20, 50


def _text(value: object) -> bool:
    return isinstance(value, str) and any(map(str.isalnum, value))


def _whole(least: int, most: int) -> Callable[[object], bool]:
    return lambda value: type(value) is int and least <= value <= most


def _temperature(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 2


_EVERY: Mapping[str, tuple[Callable[[object], bool], str]] = {
    "prompt": (_text, "a text"),
    "temperature": (_temperature, "a number from 0 to 2"),
    "max_tokens": (_whole(1, _MOST_TOKENS), "a whole number over 0"),
    "again": (_whole(0, _MOST_AGAIN), f"a whole number from 0 to {_MOST_AGAIN}"),
}
_OF_ONE_TURN = {**_EVERY, "question": (_text, "a text")}
_TURNS = (_whole(1, _MOST_TURNS), f"a whole number from 1 to {_MOST_TURNS}")
_OF_DIALOGUES = {**_EVERY, "least": _TURNS, "most": _TURNS}


def read_prompts(path: Path | None) -> Mapping[QaKind, Kind]:
    """All kinds by name, with a file's wordings in the place of ours and its own kinds beside them; ours where it is None.

    Raises ConfigError for a file that cannot be read, and for a name or a value in it that cannot be.
    """
    if path is None:
        return BY_NAME
    try:
        tables = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"--prompts {path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if not tables:
        raise ConfigError(f"--prompts {path}: has no table; give one for each kind, such as [qa] with a prompt")
    return {**BY_NAME, **{name: _kind(name, table, f"--prompts {path}, [{name}]") for name, table in tables.items()}}


def _kind(name: str, table: object, where: str) -> Kind:
    if not isinstance(table, dict):
        raise ConfigError(f"{where}: is no table of prompt, question and the like")
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,40}", name):
        raise ConfigError(f"{where}: the name is a folder's too; use a-z, 0-9 and _")
    _check(table, _OF_DIALOGUES if name == "dialogue" else _OF_ONE_TURN, where)
    kind = _dialogue(table, where) if name == "dialogue" else _one_turn(name, table, where)
    kind = replace(kind, max_tokens=table.get("max_tokens", kind.max_tokens), again=table.get("again", 0))
    return replace(kind, wording={**kind.wording, "again": kind.again}) if kind.again else kind


def _check(table: Mapping[str, object], known: Mapping[str, tuple[Callable[[object], bool], str]], where: str) -> None:
    for field, value in table.items():
        if field not in known:
            raise ConfigError(f"{where}: {field} is not known; there are {', '.join(sorted(known))}")
        is_right, expected = known[field]
        if not is_right(value):
            raise ConfigError(f"{where}: {field} = {value!r} is not {expected}")


def _dialogue(table: Mapping[str, Any], where: str) -> Kind:
    form = replace(qa_dialogue.FORM, **{name: value for name, value in table.items() if name not in ("max_tokens", "again")})
    if form.least > form.most:
        raise ConfigError(f"{where}: least = {form.least} is over most = {form.most}")
    return in_dialogue(form)


def _one_turn(name: str, table: Mapping[str, Any], where: str) -> Kind:
    given = {field: table[field] for field in ("question", "prompt", "temperature") if field in table}
    if name in _WORDINGS:
        wording = replace(_WORDINGS[name], **given)
    elif {"question", "prompt"} <= set(given):
        wording = Wording(**given)
    else:
        raise ConfigError(f"{where}: a kind of your own needs a prompt and the question that is learnt in its place")
    if name == "qa":
        if qa_description.GAP not in wording.prompt:
            raise ConfigError(f"{where}: prompt lacks {qa_description.GAP}, where what the side asks or says is put")
        return described(wording)
    return about_pictures(name, wording)
