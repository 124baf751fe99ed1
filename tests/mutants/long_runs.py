"""Ways to break what holds over a long run: its schedule, its moments, and what is said of rows that cannot be read."""

from tests.mutants.mutant import Mutant

LONG = "tests/pipeline/train/test_long_runs.py"
SKIPPED = (f"{LONG}::test_skipped_steps_keep_their_place_in_the_schedule_and_not_in_the_moments",)

MUTANTS = (
    Mutant(
        "a resumed run counts skipped steps as taken",
        "pipeline/train/loop.py",
        "taken = state.step - state.skipped",
        "taken = state.step",
        SKIPPED,
    ),
    Mutant(
        "a skipped step waits for its place in the schedule",
        "pipeline/train/loop.py",
        "rate = learning_rate(step, phase)",
        "rate = learning_rate(step - self.skips.total, phase)",
        SKIPPED,
    ),
    Mutant(
        "a resumed run begins the schedule anew",
        "pipeline/train/loop.py",
        "rate = learning_rate(step, phase)",
        "rate = learning_rate(step - (self.found[1].step if self.found else 0), phase)",
        (f"{LONG}::test_ten_interruptions_leave_rates_and_weights_as_the_unbroken_run_has_them",),
    ),
    Mutant(
        "pairs that were left out are counted as trained",
        "pipeline/train/step.py",
        "weight * gradient, count)",
        "weight * gradient, 8)",
        ("tests/pipeline/train/dataloader/test_unreadable.py", "-k", "two_ranks"),
    ),
    Mutant(
        "a page of a step does not name what cannot be read",
        "eval/step_page.py",
        "            found.unreadable.append(error.found)\n",
        "            continue\n",
        ("tests/jobs/test_show.py",),
    ),
    Mutant(
        "memory of the loader is not looked at",
        "benchmarks/long_run.py",
        "for loader in loaders]",
        "for loader in loaders[:0]]",
        ("tests/benchmarks/test_long_run.py",),
    ),
)
