"""The words that a question is asked with, and where its pictures stand among them, in VLMEvalKit's two styles."""

import re
from collections.abc import Sequence

from eval.questions import QuestionRow
from pipeline.errors import ConfigError
from pipeline.sample import IMAGE_MARKER, Side

STYLES = ("qwen2-vl", "default")

Message = str | int
"""A piece of a prompt: words, or the number of a picture, from 1."""

_CHOOSE = "Please select the correct answer from the options above."
_CHOOSE_CHINESE = "请直接回答选项字母。"
_SAY_YES_OR_NO = " Please answer yes or no."
_CJK = re.compile("[\u4e00-\u9fff]")
_PICTURE = re.compile(r"<image (\d)>")


def prompt(row: QuestionRow, style: str) -> str:
    """The question text that follows the pictures. Raises ConfigError for an unknown style.

    `qwen2-vl` ends without white space, asks in Chinese where the prompt holds Chinese, and asks for yes or no in words;
    `default` is VLMEvalKit's own wording. Free answers are asked for by the bare question.
    """
    check_style(style)
    if row.kind == "choice":
        return choice_prompt(row, style, chinese=True)
    return row.question + (_SAY_YES_OR_NO if row.kind == "yes_no" and style == "qwen2-vl" else "")


def choice_prompt(row: QuestionRow, style: str, *, chinese: bool) -> str:
    """Hint, question and options; `chinese` says whether what is asked for is asked in Chinese where the prompt holds Chinese."""
    lines = [f"Hint: {row.hint}"] if row.hint else []
    lines.append(f"Question: {row.question}")
    if row.options:
        lines += ["Options:", *(f"{label}. {text}" for label, text in row.options.items())]
    body = "\n".join(lines) + "\n"
    if style == "default":
        return f"{body}{_CHOOSE} \n" if row.options else body
    asked = _CHOOSE_CHINESE if chinese and _CJK.search(body) else _CHOOSE
    return (body + (asked if row.options else "")).rstrip()


def check_style(style: str) -> None:
    """Raise ConfigError for an unknown style."""
    if style not in STYLES:
        raise ConfigError(f"prompt style {style!r}: unknown; there are {', '.join(STYLES)}")


def pictures_first(row: QuestionRow, words: str) -> list[Message]:
    """All pictures of a row, in order, then the words."""
    return [*range(1, len(row.images) + 1), words]


def pictures_in_place(row: QuestionRow, words: str) -> list[Message]:
    """Each picture where the words name it as `<image 1>`, as often as they do; all first where they name none."""
    pieces: list[Message] = []
    for number, piece in enumerate(_PICTURE.split(words)):
        if number % 2 == 0:
            pieces += [piece] if piece else []
        elif int(piece) in range(1, len(row.images) + 1):
            pieces.append(int(piece))
        else:
            pieces.append(f"<image {piece}>")
    return pieces if any(isinstance(piece, int) for piece in pieces) else pictures_first(row, words)


def as_conversation(row: QuestionRow, messages: Sequence[Message]) -> tuple[Side, str]:
    """What the model sees before the question, up to the last picture, and the words behind it.

    Words that hold a marker of our own would be taken for a picture: then all pictures come first.
    """
    last = max((place for place, piece in enumerate(messages) if isinstance(piece, int)), default=-1)
    head, tail = messages[: last + 1], "".join(str(piece) for piece in messages[last + 1 :])
    words = "".join(piece for piece in head if isinstance(piece, str))
    shown = [piece for piece in head if isinstance(piece, int)]
    if not words or IMAGE_MARKER.search(words):
        return Side(images=tuple(row.images[number - 1] for number in shown)), words + tail
    pieces, count = [], 0
    for piece in head:
        count += isinstance(piece, int)
        pieces.append(f"<|image_{count}|>" if isinstance(piece, int) else piece)
    return Side(text="".join(pieces), images=tuple(row.images[number - 1] for number in shown)), tail
