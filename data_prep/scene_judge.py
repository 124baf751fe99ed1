"""A stand-in for a judge of candidates: whether one answers a query of the toy world, told from the scenes of its pictures.

A share of its answers is false, the same ones each time, as a model errs now and then.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from data_prep.negatives.judge_words import CANDIDATE, HEAD, QUERY, TAIL
from data_prep.scenes import ARRANGEMENTS, COLOURS, LABELS, POSITIONS, SHAPES, Scene, arrangement

FALSE_SHARE = 0.1
SEED = 0

_LABEL = f"(?:{'|'.join(COLOURS)}) (?:{'|'.join(SHAPES)})"
_PLACE = "|".join(POSITIONS)
_TOLD = re.compile(f"(?:(?P<before>{_PLACE}) )?(?P<label>{_LABEL})(?(before)| (?P<behind>{_PLACE}))")
_QUESTION = re.compile(
    f"{re.escape(HEAD)}\n{re.escape(QUERY)}(?P<query>.*)\n{re.escape(CANDIDATE)}(?P<candidate>.*)\n{re.escape(TAIL)}", re.DOTALL
)
_PICTURE = re.compile(r"\(picture \d+\)")
_QUOTED = re.compile(f'"({_LABEL})"')
_ASKED_PLACE = re.compile(f"in the ({_PLACE})")
_CHANGED = re.compile(f"change the ({_LABEL}) to an? ({_LABEL})")
_MOVED = re.compile(f"move the ({_LABEL}) to the ({_PLACE})")

Meaning = frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One side of a pair: its words, and the scene of its picture where it has one."""

    words: str
    scene: Scene | None = None


def judge(words: str, scenes: Sequence[Scene]) -> bool | None:
    """Yes or no to a judge's question about the pictures of these scenes, false now and then; None for other words.

    Raises ValueError where the pictures are not those that the words speak of.
    """
    found = _QUESTION.fullmatch(words)
    if found is None:
        return None
    of_query, of_candidate = (len(_PICTURE.findall(found[part])) for part in ("query", "candidate"))
    if of_query > 1 or of_candidate > 1 or of_query + of_candidate != len(scenes):
        raise ValueError("the pictures of a query and a candidate: one each at most, and all of them named")
    query = Shown(words=found["query"], scene=scenes[0] if of_query else None)
    candidate = Shown(words=found["candidate"], scene=scenes[-1] if of_candidate else None)
    return is_right(query, candidate) != _errs(words, scenes)


def is_right(query: Shown, candidate: Shown) -> bool:
    """Whether a candidate is what a query of a trained task of the toy world asks for."""
    return _meaning(candidate) in _sought(query)


def _errs(words: str, scenes: Sequence[Scene]) -> bool:
    drawn = hashlib.sha256(repr((SEED, words, scenes)).encode()).digest()
    return int.from_bytes(drawn[:8], "big") < FALSE_SHARE * 2**64


def _meaning(side: Shown) -> Meaning:
    """What a candidate means, as the toy world's pairs have it: a content, a label or an arrangement."""
    if side.scene is not None:
        return frozenset(thing.label for thing in side.scene.things) if side.scene.is_crop else side.scene.content
    return _told(side.words) or frozenset({_PICTURE.sub("", side.words).strip()})


def _sought(query: Shown) -> tuple[Meaning, ...]:
    """All meanings that would answer a query; which of them, the candidates of its task decide."""
    words, scene = query.words, query.scene
    if scene is None:
        return (_told(words),)
    if (quoted := _QUOTED.search(words)) is not None:
        return (frozenset({quoted[1]}),)
    if (changed := _CHANGED.search(words)) is not None:
        return (frozenset(thing.words.replace(changed[1], changed[2]) for thing in scene.things),)
    if (moved := _MOVED.search(words)) is not None:
        return (frozenset(f"{moved[1]} {moved[2]}" if thing.label == moved[1] else thing.words for thing in scene.things),)
    if (asked := _ASKED_PLACE.search(words)) is not None:
        return tuple(frozenset({thing.label}) for thing in scene.things if thing.position == asked[1])
    if len(scene.things) == 1:
        return scene.content, scene.labels
    return scene.content, frozenset({arrangement(scene)})


def _told(words: str) -> Meaning:
    """The content that a caption tells; nothing of other words."""
    if words in LABELS or words in ARRANGEMENTS:
        return frozenset()
    return frozenset(f"{told['label']} {told['before'] or told['behind']}" for told in _TOLD.finditer(words))
