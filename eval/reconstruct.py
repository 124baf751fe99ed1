"""Texts written out again from the compression tokens alone: what the tokens carry, word for word.

Put in another text's tokens and the answers must fail; leave out texts that training has seen and they must not.
"""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import click
import numpy as np

from eval.derangement import derangement
from eval.measurement import Check
from eval.metrics import Score, score
from eval.model_protocol import Model, Progress, silent
from eval.options import subject_options
from eval.results import Provenance, Setting, write_result
from eval.subject import find_subject, one_line_errors, show_messages, show_progress
from pipeline.data.lazy_sides import chained
from pipeline.data.mmeb_eval import EVAL, check_eval, eval_datasets, read_eval
from pipeline.data.shards import ShardIndex
from pipeline.errors import NothingToMeasureError
from pipeline.folder_state import corpus_state
from pipeline.manifest import fingerprint
from pipeline.roles import RECONSTRUCT_TEXT
from pipeline.sample import Sample, Side
from pipeline.templates import Templates

SEED = 0
MIN_WORDS = 8
NUM_EXAMPLES = 8
RESULT_NAME = "reconstruct.json"
_BATCH_TEXTS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconstructionExample:
    """A text, what the model wrote from its tokens, and what it wrote when another text's tokens stood in their place."""

    text: str
    own: str
    swapped: str
    is_seen: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconstructResult:
    """Shares of texts written out exactly (white space aside): from their own tokens, from another text's, and from their own
    for the texts that training never saw (None when it saw all). `unseen` is the share of those.
    """

    provenance: Provenance
    num_texts: int
    mean_words: float
    unseen: float
    own: Score
    own_unseen: Score | None
    swapped: Score
    examples: tuple[ReconstructionExample, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconstruction:
    """The reconstruction as a measurement (eval.measurement) over texts of the named sets.

    `shards` say which texts are seen; `training` is the fingerprint of their rows.
    """

    data: Path
    sets: tuple[str, ...]
    shards: Path
    training: str
    state: str
    limit: int = 500
    max_new_tokens: int = 128
    name: str = RESULT_NAME
    result: type[ReconstructResult] = ReconstructResult

    @property
    def settings(self) -> dict[str, Setting]:
        """Which texts are asked for, and how long an answer may be."""
        limits: dict[str, Setting] = {"min_words": MIN_WORDS, "limit": self.limit, "max_new_tokens": self.max_new_tokens}
        return {**limits, "sets": len(self.sets), "shards": self.training}

    def sources(self) -> dict[str, Check]:
        """The sets."""
        return {name: partial(check_eval, self.data, name) for name in self.sets}

    def without(self, names: Iterable[str]) -> Self | None:
        """Texts of the other sets."""
        left = tuple(name for name in self.sets if name not in set(names))
        return replace(self, sets=left) if left else None

    def measure(self, model: Model, known: ReconstructResult | None, progress: Progress) -> ReconstructResult:
        """Have the texts written out, unless they are those of `known`.

        Of more than `limit` texts those with the smallest digests are taken. A text counts as seen when it stands, word for
        word, inside any text of the training shards. Raises NothingToMeasureError where there are no such texts.
        """
        chosen = _chosen(self.data, self.sets, self.limit)
        sides = [each.side for each in chosen]
        made_of = Provenance(model=model.fingerprint, data=fingerprint(sides), settings=self.settings)
        if known is not None and known.provenance.agrees_with(made_of):
            return known
        texts = [_words(side.text) for side in sides]
        answers = [_words(answer) for answer in _reconstruct(model, chosen, self.max_new_tokens, progress)]
        # Every text is asked for with the same words, so another text's tokens give, token for token, that text's answer.
        swapped = [answers[other] for other in derangement(texts, what="texts to reconstruct")]
        seen = seen_texts(texts, training_texts(ShardIndex.open(self.shards)))
        return _scored(texts, answers, swapped, seen, made_of)


def reconstruction(data: Path, shards: Path, *, limit: int = 500, max_new_tokens: int = 128) -> Reconstruction:
    """The measurement over all sets of a data folder as they stand now. Raises DataError where there are none."""
    return Reconstruction(
        data=data,
        sets=tuple(eval_datasets(data)),
        shards=shards,
        training=ShardIndex.open(shards).fingerprint,
        state=corpus_state(data / EVAL),
        limit=limit,
        max_new_tokens=max_new_tokens,
    )


def evaluate(
    model: Model, data: Path, shards: Path, *, limit: int = 500, max_new_tokens: int = 128, progress: Progress = silent
) -> ReconstructResult:
    """Reconstruct the texts of `<data>/MMEB-eval` that stand on a side without picture and have at least eight words.

    Raises DataError where there are no such texts.
    """
    return reconstruction(data, shards, limit=limit, max_new_tokens=max_new_tokens).measure(model, None, progress)


def _scored(
    texts: Sequence[str], answers: Sequence[str], swapped: Sequence[str], seen: Collection[str], made_of: Provenance
) -> ReconstructResult:
    exact = np.array([answer == text for answer, text in zip(answers, texts, strict=True)], dtype=np.float64)
    is_new = np.array([text not in seen for text in texts])
    return ReconstructResult(
        provenance=made_of,
        num_texts=len(texts),
        mean_words=float(np.mean([len(text.split()) for text in texts])),
        unseen=float(is_new.mean()),
        own=score(exact, chance=0.0, seed=SEED),
        own_unseen=score(exact[is_new], chance=0.0, seed=SEED) if is_new.any() else None,
        swapped=score([answer == text for answer, text in zip(swapped, texts, strict=True)], chance=0.0, seed=SEED),
        examples=tuple(
            ReconstructionExample(text=text, own=own, swapped=other, is_seen=text in seen)
            for text, own, other in list(zip(texts, answers, swapped, strict=True))[:NUM_EXAMPLES]
        ),
    )


def table(result: ReconstructResult) -> str:
    """The result as lines of text, in percent."""
    lines = [
        f"{result.num_texts} texts of {result.mean_words:.1f} words in the mean; {100 * result.unseen:.1f} % unseen in training",
        f"written out exactly from their own tokens: {_percent(result.own)}",
        f"with another text's tokens put in:         {_percent(result.swapped)}",
    ]
    if result.own_unseen is not None:
        lines.insert(2, f"of the unseen ones:                        {_percent(result.own_unseen)}")
    return "\n".join(lines)


def training_texts(index: ShardIndex) -> Iterator[str]:
    """Every text of the training rows: both sides, hard negatives, questions and answers."""
    for row in range(len(index)):
        sample: Sample = index.texts(row)
        sides = [sample.query, *([sample.positive] if sample.positive else []), *sample.negatives]
        for side in sides:
            yield side.text
            for turn in side.turns:
                yield turn.question
                yield turn.answer


def seen_texts(texts: Sequence[str], corpus: Iterator[str]) -> set[str]:
    """Those of the texts (eight words or more, single spaces) that stand word for word inside a text of the corpus."""
    by_start: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
    for text in texts:
        words = tuple(text.split())
        by_start.setdefault(words[:MIN_WORDS], set()).add(words)
    seen: set[str] = set()
    for text in corpus:
        words = tuple(text.split())
        for start in range(len(words) - MIN_WORDS + 1):
            for wanted in by_start.get(words[start : start + MIN_WORDS], ()):
                if words[start : start + len(wanted)] == wanted:
                    seen.add(" ".join(wanted))
    return seen


@dataclass(frozen=True, slots=True, kw_only=True)
class _Text:
    """A text-only side of a set, and which side it is."""

    side: Side
    dataset: str
    is_query: bool

    def shown(self, templates: Templates) -> Side:
        """The side as a model of these templates reads it."""
        return templates.side(self.side, self.dataset, is_query=self.is_query)


def _chosen(data: Path, sets: Iterable[str], limit: int) -> list[_Text]:
    """Distinct text-only sides with enough words, in the order of a digest: a draw that needs no seed and favours no set."""
    sides: dict[str, _Text] = {}
    for name in sets:
        eval_set = read_eval(data, name, verify=False)
        for number, side in enumerate(chained(eval_set.queries, eval_set.candidates)):
            text = _words(side.text)
            if side.is_text_only and len(text.split()) >= MIN_WORDS:
                sides.setdefault(text, _Text(side=side, dataset=name, is_query=number < len(eval_set.queries)))
    if not sides:
        raise NothingToMeasureError(
            f"{data / 'MMEB-eval'}: no side without picture has a text of {MIN_WORDS} words; nothing to reconstruct"
        )
    return [sides[text] for text in sorted(sides, key=lambda text: hashlib.sha256(text.encode()).digest())[:limit]]


def _reconstruct(model: Model, chosen: Sequence[_Text], max_new_tokens: int, progress: Progress) -> list[str]:
    """The model's answers, asked in batches of similar length."""
    order = sorted(range(len(chosen)), key=lambda place: len(chosen[place].side.text))
    answers = [""] * len(chosen)
    for start in range(0, len(order), _BATCH_TEXTS):
        batch = order[start : start + _BATCH_TEXTS]
        contexts = [chosen[place].shown(model.templates) for place in batch]
        texts = model.answer(contexts, [RECONSTRUCT_TEXT] * len(batch), compressed=True, max_new_tokens=max_new_tokens)
        for place, text in zip(batch, texts, strict=True):
            answers[place] = text
        progress("reconstruct", start + len(batch), len(order))
    return answers


def _words(text: str) -> str:
    return " ".join(text.split())


def _percent(value: Score) -> str:
    return f"{100 * value.value:.1f} ({100 * value.low:.1f}-{100 * value.high:.1f}) of {value.count}"


@click.command()
@subject_options
@click.option("--data", type=click.Path(path_type=Path), help="Data folder with MMEB-eval/. Default: the one the run names.")
@click.option("--shards", type=click.Path(path_type=Path), help="Training shards. Default: <work>/shards.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the result file. Default: <work>/eval/<run or model>.")
@click.option("--limit", type=click.IntRange(min=2), default=500, show_default=True, help="At most so many texts.")
def main(data: Path | None, shards: Path | None, out: Path | None, limit: int, **rest: Any) -> None:
    """Write texts of at least eight words out again from the compression tokens alone, and count the exact ones."""
    with one_line_errors():
        subject = find_subject(**rest)
        folders = subject.data_folder(data), shards or rest["work"] / "shards"
        path = (out or subject.out) / RESULT_NAME
        path.parent.mkdir(parents=True, exist_ok=True)  # before the hours of work
        result = evaluate(subject.load(), *folders, limit=limit, progress=show_progress)
        click.echo(table(result))
        write_result(result, path)
    click.echo(f"result: {path}")


if __name__ == "__main__":
    show_messages()
    main()
