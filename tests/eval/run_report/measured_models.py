"""Measured models made up for tests of the report: figures that can be worked by hand, without any model."""

from collections.abc import Mapping
from dataclasses import replace

from eval.benchmarks.benchmark import Headline
from eval.benchmarks.known_files import KNOWN
from eval.metrics import Score
from eval.mmeb import MmebResult
from eval.results import Provenance
from eval.retrieval_example import RetrievalExample, ShownCandidate, ShownSide
from eval.retrieval_set import DatasetResult
from eval.vlm_result import AnswerExample, VlmResult
from pipeline.data.mmeb_registry import META

MADE_OF = Provenance(model="1" * 64, data="2" * 64, settings={"mode": "native"}, libraries={"torch": "2"})
FILES = ("MMBench_DEV_EN", "MMVet", "AI2D_TEST", "HallusionBench", "MMMU_DEV_VAL", "MMStar")
"""A published file of each of the six."""

KEPT = {"system_tokens": 25, "kept_tokens": 16, "mean_context_tokens": 400.0}


def share(value: float, count: int = 1000) -> Score:
    """A score with an interval of two points to either side."""
    return Score(value=value, low=value - 0.02, high=value + 0.02, chance=0.0, count=count)


def retrieval(value: float, names: Mapping[str, object] = META, *, queries: int = 1000, text: str = "words") -> MmebResult:
    """A result that has one score everywhere; one query in each set was answered rightly and one wrongly."""
    sets = tuple(
        DatasetResult(
            name=name,
            provenance=MADE_OF,
            meta_task=META[name].meta_task,
            split=META[name].split,
            num_candidates=3,
            smallest_pool=3,
            has_pictures=False,
            score=share(value, queries),
            hits=(value,),
            examples=(example(1, text), example(2, text)),
        )
        for name in names
    )
    groups = {group for each in sets for group in (each.meta_task, each.split, "overall")}
    found = MmebResult(provenance=MADE_OF, datasets=sets, groups={}, num_sets={})
    counted = {group: share(value, len(found.members(group))) for group in groups}
    return replace(found, groups=counted, num_sets={group: score.count for group, score in counted.items()})


def example(right_rank: int, text: str) -> RetrievalExample:
    """A query whose right candidate stands at a rank."""
    candidates = tuple(
        ShownCandidate(side=ShownSide(text=text), score=1 / rank, rank=rank, is_right=rank == right_rank) for rank in (1, 2)
    )
    return RetrievalExample(query=ShownSide(text=text), candidates=candidates)


def answers(value: float | None, name: str, mode: str = "native", *, text: str = "words") -> VlmResult:
    """A question file's result with a headline."""
    benchmarks = dict(zip(FILES, ("MMBench", "MMVet", "AI2D", "HallusionBench", "MMMU", "MMStar"), strict=True))
    shown = AnswerExample(
        index="1",
        category=text,
        question=text,
        options={"A": text},
        answer="A",
        prediction=text,
        parsed="A",
        is_hit=mode == "native",
        pictures=(),
    )
    known = KNOWN.get(name)
    return VlmResult(
        name=name,
        benchmark=benchmarks.get(name, ""),
        mode=mode,
        provenance=MADE_OF,
        headline=Headline(name="accuracy", score=None if value is None else share(value, 10), of=10),
        table={},
        notes=(),
        accuracy=None,
        categories={},
        unparsed=0,
        num_rows=10,
        md5=known.md5 if known else "",
        conditions=KEPT if mode == "compressed" else {},
        skipped=(),
        hits=(1.0,),
        examples=(shown,),
    )
