"""A sheet to look at before a large synthesis: pictures, what their sides say, questions and answers, as one HTML file."""

import html
from collections.abc import Iterator, Mapping
from pathlib import Path

from data_prep.qa_sample import Asked, Sample
from data_prep.qa_script import Failure
from pipeline.chat import data_uri
from pipeline.manifest import write_atomic

_HEAD = """<!doctype html><meta charset="utf-8"><title>Sample of a synthesis</title>
<style>
body { font: 15px/1.45 sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
article { display: grid; grid-template-columns: 16rem 1fr; gap: 1rem; border-top: 1px solid #bbb; padding: 1rem 0 }
img { max-width: 16rem; max-height: 20rem } small { color: #666 } .lost { color: #a00 }
dt { font-weight: bold } dd { margin: 0 0 .6rem }
</style>
"""


def write_sheet(path: Path, samples: Mapping[str, Sample], lines: Mapping[str, list[str]]) -> None:
    """Write the samples of kinds, by name, with what is said of each."""
    parts = [_HEAD]
    for kind, sample in samples.items():
        parts.append(f"<h1>{html.escape(kind)}</h1>{''.join(f'<p>{html.escape(line)}</p>' for line in lines[kind])}")
        parts += map(_article, sample.asked)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, "\n".join(parts))


def _article(asked: Asked) -> str:
    pictures = "".join(f'<img src="{data_uri(image)}" alt="">' for image in asked.side.images)
    said = html.escape(f"{asked.side.instruction}{asked.side.text}")
    words = f"<small>{html.escape(asked.where)}</small><p>{said}</p>{''.join(_told(asked))}"
    return f"<article><div>{pictures}</div><div>{words}</div></article>"


def _told(asked: Asked) -> Iterator[str]:
    outcome = asked.outcome
    if isinstance(outcome, Failure):
        yield f'<p class="lost">{html.escape(f"{outcome.kind}: {outcome.reason}")}</p>'
        return
    yield "<dl>"
    for turn in outcome.turns:
        yield f"<dt>{html.escape(turn.question)}</dt><dd>{html.escape(turn.answer)}</dd>"
    yield "</dl>"
    if outcome.left_out:
        yield f'<p class="lost">left out: {html.escape(", ".join(outcome.left_out))}</p>'
