"""The report's examples: queries with their candidates, and answers of both modes beside each other."""

from collections.abc import Mapping

from eval.mmeb import MmebResult
from eval.report_markup import escape, pictures
from eval.retrieval_example import RetrievalExample, ShownCandidate
from eval.vlm_result import AnswerExample, VlmResult

_MODES = {"native": "native", "compressed": "tokens alone"}
_EXAMPLES_PER_SET = 2
_MAX_CHARACTERS = 220


def retrieval_examples(result: MmebResult) -> str:
    """The first queries of each dataset: picture, words, best candidates, the right one framed."""
    blocks = []
    for item in result.datasets:
        blocks.append(f"<h3>{escape(item.name)}</h3>")
        blocks += [retrieval_example(example) for example in item.examples[:_EXAMPLES_PER_SET]]
    return "\n".join(blocks)


def answer_examples(results: Mapping[str, VlmResult]) -> str:
    """The same questions answered with the picture and from its tokens alone."""
    blocks = [answer_example(shown) for shown in answered(results)]
    name = next(iter(results.values())).name
    return "\n".join([f"<h3>{escape(name)}</h3>", *blocks]) if blocks else ""


def answered(results: Mapping[str, VlmResult]) -> list[dict[str, AnswerExample]]:
    """The questions that are shown of a file, each by mode."""
    by_index = {mode: {example.index: example for example in results[mode].examples} for mode in _MODES if mode in results}
    shown = next(iter(by_index.values())) if by_index else {}
    return [{mode: known[index] for mode, known in by_index.items() if index in known} for index in shown]


def retrieval_example(example: RetrievalExample) -> str:
    """A query and its best candidates."""
    query = f'<div class="words">{pictures(example.query.pictures)}{escape(_short(example.query.text))}</div>'
    candidates = "".join(_candidate(candidate) for candidate in example.candidates)
    return f'<div class="example">{query}<div class="candidates">{candidates}</div></div>'


def _candidate(candidate: ShownCandidate) -> str:
    mark = ' <span class="yes">right</span>' if candidate.is_right else ""
    place = f'<div class="soft small">{candidate.rank}. score {candidate.score:.3f}{mark}</div>'
    words = f"{pictures(candidate.side.pictures)}{escape(_short(candidate.side.text))}"
    return f'<div class="candidate{" right" if candidate.is_right else ""}">{place}{words}</div>'


def answer_example(examples: Mapping[str, AnswerExample]) -> str:
    """A question with what was answered in each mode."""
    first = next(iter(examples.values()))
    options = "".join(f"<div>{escape(label)}. {escape(_short(text))}</div>" for label, text in first.options.items())
    question = f'<div class="words"><strong>{escape(_short(first.question))}</strong>{options}</div>'
    truth = f'<div class="candidate right"><div class="soft small">right answer</div>{escape(first.answer)}</div>'
    said = "".join(_answer(_MODES[mode], example) for mode, example in examples.items())
    boxes = f'<div class="candidates">{truth}{said}</div>'
    return f'<div class="example"><div>{pictures(first.pictures)}</div><div>{question}{boxes}</div></div>'


def _answer(mode: str, example: AnswerExample) -> str:
    verdict = '<span class="yes">right</span>' if example.is_hit else '<span class="no">wrong</span>'
    read = "" if example.parsed else " (not readable)"
    head = f'<div class="soft small">{escape(mode)}: {verdict}{read}</div>'
    return f'<div class="candidate">{head}{escape(_short(example.prediction)) or "<em>nothing</em>"}</div>'


def _short(text: str) -> str:
    return text if len(text) <= _MAX_CHARACTERS else f"{text[:_MAX_CHARACTERS]}…"
