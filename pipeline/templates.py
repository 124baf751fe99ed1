"""Instructions by dataset, and how a side is put together of its instruction, its pictures and its own words: a recipe's value.

Magic-MM-Embedding writes `Instruct:` and `Query:` around a query's picture, and `Instruct:` and `Text:` around a candidate's
(arXiv 2602.05275). `pipeline/template_file.py` reads such a value from a file.
"""

import re
from dataclasses import dataclass, replace
from functools import cache

from pipeline.data.mmeb_registry import ALIASES, META
from pipeline.data.reject import RowError
from pipeline.data.texts import checked_text
from pipeline.errors import ConfigError
from pipeline.ranges import check_once
from pipeline.sample import IMAGE_MARKER, Sample, Side

INSTRUCTION, PICTURES, TEXT = "{instruction}", "{pictures}", "{text}"
PLAIN = f"{INSTRUCTION}\n{PICTURES}{TEXT}"

DEFAULT, META_TASK, DATASET = "default", "meta_task", "dataset"
META_TASKS = tuple(sorted({info.meta_task for info in META.values()}))

_PLACE = re.compile(r"\{[A-Za-z_]*\}")
_LEADING = re.compile(rf"\s*(?:{IMAGE_MARKER.pattern}\s*)+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Instructions:
    """What the sides of a dataset are told to be embedded for; an empty one: its side is its pictures and its words alone.

    `of` says whose: "dataset.<name>", "meta_task.<name>" (of MMEB's sets), or "default".
    """

    of: str
    query: str
    candidate: str

    def __post_init__(self) -> None:
        kind, _, name = self.of.partition(".")
        if not (self.of == DEFAULT or (kind == DATASET and name) or (kind == META_TASK and name in META_TASKS)):
            known = ", ".join(f"{META_TASK}.{each}" for each in META_TASKS)
            raise ConfigError(f"templates.instructions, {self.of}: is not {DEFAULT}, {DATASET}.<name> or one of {known}")
        for side, words in (("query", self.query), ("candidate", self.candidate)):
            if place := next((place for place in (INSTRUCTION, PICTURES, TEXT) if place in words), ""):
                raise ConfigError(f"templates.instructions, {self.of}, {side}: {place} is a place of templates; say it there")
            if fault := _fault_of_words(words):
                raise ConfigError(f"templates.instructions, {self.of}, {side}: {fault}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Templates:
    """How sides of pairs are worded; without instructions they stand as their rows have them.

    In a template `{instruction}` is the side's instruction, `{pictures}` its pictures, a line break behind each, and `{text}`, at
    the end, its own words. Of the instructions for a dataset, for its meta-task and for all, the nearest counts; a dataset that
    none is for stands as its rows have it. An instruction takes the place of the one that a row brings. Pictures among a side's
    words stay there; those before them, or without a place, go where `{pictures}` is, or before everything.
    """

    query_template: str = PLAIN
    candidate_template: str = PLAIN
    instructions: tuple[Instructions, ...] = ()

    def __post_init__(self) -> None:
        for name in ("query_template", "candidate_template"):
            if fault := fault_of_template(getattr(self, name)):
                raise ConfigError(f"templates.{name}: {fault}")
        check_once("templates.instructions", [_one_name(each.of) for each in self.instructions])

    def query(self, side: Side, dataset: str) -> Side:
        """A query of a dataset as a model reads it: `instruction` is all before its own words, `text` these alone."""
        found = self.of(dataset)
        return side if found is None else _worded(side, self.query_template, found.query)

    def candidate(self, side: Side, dataset: str) -> Side:
        """A candidate of a dataset as a model reads it, in the same form."""
        found = self.of(dataset)
        return side if found is None else _worded(side, self.candidate_template, found.candidate)

    def side(self, side: Side, dataset: str, *, is_query: bool) -> Side:
        """A query or a candidate of a dataset as a model reads it."""
        return self.query(side, dataset) if is_query else self.candidate(side, dataset)

    def sample(self, sample: Sample) -> Sample:
        """A pair with its sides, hard negatives among them, as a model reads them; a conversation as it is."""
        if sample.positive is None or not self.instructions:
            return sample
        return replace(
            sample,
            query=self.query(sample.query, sample.dataset),
            positive=self.candidate(sample.positive, sample.dataset),
            negatives=tuple(self.candidate(side, sample.dataset) for side in sample.negatives),
        )

    def prompts(self) -> dict[str, str]:
        """What stands before a side's own words, by the names that other libraries ask for: `query` and `document` of all, and
        `DocVQA-query`, `vqa-document` and the like of datasets and meta-tasks. `{pictures}` stays in it.
        """
        found = {}
        for each in self.instructions:
            before = each.of.partition(".")[2]
            sides = ("query", self.query_template, each.query), ("document", self.candidate_template, each.candidate)
            for side, template, instruction in sides:
                found[f"{before}-{side}" if before else side] = _head(template, instruction, PICTURES)
        return found

    def of(self, dataset: str) -> Instructions | None:
        """The nearest instructions for a dataset; None where there are none."""
        return next((each for name in _tables_of(dataset) for each in self.instructions if each.of == name), None)


def fault_of_template(template: str) -> str:
    """What is wrong with a template, in words that follow its name; empty for one that can be used."""
    places = _PLACE.findall(template)
    if unknown := [place for place in places if place not in (INSTRUCTION, PICTURES, TEXT)]:
        return f"{unknown[0]} is no place; there are {INSTRUCTION}, {PICTURES} and {TEXT}"
    if not template.endswith(TEXT):
        return f"does not end with {TEXT}, the place of a side's own words; what stands behind these is layout.cue"
    for place, least in ((TEXT, 1), (INSTRUCTION, 1), (PICTURES, 0)):
        if not least <= places.count(place) <= 1:
            return f"has {place} {places.count(place)} times, not once"
    return _fault_of_words(template)


def _fault_of_words(words: str) -> str:
    """What is wrong with words that are no corpus's; empty for such as a model can read."""
    if marker := IMAGE_MARKER.search(words):
        return f"{marker[0]} is a picture of a row; a template has {PICTURES} for all of them"
    try:
        checked_text(words, "it")
    except RowError as error:
        return str(error)
    return ""


def _one_name(of: str) -> str:
    """The name of a table by which MMEB-train and MMEB-eval mean the same."""
    kind, _, name = of.partition(".")
    return f"{kind}.{ALIASES[name]}" if kind == DATASET and name in ALIASES else of


@cache
def _tables_of(dataset: str) -> tuple[str, ...]:
    """The tables that are for a dataset, the nearest first."""
    one = ALIASES.get(dataset, dataset)
    names = dict.fromkeys((one, *(other for other, name in ALIASES.items() if name == one)))
    tasks = [f"{META_TASK}.{META[one].meta_task}"] if one in META else []
    return (*(f"{DATASET}.{name}" for name in names), *tasks, DEFAULT)


def _worded(side: Side, template: str, instruction: str) -> Side:
    pictures, words = _apart(side)
    return replace(side, instruction=_head(template, instruction, pictures), text=words)


def _head(template: str, instruction: str, pictures: str) -> str:
    """A template up to the words, its places filled in one pass: what a value says is never taken for a place."""
    values = {INSTRUCTION: instruction, PICTURES: pictures}
    return _PLACE.sub(lambda place: values[place[0]], template.removesuffix(TEXT)) if instruction else ""


def _apart(side: Side) -> tuple[str, str]:
    """Markers of a side's pictures, and its own words; no markers where the words have them, or have them wrong."""
    own = "".join(marker[0] for marker in IMAGE_MARKER.finditer(side.instruction)) + side.text
    leading, numbers = _LEADING.match(own), [int(each[1]) for each in IMAGE_MARKER.finditer(own)]
    words, every = own[leading.end() :] if leading else own, list(range(1, len(side.images) + 1))
    if numbers not in ([], every) or IMAGE_MARKER.search(words):
        return "", own.strip()
    return "".join(f"<|image_{number}|>\n" for number in every), words.strip()
