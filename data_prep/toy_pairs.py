"""What a query of the toy world asks for and what answers it: one function for each form of MMEB's tasks.

Every function takes the label (or arrangement) that the answer is about, and is called with all of them in turn, so the
answers of a data set are uniform. No text tells more about the answer than the form of its task must: what a picture
has to be looked at for is never in words.
"""

from dataclasses import dataclass

from data_prep.scene_maker import SceneMaker
from data_prep.scenes import ARRANGEMENTS, LABELS, Scene, Thing, caption

_HALLS = ("old", "new", "long", "small", "great", "quiet", "round", "marble")


@dataclass(frozen=True, slots=True, kw_only=True)
class Half:
    """One side of a pair: its own words, its picture, and what it means.

    Of two candidates where one's `meaning` contains the other's, both would be right, so they never meet in a pool.
    """

    text: str = ""
    scene: Scene | None = None
    meaning: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A query, its answer, and wrong answers that are close to it."""

    query: Half
    target: Half
    near: tuple[Half, ...] = ()


def name_single(maker: SceneMaker, label: str) -> Pair:
    """Picture of one thing -> its label."""
    return Pair(query=Half(scene=maker.single(label)), target=_answer(label))


def name_arrangement(maker: SceneMaker, name: str) -> Pair:
    """Picture and a caption about one of its things -> the name of the filled cells."""
    label = maker.rng.choice(LABELS)
    scene = maker.fill(label, ARRANGEMENTS[name])
    return Pair(query=Half(text=f"{label} in the news", scene=scene), target=_answer(name))


def ask_place(maker: SceneMaker, label: str) -> Pair:
    """Picture and "What is in the northwest?" -> label."""
    scene, thing = _several(maker, label)
    return _asked(scene, thing, f"What is {thing.place}?")


def ask_all(maker: SceneMaker, label: str) -> Pair:
    """Picture and "What does the picture show?" -> caption."""
    return _told_of(maker, label, "What does the picture show?")


def ask_all_otherwise(maker: SceneMaker, label: str) -> Pair:
    """The question of `ask_all` in words that training has not."""
    return _told_of(maker, label, "Which shapes can be seen here, and where?")


def find_picture(maker: SceneMaker, label: str) -> Pair:
    """Caption -> picture."""
    scene, near = _with_near(maker, label)
    return Pair(query=Half(text=caption(scene, maker.rng)), target=_shown(scene), near=(_shown(near),))


def find_caption(maker: SceneMaker, label: str) -> Pair:
    """Picture -> caption."""
    scene, near = _with_near(maker, label)
    return Pair(query=Half(scene=scene), target=_told(maker, scene), near=(_told(maker, near),))


def find_alike(maker: SceneMaker, label: str) -> Pair:
    """Picture -> the same content in another style."""
    scene, near = _with_near(maker, label)
    return Pair(query=Half(scene=scene), target=_shown(maker.redraw(scene)), near=(_shown(near),))


def find_changed(maker: SceneMaker, label: str) -> Pair:
    """Picture and "change the red circle to a blue circle" -> picture; near it, another change of the same thing."""
    while True:
        scene, thing = _several(maker, label)
        changes = maker.changed(scene, thing)
        if len(changes) >= 2:
            break
    right, wrong = changes[:2]
    return Pair(query=Half(text=right.words, scene=scene), target=_shown(right.scene), near=(_shown(wrong.scene),))


def find_sheet(maker: SceneMaker, label: str) -> Pair:
    """Question that describes what is sought -> picture whose own text says nothing about it."""
    scene, near = _with_near(maker, label)
    question = f"Which picture shows {caption(scene, maker.rng)}?"
    return Pair(query=Half(text=question), target=_sheet(maker, scene), near=(_sheet(maker, near),))


def find_news(maker: SceneMaker, label: str) -> Pair:
    """Caption -> picture with a headline that says nothing about it."""
    scene, near = _with_near(maker, label)
    return Pair(query=Half(text=caption(scene, maker.rng)), target=_sheet(maker, scene), near=(_sheet(maker, near),))


def find_elsewhere(maker: SceneMaker, label: str) -> Pair:
    """Picture of one thing and a question -> another picture of such a thing, with a text about its hall."""
    target = _sheet(maker, maker.single(label), meaning=label)
    return Pair(query=Half(text="Where else is this shown?", scene=maker.single(label)), target=target)


def cut_label(maker: SceneMaker, label: str) -> Pair:
    """Picture and a quoted label -> the crop of that thing."""
    scene, thing = _several(maker, label)
    return _cut(scene, thing, f'"{label}"')


def cut_expression(maker: SceneMaker, label: str) -> Pair:
    """Picture and "the shape in the northwest" -> the crop of that thing."""
    scene, thing = _several(maker, label)
    return _cut(scene, thing, f"the shape {thing.place}")


def _several(maker: SceneMaker, label: str) -> tuple[Scene, Thing]:
    scene = maker.scene(label, count=maker.rng.choice((2, 3)))
    return scene, next(thing for thing in scene.things if thing.label == label)


def _others(scene: Scene, thing: Thing) -> list[Thing]:
    return [other for other in scene.things if other != thing]


def _with_near(maker: SceneMaker, label: str) -> tuple[Scene, Scene]:
    while True:
        scene, _ = _several(maker, label)
        near = maker.near(scene)
        if near is not None:
            return scene, near


def _answer(words: str) -> Half:
    return Half(text=words, meaning=frozenset({words}))


def _told_of(maker: SceneMaker, label: str, question: str) -> Pair:
    scene, near = _with_near(maker, label)
    return Pair(query=Half(text=question, scene=scene), target=_told(maker, scene), near=(_told(maker, near),))


def _asked(scene: Scene, thing: Thing, question: str) -> Pair:
    near = tuple(_answer(other.label) for other in _others(scene, thing))
    return Pair(query=Half(text=question, scene=scene), target=_answer(thing.label), near=near)


def _shown(scene: Scene) -> Half:
    return Half(scene=scene, meaning=scene.content)


def _told(maker: SceneMaker, scene: Scene) -> Half:
    return Half(text=caption(scene, maker.rng), meaning=scene.content)


def _sheet(maker: SceneMaker, scene: Scene, *, meaning: str = "") -> Half:
    means = frozenset({meaning}) if meaning else scene.content
    return Half(text=f"from the {maker.rng.choice(_HALLS)} hall", scene=scene, meaning=means)


def _cut(scene: Scene, thing: Thing, words: str) -> Pair:
    crops = [Half(scene=scene.crop(t), meaning=frozenset({t.label})) for t in (thing, *_others(scene, thing))]
    return Pair(query=Half(text=words, scene=scene), target=crops[0], near=tuple(crops[1:]))
