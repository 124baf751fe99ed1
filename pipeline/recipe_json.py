"""A recipe as JSON and back, and the fingerprint that says whether two recipes train the same model."""

import json

from pipeline.errors import ConfigError
from pipeline.manifest import canonical_json, fingerprint
from pipeline.recipe import Recipe
from pipeline.templates import Templates
from pipeline.typed import build

LABELS = ("name", "summary")
"""Fields that say what a recipe is called. They decide nothing, so a changed sentence never makes finished work stale."""

NEUTRAL = (
    "zero_stage",
    "chunk_tokens",
    "kept_chunks",
    "features",
    "gradient_checkpointing",
    "evaluate_every",
    "checkpoint_every",
    "keep_checkpoints",
    "keep_every",
    "keep_best",
    "skips_in_a_row",
    "max_unreadable",
)
"""Fields of a phase that change memory, time and files, and the weights by rounding at most: a run may go on with others."""


_UNSAID = {"templates": json.loads(canonical_json(Templates()))}
"""Values that recipes had before there was a field for them: unsaid, they leave fingerprints and finished stages as they were."""

_ONCE_UNSAID = {"vision": {"type": "KeepAll"}, **_UNSAID}
"""Those, and what stages say since there is a field for it."""

_ONCE_OF_THE_RECIPE = ("layout", "adapter", "tower", "contrastive", "language")
"""Fields of a phase that stood in the recipe while there was one phase."""


def recipe_from_json(text: str) -> Recipe:
    """The recipe of its canonical JSON, which a checkpoint stores. Fields that are left out get today's defaults.

    Forms of earlier versions are read as they were trained: one probability for each hidden pair, values of a phase that once
    stood in the recipe, and a number of hard negatives that stood in the mixture.

    Raises ConfigError for text that is no recipe, naming the field.
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"not JSON ({error}); a recipe looks as crem recipes show prints it") from error
    _gate_the_layout(values)
    _move_into_phases(values)
    _name_the_negatives(values)
    recipe = build(Recipe, values)
    assert isinstance(recipe, Recipe)
    return recipe


def _gate_the_layout(values: object) -> None:
    """Move the probabilities of hidden pairs to their layout: one coin with the largest of them gated all pairs."""
    layout = values.get("layout") if isinstance(values, dict) else None
    pairs = layout.get("hidden") if isinstance(layout, dict) else None
    given = [pair.pop("probability") for pair in pairs or () if isinstance(pair, dict) and "probability" in pair]
    if layout and given:
        layout.setdefault("gate_probability", max(given))


def _move_into_phases(values: object) -> None:
    """Give each phase what the whole recipe had when it allowed one phase."""
    if not isinstance(values, dict) or not isinstance(values.get("phases"), list):
        return
    moved = {name: values.pop(name) for name in _ONCE_OF_THE_RECIPE if name in values}
    values["phases"] = [{**moved, **phase} if isinstance(phase, dict) else phase for phase in values["phases"]]


def _name_the_negatives(values: object) -> None:
    """Give each phase the hard negatives whose number stood in its mixture: they were the corpus's own."""
    phases = values.get("phases") if isinstance(values, dict) else None
    for phase in phases if isinstance(phases, list) else []:
        mixture = phase.get("mixture") if isinstance(phase, dict) else None
        if isinstance(mixture, dict) and "negatives" in mixture:
            phase["negatives"] = {"type": "InFile", "most": mixture.pop("negatives")}


def decisive_values(recipe: Recipe) -> dict[str, object]:
    """Every value of a recipe that decides what is trained, in plain form: all but its labels."""
    values: dict[str, object] = json.loads(canonical_json(recipe))
    return {name: value for name, value in values.items() if name not in LABELS}


def recipe_fingerprint(recipe: Recipe) -> str:
    """Equal for two recipes that train the same model, whatever they are called."""
    return _fingerprint(decisive_values(recipe))


def course_values(recipe: Recipe) -> dict[str, object]:
    """The values of a recipe that decide what a run reads and trains, whatever the machine: all but labels and NEUTRAL fields."""
    plain = json.loads(canonical_json(recipe))
    phases = [{name: value for name, value in phase.items() if name not in NEUTRAL} for phase in plain["phases"]]
    return {**decisive_values(recipe), "phases": phases}


def stage_values(recipe: Recipe) -> dict[str, object]:
    """The values of the course as stages say them in their settings."""
    return {name: value for name, value in course_values(recipe).items() if _UNSAID.get(name) != value}


def course_fingerprint(recipe: Recipe) -> str:
    """Equal for two recipes of which one may go on from the other's checkpoint."""
    return _fingerprint(course_values(recipe))


def _fingerprint(values: dict[str, object]) -> str:
    return fingerprint({name: value for name, value in values.items() if _ONCE_UNSAID.get(name) != value})
