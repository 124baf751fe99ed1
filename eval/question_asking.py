"""Asks a model the questions of a file, batch by batch; what was answered is on the disk before the next batch begins."""

from eval.benchmarks.registry import BY_NAME
from eval.derangement import derangement
from eval.encode import content_digest
from eval.model_protocol import Model, Progress
from eval.predictions import PredictionFile
from eval.prompts import as_conversation, pictures_first
from eval.questions import QuestionTable
from eval.vlm_settings import Mode, VlmSettings
from pipeline.sample import Side


def ask(
    model: Model, table: QuestionTable, answers: PredictionFile, *, mode: Mode, settings: VlmSettings, progress: Progress
) -> None:
    """Answer the rows that have no answer yet."""
    missing = [number for number, row in enumerate(table.rows) if row.index not in answers.answers]
    if not missing:
        return
    sources = _sources(table, mode)
    asked_model = model.asked_as(settings.way)
    answers.note(asked_model.conditions)
    length = settings.max_new_tokens or BY_NAME[table.benchmark].max_new_tokens
    for start in range(0, len(missing), settings.batch_rows):
        batch = missing[start : start + settings.batch_rows]
        asked = [_conversation(table, number, sources[number], mode, settings) for number in batch]
        texts = asked_model.answer(
            [context for context, _ in asked],
            [question for _, question in asked],
            compressed=mode != "native",
            max_new_tokens=length,
        )
        answers.append({table.rows[number].index: text for number, text in zip(batch, texts, strict=True)})
        progress(f"{table.name} {mode}", len(answers.answers), len(table.rows))


def _conversation(table: QuestionTable, number: int, source: int, mode: Mode, settings: VlmSettings) -> tuple[Side, str]:
    """What is shown and what is asked. Compressed, all pictures stand before the tokens and the words behind them."""
    row, benchmark = table.rows[number], BY_NAME[table.benchmark]
    if mode == "native":
        return as_conversation(row, benchmark.messages(row, settings.prompt_style))
    shown = table.rows[source]
    return as_conversation(shown, pictures_first(shown, benchmark.words(row, settings.prompt_style)))


def _sources(table: QuestionTable, mode: Mode) -> list[int]:
    """Whose pictures stand in the context of each row: its own, or those of a row with other pictures."""
    if mode != "swapped":
        return list(range(len(table.rows)))
    return derangement([content_digest([Side(images=row.images)]) for row in table.rows], what=table.name)
