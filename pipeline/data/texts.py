"""What a text of a row must be to enter a corpus: real characters, and not a whole book."""

from pipeline.data.reject import RowError

MAX_CHARACTERS = 2**20
"""Longer texts are refused: the longest of MMEB and ShareGPT-4V have some hundred thousand characters."""


def checked_text(text: str, what: str) -> str:
    """The text itself. Raises RowError, saying `what` it is, for one that is too long, cannot be UTF-8 or holds a NUL.

    JSON may carry halves of surrogate pairs, and bytes that were not UTF-8 arrive as such.
    """
    if len(text) > MAX_CHARACTERS:
        raise RowError(f"{what} has {len(text)} characters, more than {MAX_CHARACTERS}")
    if "\0" in text:
        raise RowError(f"{what} holds a NUL character")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise RowError(f"{what} is not valid UTF-8") from error
    return text
