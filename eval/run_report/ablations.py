"""Our runs of the recipes that ablation rows name, found in the store of tracked runs, with the figures that they noted."""

from collections.abc import Iterable, Mapping

from eval.run_report.beside import Ours
from eval.run_report.figures import TOY, Figure, noted_answers, noted_retrieval
from eval.run_report.measured import Lineage
from eval.run_report.papers import PaperTable
from pipeline.recipe_json import recipe_fingerprint
from pipeline.recipes import RECIPES, load
from pipeline.tracking import TrackedRun, finished_runs, is_on_toy_world

_RETRIEVAL, _NATIVE, _COMPRESSED = "eval/trained/hit_at_1/", "eval/trained/accuracy/native/", "eval/trained/accuracy/compressed/"


def found_ablations(uri: str, tables: Iterable[PaperTable]) -> dict[str, Ours]:
    """By recipe, the newest finished evaluation of it with the very values of its name. Raises PipelineError for no store."""
    wanted = {row.recipe for each in tables for row in each.table.rows if row.recipe in RECIPES}
    found: dict[str, Ours] = {}
    for run in finished_runs(uri, {"crem.stage": "evaluate"}):
        name = run.tags.get("crem.recipe", "")
        if name in wanted - found.keys() and run.tags.get("crem.recipe_fingerprint") == recipe_fingerprint(load(name)):
            figures = noted_figures(run.metrics, TOY if is_on_toy_world(run.tags) else "")
            if figures:
                found[name] = Ours(label=f"run {run.run_id[:8]}", lineage=_lineage(run), figures=figures)
    return found


def noted_figures(metrics: Mapping[str, float], note: str = "") -> dict[str, Figure]:
    """Figures by the papers' columns from what stage `evaluate` noted; without intervals, which are not noted."""
    found = noted_retrieval(_below(metrics, _RETRIEVAL), note)
    for column, prefix in (("Nat.", _NATIVE), ("Comp.", _COMPRESSED)):
        mean = noted_answers(_below(metrics, prefix), note).get("AVG")
        if mean is not None:
            found[column] = mean
    return found


def _below(metrics: Mapping[str, float], prefix: str) -> dict[str, float]:
    return {name.removeprefix(prefix): value for name, value in metrics.items() if name.startswith(prefix)}


def _lineage(run: TrackedRun) -> Lineage:
    return Lineage(
        run_id=run.run_id,
        recipe=run.tags["crem.recipe"],
        trained_by=run.tags.get("crem.parent.train", ""),
        data=run.tags.get("crem.data", ""),
        commit=run.tags.get("mlflow.source.git.commit", ""),
        output=run.tags.get("crem.output", ""),
        is_toy=is_on_toy_world(run.tags),
    )
