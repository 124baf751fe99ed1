"""What the stage asks of a model."""

from dataclasses import replace
from pathlib import Path

import pytest

from jobs.evaluate import EvaluateStage
from jobs.stage import Context
from pipeline.errors import DataError, NothingToMeasureError
from pipeline.model.compression import Chorus
from pipeline.model.pooling import LastToken
from pipeline.recipe import Recipe
from pipeline.recipes import load
from pipeline.roles import Layout, Role
from pipeline.tracking import NullTracker
from tests.eval.fakes import FakeModel


def stage(recipe: Recipe) -> EvaluateStage:
    return EvaluateStage(context=Context(work=Path("work"), data=Path("data"), recipe=recipe, tracking="nowhere://"))


def test_a_question_file_that_cannot_be_used_stops_it_before_a_model_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mcq").mkdir()
    (tmp_path / "mcq" / "MMVet.tsv").write_text("index\timage\tquestion\tanswer\n0\tAAAA\twhat\tfree text\n")
    monkeypatch.setattr("pipeline.inference.load_model", lambda *given, **named: pytest.fail("a model was loaded"))
    context = Context(work=tmp_path, data=tmp_path, recipe=load("tiny"), tracking="nowhere://")
    with pytest.raises(DataError, match=r"MMVet\.tsv: none of its 1 rows can be asked"):
        EvaluateStage(context=context).run(tmp_path / "out", NullTracker())


def test_a_model_without_compression_tokens_is_asked_natively_alone() -> None:
    tiny = load("tiny")
    layout = Layout(order=(Role.SYSTEM, Role.CONTEXT, Role.QUESTION, Role.ANSWER))
    without = replace(tiny, layout=layout, tokens=Chorus(count=0), pooling=LastToken(Role.CONTEXT))
    assert stage(tiny).modes == ("native", "compressed", "swapped")
    assert stage(without).modes == ("native",)
    assert stage(without).settings()["modes"] == ("native",)


def test_a_mode_that_can_show_nothing_is_left_out_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def nothing(*given: object, **named: object) -> None:
        raise NothingToMeasureError("one picture")

    monkeypatch.setattr("eval.vlm.evaluate", nothing)
    assert list(stage(load("tiny"))._questions(FakeModel(), [tmp_path / "Q.tsv"], tmp_path, NullTracker())) == [0]
    assert "evaluate: Q, swapped is left out: one picture" in caplog.messages
