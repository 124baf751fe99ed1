"""Ways to break the report over several models."""

from tests.mutants.mutant import Mutant

BESIDE = ("tests/eval/run_report/test_beside.py",)
PAGE = ("tests/eval/run_report/test_page.py",)
TRACKED = ("tests/jobs/test_tracked_results.py",)

MUTANTS = (
    Mutant(
        "the toy world is compared with a paper",
        "eval/run_report/beside.py",
        "    if ours is None or theirs is None or ours.note:\n",
        "    if ours is None or theirs is None:\n",
        BESIDE,
    ),
    Mutant(
        "a recipe with other values stands for the paper's row",
        "eval/run_report/beside.py",
        "    if theirs is None or ours.lineage.other:\n",
        "    if theirs is None:\n",
        BESIDE,
    ),
    Mutant(
        "a mean over a part of MMEB is MMEB's",
        "eval/run_report/figures.py",
        "    if sizes.keys() != expected:\n",
        "    if not sizes.keys() <= expected:\n",
        BESIDE,
    ),
    Mutant(
        "the mean of six is taken over those that are there",
        "eval/run_report/figures.py",
        "    if len(found) < len(BENCHMARKS):\n",
        "    if not found:\n",
        BESIDE,
    ),
    Mutant(
        "a paper's table is read a column to the side",
        "eval/run_report/papers.py",
        "for row in rows) for number in range(1, len(heads))]",
        "for row in rows) for number in [1, *range(1, len(heads) - 1)]]",
        BESIDE,
    ),
    Mutant(
        "any script may run in a page",
        "eval/page.py",
        "f\"'sha256-{digest}'\" if script",
        "\"'unsafe-inline'\" if script",
        PAGE,
    ),
    Mutant("texts of a page are not escaped", "eval/page.py", "autoescape=True", "autoescape=False", PAGE),
    Mutant(
        "native and compressed answers are of other files",
        "eval/run_report/figures.py",
        "    shared = set.intersection(*(set(files) for files in scores.values())) if scores else set()\n",
        '    shared = set(scores.get("native", {}))\n',
        PAGE,
    ),
    Mutant(
        "results of a later checkpoint are mixed in",
        "jobs/tracked_results.py",
        "    if {made.model for _, made in one.sources()} != {made.model for _, made in other.sources()}:\n",
        "    if False:\n",
        TRACKED,
    ),
    Mutant(
        "a folder's results are those of any training",
        "jobs/tracked_results.py",
        "    return folder if other.tags.get(_TRAIN_TAG) == trained_by else None\n",
        "    return folder\n",
        TRACKED,
    ),
    Mutant(
        "a run with other values fills an ablation's row",
        "eval/run_report/ablations.py",
        'run.tags.get("crem.recipe_fingerprint") == recipe_fingerprint(load(name))',
        'run.tags.get("crem.recipe_fingerprint")',
        TRACKED,
    ),
    Mutant(
        "the report shows a split none",
        "eval/report_tables.py",
        "if name == NO_SPLIT else",
        "if not name else",
        ("tests/eval/test_report.py",),
    ),
)
