"""Stage `report`: one self-contained HTML page over everything that was measured."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jobs.stage import Context, Input, Result, Writing
from pipeline.tracking import Tracker

REPORT_NAME = "report.html"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportStage:
    """Puts result tables, training curves and examples on one page."""

    context: Context
    name: str = "report"
    writing: Writing = Writing.ASIDE

    @property
    def folder(self) -> Path:
        """The page."""
        return self.context.report

    def inputs(self) -> Mapping[str, Input]:
        """Results, and the log of training steps."""
        return {
            "evaluate": Input(path=self.context.evaluation, made_by="evaluate"),
            "train": Input(path=self.context.train, made_by="train"),
        }

    def settings(self) -> Mapping[str, object]:
        """Whether the page must say that it is about the toy world."""
        return {"is_toy": self.context.data == self.context.toy, "recipe": self.context.recipe.name}

    def run(self, out: Path, tracker: Tracker) -> Result:
        """Write the page and keep a copy in the run."""
        page = out / REPORT_NAME
        from eval.report import write_report

        write_report(page, evaluation=self.context.evaluation, metrics=self.context.train / "metrics.jsonl", **self.settings())
        tracker.log_artifact(page)
        return Result()
