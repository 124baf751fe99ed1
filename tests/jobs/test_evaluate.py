"""What the stage asks of a model."""

from dataclasses import replace
from pathlib import Path

from jobs.evaluate import EvaluateStage
from jobs.stage import Context
from pipeline.model.compression import Chorus
from pipeline.model.pooling import LastToken
from pipeline.recipe import Recipe
from pipeline.recipes import load
from pipeline.roles import Layout, Role


def stage(recipe: Recipe) -> EvaluateStage:
    return EvaluateStage(context=Context(work=Path("work"), data=Path("data"), recipe=recipe, tracking="nowhere://"))


def test_a_model_without_compression_tokens_is_asked_natively_alone() -> None:
    tiny = load("tiny")
    layout = Layout(order=(Role.SYSTEM, Role.CONTEXT, Role.QUESTION, Role.ANSWER))
    without = replace(tiny, layout=layout, tokens=Chorus(count=0), pooling=LastToken(Role.CONTEXT))
    assert stage(tiny).modes == ("native", "compressed", "swapped")
    assert stage(without).modes == ("native",)
    assert stage(without).settings()["modes"] == ("native",)
