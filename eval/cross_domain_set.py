"""One set of the cross-domain retrieval table (CREM, Table 7) as a measurement: captions and pictures both ways, or two captions.

The papers do not print their wordings. Ours are MMEB's own for captions and everyday pictures, on which the models were trained.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np

from eval.encode import content_digest
from eval.first_ranks import FirstRanks, choice_ranks, first_ranks
from eval.measurement import Check
from eval.metrics import Score, score
from eval.model_protocol import Model, Progress
from eval.results import Provenance, Setting
from eval.retrieval_set import SEED
from pipeline.data.caption_sets import FOLDER, LAYOUTS, CaptionSet, read_captions
from pipeline.data.lazy_sides import LazySides, chained, mapped
from pipeline.data.sugarcrepe import NAME, ChoiceSet, read_choices
from pipeline.encode.encode import encode
from pipeline.encode.share import Encoding
from pipeline.errors import ConfigError, DataError
from pipeline.folder_state import corpus_state
from pipeline.manifest import fingerprint
from pipeline.presets import Preset
from pipeline.sample import Side
from pipeline.templates import Templates

FIND_PICTURE = "Find me an everyday image that matches the given caption: "
FIND_CAPTION = "<|image_1|>\nFind an image caption describing the given everyday image."
PICTURE = "<|image_1|>\nRepresent the given image."

PROTOCOL = "cross_domain_v1"
"""Names the wordings, the captions that count, and the rule of ties (a tie of n counts its share)."""

_PLAIN = Encoding()


@dataclass(frozen=True, slots=True, kw_only=True)
class Direction:
    """Queries of one kind among candidates of another: `t2i`, `i2t`, or a kind of SugarCrepe's rows.

    `measures` are recall_at_1, 5 and 10 (any right candidate counts) and mrr; `is_part` says that it is not the published test.
    """

    name: str
    queries: int
    candidates: int
    is_part: bool
    measures: Mapping[str, Score]
    ranks: FirstRanks


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossDomainResult:
    """One set, in its directions."""

    name: str
    provenance: Provenance
    directions: tuple[Direction, ...]


Content = CaptionSet | tuple[ChoiceSet, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossDomainSet:
    """One set as a measurement (eval.measurement); see `RetrievalSet` for the fields."""

    data: Path
    dataset: str
    state: str
    how: Encoding = _PLAIN
    preset: Preset | None = None
    result: type[CrossDomainResult] = CrossDomainResult

    @property
    def name(self) -> str:
        """A file for each set."""
        return f"cross_domain/{self.dataset}.json"

    @property
    def settings(self) -> dict[str, Setting]:
        """The rules, and the seed of intervals."""
        return {"protocol": PROTOCOL, "seed": SEED}

    def sources(self) -> dict[str, Check]:
        """The set, with every picture decoded."""
        return {self.dataset: partial(self.read, verify=True)}

    def without(self, names: Iterable[str]) -> Self | None:
        """None without its set."""
        return None if self.dataset in names else self

    def read(self, *, verify: bool = False) -> Content:
        """The set. Raises DataError, with file, row and picture."""
        if self.dataset == NAME:
            return read_choices(self.data, verify=verify)
        return read_captions(self.data, self.dataset, verify=verify)

    def sides(self, content: Content, templates: Templates) -> Sequence[Side]:
        """All that is embedded: of captions and pictures, each as query and as candidate; of choices, pictures and captions."""
        return chained(*self._parts(content, templates))

    def measure(self, model: Model, known: CrossDomainResult | None, progress: Progress) -> CrossDomainResult:
        """Embed the set and rank, unless texts and pictures are those of `known`."""
        content = self.read()
        plain = chained(*_parts(content))
        owners = content.owners if isinstance(content, CaptionSet) else [each.owners for each in content]
        made_of = Provenance(model=model.fingerprint, data=fingerprint([content_digest(plain), owners]), settings=self.settings)
        if known is not None and known.provenance.agrees_with(made_of):
            return known
        parts = self._parts(content, model.templates)
        embeddings = encode(model, chained(*parts), what=self.dataset, how=self.how, progress=progress)
        embedded = np.split(embeddings, np.cumsum([len(part) for part in parts])[:-1])
        directions = _both_ways(content, embedded) if isinstance(content, CaptionSet) else _chosen(content, embedded)
        return CrossDomainResult(name=self.dataset, provenance=made_of, directions=tuple(directions))

    def _parts(self, content: Content, templates: Templates) -> list[Sequence[Side]]:
        """`_parts` as the model is shown them: parts are queries and candidates in turn."""
        # What MMEB's own sets of captions are told, whose wordings these are, or where a published prompt ends a line there.
        finding, telling = "MSCOCO_t2i", "MSCOCO_i2t"
        parts, is_both = _parts(content), isinstance(content, CaptionSet)
        names = [finding, finding, telling, telling] if is_both else [telling] * len(parts)
        how = self.preset or templates
        shown = (how.query, how.candidate) * len(parts)
        return [mapped(partial(show, dataset=name), part) for part, name, show in zip(parts, names, shown, strict=False)]


def _parts(content: Content) -> list[Sequence[Side]]:
    """Captions that look for pictures, pictures, pictures that look for captions, captions; or, of each kind of SugarCrepe,
    pictures that look for captions, and right and wrong captions in turn."""
    if isinstance(content, CaptionSet):
        return [
            [Side(instruction=FIND_PICTURE, text=caption) for caption in content.captions],
            _of_pictures(PICTURE, content.pictures, range(len(content.pictures))),
            _of_pictures(FIND_CAPTION, content.pictures, range(len(content.pictures))),
            [Side(text=caption) for caption in content.captions],
        ]
    parts = list[Sequence[Side]]()
    for each in content:
        parts.append(_of_pictures(FIND_CAPTION, each.pictures, each.owners))
        parts.append([Side(text=text) for pair in zip(each.right, each.wrong, strict=True) for text in pair])
    return parts


def _of_pictures(instruction: str, pictures: Sequence[bytes], owners: Sequence[int]) -> LazySides:
    """Pictures by their places, each read when it is asked for."""
    return LazySides(len(owners), lambda number: Side(instruction=instruction, images=(pictures[owners[number]],)))


def _both_ways(content: CaptionSet, embedded: Sequence[np.ndarray]) -> list[Direction]:
    """Captions to pictures, of which one is right, and pictures to captions, of which any of its own is."""
    own: list[list[int]] = [[] for _ in range(len(content.pictures))]
    for caption, owner in enumerate(content.owners):
        own[owner].append(caption)
    asking, pictures, looking, captions = embedded
    finding = first_ranks(asking, pictures, [[owner] for owner in content.owners])
    telling = first_ranks(looking, captions, own)
    return [
        _direction("t2i", finding, len(pictures), is_part=content.is_part),
        _direction("i2t", telling, len(captions), is_part=content.is_part),
    ]


def _chosen(content: Sequence[ChoiceSet], embedded: Sequence[np.ndarray]) -> list[Direction]:
    """Of each kind of rows: whether the picture is nearer to its right caption than to the wrong one."""
    directions = []
    for each, queries, captions in zip(content, embedded[0::2], embedded[1::2], strict=True):
        pools = [(2 * row, 2 * row + 1) for row in range(len(queries))]
        directions.append(_direction(each.kind, choice_ranks(queries, captions, pools), 2, is_part=each.is_part))
    return directions


def _direction(name: str, ranks: FirstRanks, candidates: int, *, is_part: bool) -> Direction:
    found, chance = ranks.measures(), ranks.chance()
    measures = {measure: score(values, chance=chance[measure], seed=SEED) for measure, values in found.items()}
    return Direction(name=name, queries=len(ranks.pool), candidates=candidates, is_part=is_part, measures=measures, ranks=ranks)


def cross_domain_sets(
    data: Path, datasets: Sequence[str] | None = None, *, how: Encoding = _PLAIN, preset: Preset | None = None
) -> list[CrossDomainSet]:
    """The sets that a data folder has, or those named. Raises ConfigError for an unknown name, DataError where there is none."""
    folder, known = data / FOLDER, (*LAYOUTS, NAME)
    if unknown := sorted(set(datasets or ()) - set(known)):
        raise ConfigError(f"dataset {unknown[0]}: not one of {', '.join(known)}")
    names = [name for name in known if (name in datasets if datasets else (folder / name).is_dir())]
    if not names:
        raise DataError(f"{folder}: has none of {', '.join(known)}; see docs/data.md for the layout")
    return [CrossDomainSet(data=data, dataset=name, state=corpus_state(folder / name), how=how, preset=preset) for name in names]
