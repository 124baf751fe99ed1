"""The comparison of methods: how recipes are scaled, what is run again, and the table."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks import methods
from benchmarks.methods import Figures, run, scaled, table
from eval.results import write_result
from pipeline.losses.weights import Stepwise
from pipeline.recipe_json import recipe_fingerprint, recipe_from_json
from pipeline.recipes import RECIPES, load
from tests.jobs.test_summary import result


def figures_of(recipe: Any, work: Path) -> Figures:
    precision = {"overall": (50.0, 45.5, 54.5), "vqa": (1.0, 0.0, 2.0)}
    fingerprint = recipe_fingerprint(recipe)
    return Figures(
        recipe=recipe.name,
        seed=recipe.seed,
        fingerprint=fingerprint,
        precision=precision,
        answers={"native": 25.0},
        texts=None,
        seconds=61.2,
    )


def test_steps_weights_and_warm_up_are_scaled_together() -> None:
    """A third of 900 steps: tiny's change at 300 comes at 100, Bottleneck's end at 360 at 120, the warm-up of 60 takes 20."""
    tiny, btoks, coma = (scaled(load(name), 300, 7) for name in ("tiny", "tiny_btoks", "tiny_coma"))
    assert (tiny.seed, tiny.phase.steps, tiny.phase.optimizer.warmup_steps) == (7, 300, 20)
    assert tiny.phase.language_weight == Stepwise(((0, 0.5), (100, 5.0)))
    assert btoks.phase.language_weight == Stepwise(((0, 5.0), (120, 0.0)))
    assert [phase.steps for phase in coma.phases] == [300, 300]
    assert scaled(load("tiny_btoks"), 2, 0).phase.language_weight == Stepwise(((0, 5.0), (1, 0.0)))
    assert [name for name in methods.METHODS if name in RECIPES][:5] == list(methods.METHODS[:5])


def test_a_run_is_made_once_for_its_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(methods, "read", figures_of)
    calls: list[tuple[object, ...]] = []
    recipe = scaled(load("tiny"), 2, 1)
    first = run(recipe, tmp_path, 2, lambda *words: calls.append(words))
    assert [words[0] for words in calls] == ["run", "evaluate"] and calls[0][-1] == "train"
    assert recipe_from_json((tmp_path / "recipes" / "tiny-1.json").read_text()) == recipe
    again = run(recipe, tmp_path, 2, lambda *words: calls.append(words))
    assert len(calls) == 2 and table([first]) == table([again])
    run(scaled(load("tiny"), 3, 1), tmp_path, 2, lambda *words: calls.append(words))
    assert len(calls) == 4, "other steps are another run"


def test_the_table_has_a_dash_for_what_was_not_measured(tmp_path: Path) -> None:
    _, _, line = table([figures_of(scaled(load("tiny"), 2, 1), tmp_path)]).splitlines()
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells == ["`tiny`", "1", "-", "1.0 (0.0 to 2.0)", "-", "-", "50.0 (45.5 to 54.5)", "25.0", "-", "-", "61"]


def test_elastic_tokens_have_a_line_for_each_of_their_numbers(tmp_path: Path) -> None:
    """The trained model's folder and the one of 4 tokens beside it, read as a run left them."""
    recipe = scaled(load("tiny_elastic"), 2, 1)
    for name, value in (("trained", 0.5), ("trained_4_tokens", 0.25)):
        write_result(result(value), tmp_path / "eval" / "main" / name / "mmeb.json")
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "metrics.jsonl").write_text('{"seconds": 2.0}\n')
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table([methods.read(recipe, tmp_path)]).splitlines()
    ]
    assert [(row[0], row[6].split()[0], row[-1]) for row in rows[2:]] == [
        ("`tiny_elastic`, 4 tokens", "25.0", "-"),
        ("`tiny_elastic`", "50.0", "2"),
    ]
