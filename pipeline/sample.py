"""What a corpus is made of: a Sample has a query side, perhaps a positive side and hard negatives.

Pictures travel as the encoded bytes of their files; nothing here decodes them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

IMAGE_MARKER = re.compile(r"<\|image_(\d+)\|>")
"""Where a picture stands in a text, in MMEB's notation: `<|image_1|>` is the side's first picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One question about a side and the answer to learn (empty when the answer is to be generated)."""

    question: str
    answer: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One side of a pair: `instruction + text` (joined as they stand) is what is represented, markers included.

    `instruction` is the wording that all items of a task share (CREM's [eInst]), `text` the item's own words, `images` the
    encoded picture files in the order of their markers, `turns` generation targets about this side.
    """

    instruction: str = ""
    text: str = ""
    images: tuple[bytes, ...] = ()
    turns: tuple[Turn, ...] = ()

    @property
    def is_text_only(self) -> bool:
        """Whether the side has no picture, so that it can be asked to reconstruct its own text."""
        return not self.images


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One row of a corpus. `positive` is None for generation-only rows (an outside conversation)."""

    key: str
    dataset: str
    query: Side
    positive: Side | None = None
    negatives: tuple[Side, ...] = ()

    @property
    def sides(self) -> tuple[Side, ...]:
        """All sides: the query, the positive if there is one, the negatives."""
        return (self.query, *([self.positive] if self.positive else []), *self.negatives)


def joined(parts: Sequence[tuple[str, Side]]) -> Side:
    """Sides under their labels, one below the other, as one side without turns: pictures are numbered on.

    Pictures of a side that marks none come before its words, as they do where it stands alone.
    """
    texts, images = list[str](), list[bytes]()
    for label, side in parts:
        words, before = (side.instruction + side.text).strip(), len(images)
        if not IMAGE_MARKER.search(words):
            words = "".join(f"<|image_{number + 1}|>" for number in range(len(side.images))) + words
        numbered = IMAGE_MARKER.sub(lambda marker, before=before: f"<|image_{int(marker[1]) + before}|>", words)  # type: ignore[misc]
        texts.append(f"{label}\n{numbered}")
        images += side.images
    return Side(text="\n".join(texts), images=tuple(images))
