"""What decides whether lengths are measured again."""

from dataclasses import replace
from pathlib import Path

from jobs.measure import MeasureStage
from jobs.stage import Context
from pipeline.template_file import named_templates
from tests.pipeline.corpus import small_recipe


def test_rows_that_are_worded_are_measured_again(tmp_path: Path) -> None:
    """And those that are not are named as they were before there were any words."""
    plain = Context(work=tmp_path, data=tmp_path, recipe=small_recipe(), tracking="")
    worded = replace(plain, recipe=replace(small_recipe(), templates=named_templates("magic")))
    assert set(MeasureStage(context=plain).settings()) == {"phases", "tokens", "pixels", "max_length"}
    assert MeasureStage(context=worded).settings()["templates"] == named_templates("magic")
