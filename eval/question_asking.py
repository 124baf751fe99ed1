"""Asks a model the questions of a file, batch by batch; what was answered is on the disk before the next batch begins.

Several ranks share the questions. Each writes a file of its own beside the first one's, which takes them in: answers do not
depend on what is asked beside them, so any number of ranks, killed at any moment, end with the same answers.
What is asked about one picture from its tokens is asked together, by one rank, which reads the picture once.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from eval.benchmarks.registry import BY_NAME
from eval.derangement import derangement
from eval.encode import content_digest
from eval.model_protocol import Model, Progress
from eval.predictions import AnswerPlace, PredictionFile
from eval.prompts import as_conversation, pictures_first
from eval.questions import QuestionTable
from eval.results import Setting
from eval.vlm_result import CONTEXT_TOKENS, KEPT_TOKENS, SYSTEM_TOKENS
from eval.vlm_settings import Mode, VlmSettings
from pipeline.encode.ranks import LONE, Ranks
from pipeline.errors import DataError
from pipeline.sample import Side


@dataclass(frozen=True, slots=True)
class Answers:
    """Answers by index, and what they were given under."""

    texts: Mapping[str, str]
    conditions: Mapping[str, Setting]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """A table in one mode under some settings, and the ranks that ask it."""

    table: QuestionTable
    mode: Mode
    settings: VlmSettings
    ranks: Ranks = LONE

    @property
    def length(self) -> int:
        """Most tokens of an answer."""
        return self.settings.max_new_tokens or BY_NAME[self.table.benchmark].max_new_tokens

    @property
    def identity(self) -> list[object]:
        """All that answers depend on but the model."""
        return [self.table.rows, self.mode, self.settings.prompt_style, self.settings.way, self.length]

    def missing(self, answers: Mapping[str, str]) -> list[int]:
        """Places of the rows without an answer."""
        return [number for number, row in enumerate(self.table.rows) if row.index not in answers]

    def conversation(self, number: int, source: int) -> tuple[Side, str]:
        """What is shown and what is asked. Compressed, all pictures stand before the tokens and the words behind them."""
        row, benchmark = self.table.rows[number], BY_NAME[self.table.benchmark]
        if self.mode == "native":
            return as_conversation(row, benchmark.messages(row, self.settings.prompt_style))
        shown = self.table.rows[source]
        return as_conversation(shown, pictures_first(shown, benchmark.words(row, self.settings.prompt_style)))

    def sources(self) -> Sequence[int]:
        """Whose pictures stand in the context of each row: its own, or those of a row with other pictures."""
        if self.mode != "swapped":
            return range(len(self.table.rows))
        return derangement([content_digest([Side(images=row.images)]) for row in self.table.rows], what=self.table.name)


def ask(model: Model, asking: Asking, place: AnswerPlace, progress: Progress) -> Answers:
    """The answers to all questions, by all ranks together: those on the disk, and the missing ones asked now.

    Raises NothingToMeasureError where pictures cannot be swapped.
    """
    ranks = asking.ranks
    if ranks.is_first:
        with PredictionFile(place.path, place.header) as answers:
            _take_in_parts(answers, place)
    ranks.gather(None)
    answered, _ = place.read()
    missing = asking.missing(answered)
    ranks.gather(None)  # nobody writes before all have read, or their shares would not fit together
    if missing:
        sources = asking.sources()
        with PredictionFile(place.part(ranks.rank), place.header) as answers:
            if share := grouped(asking, missing, sources)[ranks.rank :: ranks.count]:
                _ask_share(model, asking, share, sources, answers, progress)
        ranks.gather(None)
        if ranks.is_first:
            with PredictionFile(place.path, place.header) as answers:
                _take_in_parts(answers, place)
        ranks.gather(None)
    return Answers(*place.read())


def known_answers(asking: Asking, place: AnswerPlace) -> Answers:
    """The answers on the disk. Raises DataError where some are missing."""
    answers = Answers(*place.read())
    if missing := asking.missing(answers.texts):
        count = f"{len(missing)} of {len(asking.table.rows)}"
        first = asking.table.rows[missing[0]].index
        raise DataError(
            f"{asking.table.name} {asking.mode}: {count} questions have no answer (index {first}); --do infer asks them"
        )
    return answers


def grouped(asking: Asking, numbers: Sequence[int], sources: Sequence[int]) -> list[list[int]]:
    """Rows that are asked in one batch by one rank: compressed, all about the same pictures, which are then read once.

    Natively each row is read by itself, and stands alone.
    """
    if asking.mode == "native":
        return [[number] for number in numbers]
    groups: dict[Side, list[int]] = {}
    for number in numbers:
        groups.setdefault(asking.conversation(number, sources[number])[0], []).append(number)
    return list(groups.values())


def _ask_share(
    model: Model,
    asking: Asking,
    share: Sequence[Sequence[int]],
    sources: Sequence[int],
    answers: PredictionFile,
    progress: Progress,
) -> None:
    asked = model.asked_as(asking.settings.way)
    answers.note({**asked.conditions, "max_new_tokens": asking.length, **_kept(asked, asking, sources)})
    rows, done = asking.table.rows, 0
    for batch in _batches(share, asking.settings.batch_rows):
        conversations = [asking.conversation(number, sources[number]) for number in batch]
        texts = asked.answer(
            [context for context, _ in conversations],
            [question for _, question in conversations],
            compressed=asking.mode != "native",
            max_new_tokens=asking.length,
        )
        answers.append({rows[number].index: text for number, text in zip(batch, texts, strict=True)})
        done += len(batch)
        progress(f"{asking.table.name} {asking.mode}", done, sum(map(len, share)))


def _batches(share: Sequence[Sequence[int]], size: int) -> Iterator[list[int]]:
    """Whole groups, as many as `size` rows hold; a larger group is a batch by itself."""
    batch: list[int] = []
    for group in share:
        if batch and len(batch) + len(group) > size:
            yield batch
            batch = []
        batch += group
    if batch:
        yield batch


def _kept(model: Model, asking: Asking, sources: Sequence[int]) -> dict[str, Setting]:
    """The tokens of the contexts of all rows, where answers keep some of them only."""
    if asking.mode == "native":
        return {}
    numbers = range(len(asking.table.rows))
    size = model.cache_size([asking.conversation(number, sources[number])[0] for number in numbers])
    return {SYSTEM_TOKENS: size.system, KEPT_TOKENS: size.compression, CONTEXT_TOKENS: round(size.context, 3)}


def _take_in_parts(answers: PredictionFile, place: AnswerPlace) -> None:
    for part in sorted(Path(place.folder).glob(f"{place.path.stem}.part-*.jsonl")):
        answers.take_in(part)
