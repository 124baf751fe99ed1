"""A contact sheet of one training step: every sequence of its global batch as the model reads it, pictures and words."""

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from PIL import Image

from eval.page import page_of
from eval.report_markup import Section, escape, paragraph, picture, row, table, text_cell
from pipeline.batch import OUTSIDE, Row
from pipeline.roles import Role
from pipeline.train.dataloader.plan import PlannedSide
from pipeline.train.dataloader.step_dataset import StepDataset
from pipeline.train.dataloader.unreadable import Unreadable, UnreadableError

_SIDE = 160


class Tokenizer(Protocol):
    """Turns ids back into words."""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of some ids."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One sequence: where it comes from, what it is in the batch, its words by role, its pictures as data URIs."""

    dataset: str
    key: str
    kind: str
    compressed: bool
    tokens: int
    words: tuple[tuple[str, str], ...]
    pictures: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownStep:
    """The sequences of a step, and the sides that could not be read: training leaves them out."""

    rows: list[Shown]
    unreadable: list[Unreadable]


def shown_step(dataset: StepDataset, tokenizer: Tokenizer, step: int) -> ShownStep:
    """The sequences of a step (0-based) in the order of the global batch: queries, positives, negatives, conversations.

    They pass through the very code that training reads with, so what is drawn is what was trained on.
    """
    found = ShownStep(rows=[], unreadable=[])
    for planned in dataset.plan(dataset.draw(step), step).sides:
        try:
            found.rows.append(_shown(dataset, tokenizer, planned, dataset.row(planned, step)))
        except UnreadableError as error:
            found.unreadable.append(error.found)
    return found


def step_page(step: ShownStep, title: str) -> str:
    """One self-contained HTML page: what could not be read, and a table of pictures and texts for each dataset of the step."""
    rows = step.rows
    names = sorted({shown.dataset for shown in rows})
    sections = [Section(f"set-{n}", name, [_table([r for r in rows if r.dataset == name])]) for n, name in enumerate(names)]
    counted = f"{len(rows)} sequences, {sum(shown.tokens for shown in rows)} tokens; pictures as the vision tower gets them."
    lost = [
        paragraph(f"Left out, since it cannot be read: {side.side.replace('_', ' ')} of {side.key}, {side.shard}: {side.reason}")
        for side in step.unreadable
    ]
    return page_of(title, sections, cards="\n".join([paragraph(counted), *lost]))


def _table(rows: Sequence[Shown]) -> str:
    columns = ["row", "part", "pictures", "words"]
    return table([(name, False) for name in columns], (_row(shown) for shown in rows))


def _row(shown: Shown) -> str:
    compressed = "answers see the tokens only" if shown.compressed else "answers see everything"
    words = "".join(f"<div><b>{escape(role)}</b> {escape(text)}</div>" for role, text in shown.words)
    drawn = "".join(picture(uri) for uri in shown.pictures)
    part = f"{shown.kind}, {shown.tokens} tokens, {compressed}"
    return row([text_cell(shown.key), text_cell(part), f"<td>{drawn}</td>", f"<td>{words}</td>"])


def _shown(dataset: StepDataset, tokenizer: Tokenizer, planned: PlannedSide, read: Row) -> Shown:
    return Shown(
        dataset=dataset.corpus.index.info(planned.row).dataset,
        key=read.key,
        kind="conversation" if planned.loss_group == OUTSIDE and not planned.candidates else planned.name.replace("_", " "),
        compressed=read.compressed,
        tokens=len(read.sequence),
        words=tuple(_words(read, tokenizer, dataset.rows.builder.vocabulary.image_pad)),
        pictures=tuple(_uri(pixels) for pixels in read.pixels),
    )


def _words(read: Row, tokenizer: Tokenizer, image_pad: int) -> Iterator[tuple[str, str]]:
    """Runs of one role as text; visual and compression tokens are counted instead."""
    ids, roles = read.sequence.input_ids, read.sequence.roles
    for run in np.split(np.arange(len(ids)), np.flatnonzero(np.diff(roles)) + 1):
        role = Role(int(roles[run[0]]))
        if role == Role.COMPRESSION:
            unread = f", {len(run) - read.sequence.unread} of which answer" if read.sequence.unread else ""
            yield role.name, f"{len(run)} tokens{unread}"
            continue
        visual = ids[run] == image_pad
        text = tokenizer.decode(ids[run][~visual].tolist())
        yield role.name, f"{text} ({int(visual.sum())} visual tokens)" if visual.any() else text


def _uri(pixels: np.ndarray) -> str:
    """A data URI of uint8 pixels (3, H, W), at most 160 pixels a side."""
    shown = Image.fromarray(pixels.transpose(1, 2, 0))
    shown.thumbnail((_SIDE, _SIDE))
    file = io.BytesIO()
    shown.save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
