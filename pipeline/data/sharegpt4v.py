"""Reader of the ShareGPT-4V files: one JSON list of conversations about a picture, in LLaVA's form."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pipeline.data.json_array import DoubledKey, read_array
from pipeline.data.keys import make_key
from pipeline.data.pictures import Pictures, untouched
from pipeline.data.reject import Reject, RowError
from pipeline.data.row_ranges import EVERY_ROW, RowRanges
from pipeline.data.texts import checked_text
from pipeline.sample import Sample, Side, Turn

TOKEN = "<image>"
"""Where the picture stands in the first question. It leaves the text: the picture is the side's context, not its question."""

TOKENS_REMOVED = "image_tokens_removed"
"""Count of tokens that name no picture: in a row without one, or beyond the first."""


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
            yield Sample(key=key, dataset=dataset, query=_side(row, pictures, counts))
        except RowError as error:
            yield Reject(source=json_path.name, row=number, key=key, reason=str(error))


def _side(row: object, pictures: Pictures, counts: Counter[str]) -> Side:
    fields = _fields(row, "it")
    path = fields.get("image") or ""
    turns = _turns(fields.get("conversations"))
    if not isinstance(path, str):
        raise RowError("its image is not a text")
    checked_text(path, "its image")
    used = 1 if path and TOKEN in turns[0].question else 0
    counts[TOKENS_REMOVED] += sum(turn.question.count(TOKEN) for turn in turns) - used
    images = (pictures.read(path),) if path else ()
    questions = tuple(Turn(question=_without_token(turn.question), answer=turn.answer) for turn in turns)
    if not images and not questions[0].question.strip():
        raise RowError("it has neither a picture nor a question")
    return Side(images=images, turns=questions)


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


def _without_token(question: str) -> str:
    return question.replace(f"{TOKEN}\n", "").replace(f"\n{TOKEN}", "").replace(TOKEN, "")
