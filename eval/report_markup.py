"""The few pieces of HTML that the report is built from. Whatever comes from data passes through `escape`."""

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from eval.metrics import Score

_DATA_URI = re.compile(r"data:image/(?:png|jpeg);base64,[A-Za-z0-9+/]+={0,2}")
_TINY_CHARACTERS = 4000
DASH = "–"


def escape(text: object) -> str:
    """A text that is safe between tags and inside quoted attributes."""
    return html.escape(str(text), quote=True)


def percent(value: float) -> str:
    """A share of 1 as percent with one decimal."""
    return f"{100 * value:.1f}"


def score_cell(value: Score | None) -> str:
    """A table cell with a score and its interval; a dash where it was not measured."""
    if value is None:
        return number_cell(DASH)
    spread = f'<span class="range">{percent(value.low)}{DASH}{percent(value.high)}</span>'
    return f'<td class="number">{percent(value.value)}{spread}</td>'


def number_cell(text: object) -> str:
    """A right-aligned cell."""
    return f'<td class="number">{escape(text)}</td>'


def text_cell(text: object) -> str:
    """A left-aligned cell."""
    return f"<td>{escape(text)}</td>"


def yes_cell(is_yes: bool) -> str:
    """A cell that says yes or no, in words as well as in colour."""
    return f'<td><span class="{"yes" if is_yes else "no"}">{"yes" if is_yes else "no"}</span></td>'


def table(columns: Sequence[tuple[str, bool]], rows: Iterable[str]) -> str:
    """A table: (heading, whether it is a number) for each column, and rows of finished `<tr>`."""
    heads = "".join(
        f'<th class="number">{escape(name)}</th>' if is_number else f"<th>{escape(name)}</th>" for name, is_number in columns
    )
    body = "\n".join(rows)
    return f'<div class="scroll" tabindex="0"><table><thead><tr>{heads}</tr></thead><tbody>\n{body}\n</tbody></table></div>'


def row(cells: Iterable[str], *, kind: str = "") -> str:
    """A table row of finished cells."""
    return f'<tr class="{kind}">{"".join(cells)}</tr>' if kind else f"<tr>{''.join(cells)}</tr>"


def picture(uri: str) -> str:
    """A picture that lies in the page itself. Anything but a PNG or JPEG data URI is left out."""
    if not _DATA_URI.fullmatch(uri):
        return ""
    kind = ' class="tiny"' if len(uri) < _TINY_CHARACTERS else ""
    return f'<img{kind} alt="" src="{uri}">'


def pictures(uris: Sequence[str]) -> str:
    """All pictures of a side."""
    return "".join(picture(uri) for uri in uris)


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page that the list of contents points to; it is left out where it has no parts."""

    anchor: str
    title: str
    parts: Sequence[str]

    @property
    def body(self) -> str:
        """Everything below the title."""
        return "\n".join(part for part in self.parts if part)

    @property
    def html(self) -> str:
        """The whole section."""
        return f'<section id="{self.anchor}">\n<h2>{escape(self.title)}</h2>\n{self.body}\n</section>'


def paragraph(text: str) -> str:
    """A paragraph of explanation."""
    return f'<p class="soft">{escape(text)}</p>'


def pairs_table(names: Mapping[str, object]) -> str:
    """Names and values in two columns."""
    return table(
        [("", False), ("", False)],
        [row([text_cell(name), f"<td><code>{escape(value)}</code></td>"]) for name, value in names.items()],
    )
