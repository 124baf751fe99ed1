"""What is known of one measured model: its results, and where they come from."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from eval import cross_domain, reconstruct, retrieval_set
from eval.cross_domain import CrossDomainResults
from eval.mmeb import MmebResult
from eval.reconstruct import ReconstructResult
from eval.results import Provenance, read_result
from eval.vlm_result import VlmResult
from eval.vlm_settings import Mode
from pipeline.errors import DataError

V2_NAME = retrieval_set.file_name(blank=False, protocol="mmeb_v2")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """Where a model comes from. `trained_by` is the run that trained it, `data` the folder that it was measured on,
    `output` where the run wrote.

    `other` says in which values its recipe differs from the one of its name, empty where in none.
    """

    run_id: str
    recipe: str
    other: str = ""
    trained_by: str = ""
    checkpoint: str = ""
    data: str = ""
    commit: str = ""
    output: str = ""
    is_toy: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """The result files of a folder; None and empty for what was not measured. `questions` go by mode, then by file."""

    folder: Path
    retrieval: MmebResult | None = None
    retrieval_v2: MmebResult | None = None
    blank: MmebResult | None = None
    questions: Mapping[str, Mapping[str, VlmResult]] = field(default_factory=dict)
    captions: CrossDomainResults | None = None
    texts: ReconstructResult | None = None

    def sources(self) -> Iterator[tuple[str, Provenance]]:
        """What each result was made from, by name."""
        named = {"retrieval": self.retrieval, "retrieval, mmeb_v2": self.retrieval_v2, "retrieval, blank pictures": self.blank}
        for name, result in named.items():
            if result is not None:
                yield name, result.provenance
        for mode, files in self.questions.items():
            yield from ((f"{name}, {mode}", result.provenance) for name, result in files.items())
        if self.captions is not None:
            yield from ((f"captions, {item.name}", item.provenance) for item in self.captions.sets)
        if self.texts is not None:
            yield "texts written out", self.texts.provenance


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A model by its label on the page. `fewer` are its results with fewer of its `tokens`; `speed` is what its runs noted."""

    label: str
    lineage: Lineage
    results: Results
    untrained: Results | None = None
    fewer: Mapping[int, Results] = field(default_factory=dict)
    tokens: int = 0
    speed: Mapping[str, float] = field(default_factory=dict)


def read_results(folder: Path) -> Results:
    """All result files of a folder. Raises DataError for one that is something else."""
    captions = folder / cross_domain.RESULT_NAME
    texts = folder / reconstruct.RESULT_NAME
    return Results(
        folder=folder,
        retrieval=_retrieval(folder / retrieval_set.RESULT_NAME),
        retrieval_v2=_retrieval(folder / V2_NAME),
        blank=_retrieval(folder / retrieval_set.BLANK_RESULT_NAME),
        questions={mode: _questions(folder, mode) for mode in ("native", "compressed", "swapped")},
        captions=read_result(CrossDomainResults, captions) if captions.is_file() else None,
        texts=read_result(ReconstructResult, texts) if texts.is_file() else None,
    )


def is_empty(results: Results) -> bool:
    """Whether nothing was measured."""
    return not any(True for _ in results.sources())


def _retrieval(path: Path) -> MmebResult | None:
    return read_result(MmebResult, path) if path.is_file() else None


def _questions(folder: Path, mode: Mode) -> dict[str, VlmResult]:
    found: dict[str, VlmResult] = {}
    for path in sorted(folder.glob(f"*-{mode}.json")):
        result = read_result(VlmResult, path)
        if result.name in found:
            raise DataError(f"{path}: a second result of {result.name}; remove one of the two")
        found[result.name] = result
    return found
