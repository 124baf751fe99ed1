"""Reader of the ShareGPT-4V files: one JSON list of conversations about a picture, in LLaVA's form.

A row has one picture (`image`: a path, or a list of one) or none. What would teach a model to answer about a picture that it does
not see is a reject: a picture or video under a key that is not read, several pictures, a row without a picture that has a key
nobody knows (it may name one), and one where a question has a place for a picture. That place is `<image>` (or `<video>`,
`<|image_1|>` and the like) at the beginning or the end of a question or alone on a line, and anywhere in a row whose `image` is
there but empty. Elsewhere in a row without a picture such a word is text: people ask about HTML and SVG.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.data.json_array import DoubledKey, read_array
from pipeline.data.keys import make_key
from pipeline.data.pictures import Pictures, untouched
from pipeline.data.reject import Reject, RowError
from pipeline.data.row_ranges import EVERY_ROW, RowRanges
from pipeline.data.texts import checked_text
from pipeline.sample import Sample, Side, Turn

_TOKEN = re.compile(r"<image>\n|\n<image>|<image>", re.I)
"""Where the picture stands in a question. It leaves the text: the picture is the side's context, not its question."""

TOKENS_REMOVED = "image_tokens_removed"
"""Count of tokens that name no picture of their own, in a row that has one: beyond the first, or in a later question."""

_UNREAD = re.compile(
    r"(image|img|picture|photo|video|audio|clip|frame|media)s?_?(path|file|name|url|uri|list|folder|dir|byte|base64)?s?", re.I
)
"""Keys that hold a picture, a video or a sound for other programs. `image_id`, `image_size` and the like say something of one."""

_OF_A_TEXT = frozenset(
    "conversations id idx index uid image model source dataset data_source split type task category language lang".split()
)
"""Keys of a row without a picture that say nothing of one. Another one might name a picture, by whatever name."""

_MARK = r"(?:<\|?(?:image|img|picture|video|audio|vision)(?:_?\d+|_pad|_start|_?placeholder|_?here)?\|?>|\[(?:image|img)\])"
_ANY_MARK = re.compile(_MARK, re.I)
_PLACE = re.compile(rf"\A\s*{_MARK}|{_MARK}\s*\Z|^[^\S\n]*{_MARK}[^\S\n]*$", re.I | re.M)


def read(
    json_path: Path,
    images: Path,
    *,
    dataset: str = "conversations",
    prepare: Callable[[bytes], bytes] = untouched,
    counts: Counter[str] | None = None,
    rows: RowRanges = EVERY_ROW,
) -> Iterator[Sample | Reject]:
    """The conversations of a file, one item for each source row that `rows` ask for, in order. They have no positive side.

    The query side holds the picture (none in a text-only row) and the turns. `images` is a zip archive or a folder; `prepare`
    sees the encoded bytes of each picture and may refuse or replace them; `counts` receives what was mended. Raises DataError
    for a file that is no JSON list.
    """
    counts = Counter() if counts is None else counts
    pictures = Pictures(images, images.with_suffix(""), prepare=prepare)
    for number, row in enumerate(read_array(json_path)):
        if number >= rows.stop:
            return
        if number not in rows:
            continue
        if rows.begin_at(number):
            pictures.forget()
        key = make_key(dataset, number)
        try:
            yield Sample(key=key, dataset=dataset, query=conversation(row, pictures.read, counts))
        except RowError as error:
            yield Reject(source=json_path.name, row=number, key=key, reason=str(error))


def conversation(row: object, picture: Callable[[str], bytes], counts: Counter[str]) -> Side:
    """The picture and the turns of a row; `picture` gives the file of a path. Raises RowError for a row that cannot be used."""
    fields = _fields(row, "it")
    turns = _turns(fields.get("conversations"))
    path = _path(fields)
    if not path:
        _refuse_unknown(fields)
        _refuse_blind(turns, strict=fields.get("image") is not None)
        if not turns[0].question.strip():
            raise RowError("it has neither a picture nor a question")
        return Side(turns=turns)
    tokens = [len(_TOKEN.findall(turn.question)) for turn in turns]
    counts[TOKENS_REMOVED] += sum(tokens) - min(tokens[0], 1)
    questions = tuple(Turn(question=_TOKEN.sub("", turn.question), answer=turn.answer) for turn in turns)
    return Side(images=(picture(path),), turns=questions)


def _path(fields: Mapping[str, Any]) -> str:
    """The path of the row's one picture, empty where it has none."""
    unread = [key for key, value in fields.items() if key != "image" and value and _UNREAD.fullmatch(key)]
    if unread:
        raise RowError(f"its key {unread[0]} is not read; the one picture of a row stands under image")
    path = fields.get("image")
    if isinstance(path, list) and path:
        if len(path) > 1:
            raise RowError(f"its image is a list of {len(path)}; a conversation has one picture")
        (path,) = path
        if not path:
            raise RowError("its image is a list of nothing")
    if path is None or path == []:
        return ""
    if not isinstance(path, str):
        raise RowError("its image is not a text")
    return checked_text(path, "its image")


def _refuse_unknown(fields: Mapping[str, Any]) -> None:
    """Refuse a row without a picture that has a key which nobody knows: the picture may stand there."""
    unknown = [key for key, value in fields.items() if value and key not in _OF_A_TEXT]
    if unknown:
        raise RowError(
            f"it has no image, and its key {unknown[0]} is not known; if it names a picture, call it image, else take it away"
        )


def _refuse_blind(turns: Sequence[Turn], *, strict: bool) -> None:
    """Refuse a row without a picture whose questions have a place for one; `strict`: a picture's token anywhere is its place."""
    for turn in turns:
        found = _ANY_MARK.search(turn.question) if strict else _PLACE.search(turn.question)
        if found:
            raise RowError(f"a question has {found[0].strip()}, and the row has no picture")


def _fields(value: object, what: str) -> dict[str, Any]:
    if isinstance(value, DoubledKey):
        raise RowError(f"{what} has the key {value.key!r} twice")
    if not isinstance(value, dict):
        raise RowError(f"{what} is not an object")
    return value


def _turns(messages: Any) -> tuple[Turn, ...]:
    """Messages taken in pairs of a question and its answer."""
    if not isinstance(messages, list) or not messages or len(messages) % 2:
        raise RowError("its conversations are not pairs of a question and an answer")
    values = [_value(message, number) for number, message in enumerate(messages)]
    return tuple(Turn(question=ask, answer=answer) for ask, answer in zip(values[0::2], values[1::2], strict=True))


def _value(message: Any, number: int) -> str:
    speaker, what = ("human", "gpt")[number % 2], f"message {number}"
    fields = _fields(message, what)
    if fields.get("from") != speaker:
        raise RowError(f"{what} is not from {speaker}")
    value = fields.get("value")
    if not isinstance(value, str):
        raise RowError(f"{what} is not a text")
    if speaker == "gpt" and not value.strip():
        raise RowError(f"{what} is an empty answer")
    return checked_text(value, what)
