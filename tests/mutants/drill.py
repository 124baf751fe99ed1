"""Mutants of crem drill."""

from tests.mutants.mutant import Mutant

DRILL = "tests/jobs/drill/test_drill.py::"

MUTANTS = (
    Mutant(
        "drill: other weights pass for equal",
        "jobs/drill/toy_run.py",
        "not torch.equal(mine[name], theirs[name])",
        "mine[name].shape != theirs[name].shape",
        (f"{DRILL}test_equal_are_weights_and_losses_and_nothing_else",),
    ),
    Mutant(
        "drill: other losses pass for equal",
        "jobs/drill/toy_run.py",
        '"" if _losses(work) == _losses(unbroken) else',
        '"" if True else',
        (f"{DRILL}test_equal_are_weights_and_losses_and_nothing_else",),
    ),
    Mutant(
        "drill: a traceback passes for one line",
        "jobs/drill/drill.py",
        ' and "Traceback (most recent call last):" not in lines',
        "",
        (f"{DRILL}test_a_command_that_ends_equal_with_one_line_with_a_traceback_or_never",),
    ),
    Mutant(
        "drill: a refusal passes",
        "jobs/drill/drill.py",
        "return self.verdict == EQUAL",
        "return self.verdict in (EQUAL, ONE_LINE)",
        (f"{DRILL}test_a_command_that_ends_equal_with_one_line_with_a_traceback_or_never",),
    ),
    Mutant(
        "drill: a hang passes",
        "jobs/drill/drill.py",
        "        verdict = HANG",
        "        verdict = EQUAL",
        (f"{DRILL}test_a_command_that_ends_equal_with_one_line_with_a_traceback_or_never",),
    ),
    Mutant(
        "drill: the seed decides nothing",
        "jobs/drill/faults.py",
        "    kept = scene.rng.randrange(len(content))\n",
        "    kept = time.monotonic_ns() % len(content)\n",
        (f"{DRILL}test_a_truncated_file_is_cut_where_the_seed_says",),
    ),
)
