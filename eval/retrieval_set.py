"""One set of MMEB-eval as a measurement: queries and candidates embedded, each query's own pool ranked."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np

from eval.encode import content_digest
from eval.gold_ranks import GoldRanks, ranks_in_rows, ranks_in_set
from eval.measurement import Check
from eval.metrics import Score, score
from eval.model_protocol import Model, Progress
from eval.pictures import blanked
from eval.protocols import MMEB_V1, Protocol
from eval.results import Provenance, Setting
from eval.retrieval_example import RetrievalExample, examples
from pipeline.data.lazy_sides import chained, mapped
from pipeline.data.mmeb_eval import EVAL, EvalSet, check_eval, describe, eval_datasets, read_eval
from pipeline.data.mmeb_registry import ALIASES, META, NOT_COUNTED
from pipeline.encode.encode import encode
from pipeline.encode.share import Encoding
from pipeline.errors import ConfigError
from pipeline.folder_state import corpus_state
from pipeline.manifest import fingerprint
from pipeline.presets import Preset
from pipeline.sample import Side
from pipeline.templates import Templates

logger = logging.getLogger(__name__)

SEED = 0
RESULT_NAME, BLANK_RESULT_NAME = "mmeb.json", "mmeb-blank.json"
_PLAIN = Encoding()
_NO_RANKS = GoldRanks()


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetResult:
    """One evaluation set: P@1 with interval, each query's hit (0, 1, or 1/n for a tie of n), and a few examples.

    `measures` are other metrics by name, `ranks` where each query's right candidate stands; results of before have neither.
    """

    name: str
    provenance: Provenance
    meta_task: str
    split: str
    num_candidates: int
    smallest_pool: int
    has_pictures: bool
    score: Score
    hits: tuple[float, ...]
    examples: tuple[RetrievalExample, ...] = ()
    measures: Mapping[str, Score] = field(default_factory=dict)
    ranks: GoldRanks = _NO_RANKS


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalSet:
    """P@1 on one set as a measurement (eval.measurement). `state` is how its files look, `how` how it is encoded.

    `preset` says how a model that others published is shown a query and a candidate; our own say it themselves (`Templates`).
    """

    data: Path
    dataset: str
    blank: bool
    state: str
    protocol: Protocol = MMEB_V1
    how: Encoding = _PLAIN
    preset: Preset | None = None
    result: type[DatasetResult] = DatasetResult

    @property
    def name(self) -> str:
        """A file for each set."""
        return f"{Path(self.merged_name).stem}/{self.dataset}.json"

    @property
    def merged_name(self) -> str:
        """The file of what is merged from this and the other sets."""
        return file_name(blank=self.blank, protocol=self.protocol.name)

    @property
    def settings(self) -> dict[str, Setting]:
        """Whether pictures are blank, the rules, and the seed of intervals."""
        return {"blank": self.blank, "protocol": self.protocol.name, "seed": SEED}

    def sources(self) -> dict[str, Check]:
        """The set."""
        return {self.dataset: partial(check_eval, self.data, self.dataset)}

    def without(self, names: Iterable[str]) -> Self | None:
        """None without its set."""
        return None if self.dataset in names else self

    def read(self) -> EvalSet:
        """The set, which was checked before, by the protocol's rule of identity."""
        return read_eval(self.data, self.dataset, verify=False, identity=self.protocol.identity(self.dataset))

    def shown(self) -> EvalSet:
        """The set with the pictures that the model sees."""
        return self._as_shown(self.read())

    def _as_shown(self, eval_set: EvalSet) -> EvalSet:
        return _blanked(eval_set) if self.blank else eval_set

    def sides(self, eval_set: EvalSet, templates: Templates) -> Sequence[Side]:
        """The set's queries and then its candidates, as a model of these templates, or of the preset, is shown them."""
        name, shown = ALIASES.get(self.dataset, self.dataset), self.preset or templates
        queries = mapped(lambda side: shown.query(side, name), eval_set.queries)
        return chained(queries, mapped(lambda side: shown.candidate(side, name), eval_set.candidates))

    def measure(self, model: Model, known: DatasetResult | None, progress: Progress) -> DatasetResult:
        """Embed the set and rank each query's pool, unless texts, pictures and pools are those of `known`."""
        eval_set, info = self.read(), describe(self.data, self.dataset)
        content = content_digest(chained(eval_set.queries, eval_set.candidates))
        made_of = Provenance(model=model.fingerprint, data=fingerprint([content, eval_set.pools]), settings=self.settings)
        if known is None or not known.provenance.agrees_with(made_of):
            shown = self._as_shown(eval_set)
            embeddings = encode(model, self.sides(shown, model.templates), what=self.dataset, how=self.how, progress=progress)
            return self._scored(shown, embeddings, made_of)
        return replace(known, meta_task=info.meta_task, split=info.split)

    def _ranks(self, eval_set: EvalSet, queries: np.ndarray, candidates: np.ndarray) -> GoldRanks:
        if self.protocol.pools == "set":
            return ranks_in_set(queries, candidates, [pool[0] for pool in eval_set.pools])
        return ranks_in_rows(queries, candidates, eval_set.pools)

    def _examples(self, eval_set: EvalSet, queries: np.ndarray, candidates: np.ndarray) -> tuple[RetrievalExample, ...]:
        return examples(eval_set, queries, candidates) if self.protocol.pools == "row" else ()

    def _scored(self, eval_set: EvalSet, embeddings: np.ndarray, made_of: Provenance) -> DatasetResult:
        """The result from embeddings (Q + C, D) of queries and candidates."""
        queries, candidates = embeddings[: len(eval_set.queries)], embeddings[len(eval_set.queries) :]
        ranks = self._ranks(eval_set, queries, candidates)
        info, found, chance = describe(self.data, self.dataset), ranks.measures(), ranks.chance()
        return DatasetResult(
            name=eval_set.name,
            provenance=made_of,
            meta_task=info.meta_task,
            split=info.split,
            num_candidates=len(candidates),
            smallest_pool=min(ranks.pool),
            has_pictures=any(side.images for side in chained(eval_set.queries, eval_set.candidates)),
            score=score(found["hit_at_1"], chance=chance["hit_at_1"], seed=SEED),
            hits=tuple(found["hit_at_1"].tolist()),
            examples=self._examples(eval_set, queries, candidates),
            measures={name: score(values, chance=chance[name], seed=SEED) for name, values in found.items()},
            ranks=ranks,
        )


