"""Stage `report`: one self-contained HTML page over everything that was measured."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from eval import reconstruct, retrieval_set
from eval.question_files import found_files
from eval.report import ReportInputs, build_report
from jobs.evaluate import MODES, TRAINED, UNTRAINED
from jobs.stage import Context, Input, Result, Writing
from pipeline.manifest import Manifest, canonical_json, write_atomic
from pipeline.recipes import described
from pipeline.tracking import Tracker

REPORT_NAME = "report.html"
RECIPE_NAME = "recipe.json"
TOY_NOTICE = "toy world: not comparable with MMEB"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportStage:
    """Puts result tables, training curves and examples on one page."""

    context: Context
    name: str = "report"
    writing: Writing = Writing.ASIDE

    @property
    def folder(self) -> Path:
        """The page, and the recipe it shows."""
        return self.context.report

    def inputs(self) -> Mapping[str, Input]:
        """Results, and the log of training steps."""
        return {
            "evaluate": Input(path=self.context.evaluation, made_by="evaluate"),
            "train": Input(path=self.context.train, made_by="train"),
        }

    def settings(self) -> Mapping[str, object]:
        """What the page is headed with, and the recipe it shows."""
        return {"title": self._title, "notice": self._notice, "recipe": self.context.recipe}

    def run(self, out: Path, tracker: Tracker) -> Result:
        """Write the page and keep a copy in the run."""
        write_atomic(out / RECIPE_NAME, json.dumps(json.loads(canonical_json(self.context.recipe)), indent=1) + "\n")
        trained, untrained = self.context.evaluation / TRAINED, self.context.evaluation / UNTRAINED
        page = ReportInputs(
            title=self._title,
            notice=self._notice,
            trained=_measured(trained / retrieval_set.RESULT_NAME),
            untrained=_measured(untrained / retrieval_set.RESULT_NAME),
            blank=_measured(trained / retrieval_set.BLANK_RESULT_NAME),
            questions=self._questions(trained),
            reconstruction=_measured(trained / reconstruct.RESULT_NAME),
            curves=self.context.train / "metrics.jsonl",
            recipe=out / RECIPE_NAME,
            links=self._runs(),
        )
        build_report(page, out / REPORT_NAME)
        tracker.log_artifact(out / REPORT_NAME)
        return Result()

    @property
    def _title(self) -> str:
        return f"crem run: recipe {described(self.context.recipe)}"

    @property
    def _notice(self) -> str:
        return TOY_NOTICE if self.context.data == self.context.toy else ""

    def _questions(self, trained: Path) -> tuple[Path, ...]:
        """Result files of the question files, mode by mode; none where the data folder has none."""
        names = [path.stem for path in found_files(self.context.data)]
        files = [trained / f"{name}-{mode}.json" for name in names for mode in MODES]
        return tuple(path for path in files if path.is_file())

    def _runs(self) -> dict[str, str]:
        """Run ids of the stages that the page is about, and the step of the model that was measured."""
        manifests = {"train": Manifest.read(self.context.train), "evaluate": Manifest.read(self.context.evaluation)}
        runs = {f"{name} run": found.run_id for name, found in manifests.items() if found is not None and found.run_id}
        measured = manifests["evaluate"]
        if measured is None:
            return runs
        # What --checkpoint named may be of another training than the one whose curves the page shows.
        named = ["named by --checkpoint"] if "checkpoint" in measured.inputs else []
        step = [f"after step {measured.counts['step']}"] if measured.counts.get("step") else []
        return {**runs, "trained model": ", ".join(named + step)} if named or step else runs


def _measured(path: Path) -> Path | None:
    """A result file; None where that was not measured."""
    return path if path.is_file() else None
