"""Random recipes for property tests: any field of any recipe changed to any value of its type, as far as the checks allow."""

import json
from dataclasses import dataclass
from enum import Enum
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from hypothesis import assume
from hypothesis import strategies as st
from torch import nn

from pipeline.errors import ConfigError
from pipeline.losses.contrastive import ContrastiveLoss, InfoNCE
from pipeline.losses.language import KLToUncompressed, LanguageLoss, NextToken
from pipeline.manifest import canonical_json
from pipeline.model.adapters import Adapter, Full, LoRA
from pipeline.model.pooling import AttentionPool, LastToken, MeanOver, MLPMean, Pooling
from pipeline.model.shrinkers import AveragePool, Bilinear, KeepAll, Shrinker
from pipeline.negatives import InFile, Judged, Mined, Negatives
from pipeline.recipe import Recipe
from pipeline.recipes import RECIPES, load
from pipeline.targets import Caption, Description, Dialogue, OtherSide, OwnQuestions, Relevance, Target
from pipeline.typed import TYPE, alternatives, build, class_named, element_kind, field_kinds


@dataclass(frozen=True)
class WeighedMean(MeanOver):
    """A pooling as a user writes one."""

    weights: tuple[float, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class HeadAlone(Adapter):
    """An adapter as a user writes one."""

    def apply(self, text: nn.Module, head: nn.Module) -> None:
        text.requires_grad_(False)
        head.requires_grad_(True)


@dataclass(frozen=True)
class WeighedInfoNCE(InfoNCE):
    """A contrastive loss as a user writes one."""

    weight: float = 1.0


OPEN: dict[Any, tuple[Any, ...]] = {
    Pooling: (MeanOver, MLPMean, AttentionPool, LastToken, WeighedMean),
    Shrinker: (KeepAll, Bilinear, AveragePool),
    Negatives: (InFile, Mined, Judged),
    Target: (OwnQuestions, Dialogue, Caption, Description, OtherSide, Relevance),
    Adapter: (Full, LoRA, HeadAlone),
    ContrastiveLoss: (InfoNCE, WeighedInfoNCE),
    LanguageLoss: (NextToken, KLToUncompressed),
}
"""Open kinds and what they allow here: ours, and one of a user's."""

SCALARS: dict[Any, st.SearchStrategy[Any]] = {
    bool: st.booleans(),
    int: st.integers(0, 10**6),
    float: st.floats(0, 1e6) | st.integers(0, 9).map(float),
    str: st.text(max_size=8),
}


def plain_values(kind: Any) -> st.SearchStrategy[Any]:
    """Plain values of an annotation, written here again: an oracle must not ask the code that it judges."""
    members = get_args(kind) if get_origin(kind) in (Union, UnionType) else OPEN.get(kind, (kind,))
    return st.one_of([_member(member) for member in members])


def _member(kind: Any) -> st.SearchStrategy[Any]:
    if kind in SCALARS:
        return SCALARS[kind]
    if get_origin(kind) is Literal:
        return st.sampled_from(get_args(kind))
    if get_origin(kind) is tuple:
        members = get_args(kind)
        if members[1:] == (...,):
            return st.lists(plain_values(members[0]), max_size=3)
        return st.tuples(*map(plain_values, members)).map(list)
    if issubclass(kind, Enum):
        return st.sampled_from([member.name for member in kind])
    fields = {name: plain_values(each) for name, each in field_kinds(kind).items()}
    return st.fixed_dictionaries({TYPE: st.just(kind.__name__), **fields})


def leaves(node: Any, kind: Any, path: str = "") -> list[tuple[str, Any]]:
    """Path and annotation of every field below a plain value."""
    found: list[tuple[str, Any]] = []
    if isinstance(node, dict):
        kinds = field_kinds(class_named(kind, node[TYPE]))
        entries = [(name, node[name], kinds[name]) for name in kinds]
    else:
        (member,) = (member for member in alternatives(kind) if get_origin(member) is tuple)
        entries = [(str(place), value, element_kind(member, place)) for place, value in enumerate(node)]
    for name, value, each in entries:
        found.append((f"{path}{name}", each))
        if isinstance(value, dict | list):
            found += leaves(value, each, f"{path}{name}.")
    return found


def put(tree: Any, path: str, value: Any) -> None:
    *parents, last = (int(part) if part.isdecimal() else part for part in path.split("."))
    for part in parents:
        tree = tree[part]
    tree[last] = value


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    """A recipe of ours with up to three fields changed at random."""
    tree = json.loads(canonical_json(load(draw(st.sampled_from(sorted(RECIPES))))))
    for _ in range(draw(st.integers(0, 3))):
        path, kind = draw(st.sampled_from(leaves(tree, Recipe)))
        put(tree, path, draw(plain_values(kind)))
    try:
        recipe: Recipe = build(Recipe, tree)
    except ConfigError:
        assume(False)
    return recipe
