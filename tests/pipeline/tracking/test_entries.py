"""The forms in which settings reach a store."""

from pipeline.tracking.entries import flatten, params_of, tags_of


def test_nested_settings_become_names_of_their_own() -> None:
    assert flatten({"a": {"b": {"c": 1}, "d": []}, "e": {}}) == {"a.b.c": 1, "a.d": [], "e": {}}
    phases = [{"steps": 5, "optimizer": {"learning_rate": 0.1}, "sets": ["x", "y"]}, {"steps": 7}]
    assert flatten({"recipe": {"phases": phases}}) == {
        "recipe.phases.0.steps": 5,
        "recipe.phases.0.optimizer.learning_rate": 0.1,
        "recipe.phases.0.sets": ["x", "y"],
        "recipe.phases.1.steps": 7,
    }


def test_names_and_values_fit_the_store_and_hold_no_secret() -> None:
    ((name, value),) = params_of({"what?" + "n" * 300: "x" * 7000}).items()
    assert (name, len(value)) == ("what_" + "n" * 245, 6000)
    ((_, value),) = tags_of({"url": "https://me:secret@host/v1" + "y" * 6000}).items()
    assert value.startswith("https://***@host/v1y") and len(value) == 5000