def retrieval_sets(
    data: Path,
    datasets: Sequence[str] | None = None,
    *,
    blank: bool = False,
    protocol: Protocol = MMEB_V1,
    how: Encoding = _PLAIN,
    preset: Preset | None = None,
) -> list[RetrievalSet]:
    """The sets of a data folder that MMEB counts and the user's own, or those named. Raises ConfigError for an unknown name."""
    folder = data / EVAL
    pictures = corpus_state(folder / "images.zip", folder / "images")
    return [
        RetrievalSet(
            data=data,
            dataset=name,
            blank=blank,
            state=fingerprint([corpus_state(folder / name, folder / "datasets.json"), pictures]),
            protocol=protocol,
            how=how,
            preset=preset,
        )
        for name in chosen_sets(eval_datasets(data), datasets)
    ]


def file_name(*, blank: bool, protocol: str = MMEB_V1.name) -> str:
    """The file of what is merged from the sets; other rules than the first have files of their own."""
    name = BLANK_RESULT_NAME if blank else RESULT_NAME
    return name if protocol == MMEB_V1.name else name.replace("mmeb", protocol, 1)


def chosen_sets(known: Sequence[str], wanted: Sequence[str] | None) -> list[str]:
    """Those of the known sets that are wanted; of all, those that MMEB counts and the user's own."""
    unknown = sorted(set(wanted or ()) - set(known))
    if unknown:
        raise ConfigError(f"dataset {unknown[0]}: not in MMEB-eval; there are {', '.join(known)}")
    if wanted:
        return [name for name in known if name in wanted]
    for name in NOT_COUNTED.intersection(known):
        logger.info("%s: left out, since MMEB's 36 sets do not count it; --dataset %s evaluates it", name, name)
    return [name for name in known if name not in NOT_COUNTED] or list(known)


def lacking_sets(data: Path) -> str:
    """Which of MMEB's 36 sets a data folder lacks, in one line; empty where it has all of them, or none."""
    lacking = sorted(META.keys() - set(eval_datasets(data)))
    if not 0 < len(lacking) < len(META):
        return ""
    count = f"lacks {len(lacking)} of MMEB's {len(META)} sets"
    return f"{data / EVAL}: {count}: {', '.join(lacking)}; means are over those that are there"


def _blanked(eval_set: EvalSet) -> EvalSet:
    """The set with grey pictures."""
    return replace(eval_set, queries=mapped(blanked, eval_set.queries), candidates=mapped(blanked, eval_set.candidates))
