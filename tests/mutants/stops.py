"""Ways to break how a rank ends that is asked to stop and gets to no end of a step."""

from tests.mutants.mutant import Mutant

_WATCHDOG, _SIGNALS = "pipeline/train/fault_tolerance/watchdog.py", "pipeline/train/fault_tolerance/signals.py"
GUARDS = "tests/pipeline/train/fault_tolerance/test_guards.py"
HANGS = (
    "tests/pipeline/train/fault_tolerance/test_accidents.py::test_a_rank_whose_loader_hangs_is_ended_when_both_are_asked_to_stop",
)

MUTANTS = (
    Mutant(
        "a rank that waits for data never stops",
        _WATCHDOG,
        "            if cannot_stop(beat, self._note.seconds_asked()):\n                self._leave_unsaved(beat)\n",
        "",
        HANGS,
    ),
    Mutant(
        "a loader process is left behind",
        _WATCHDOG,
        "        child.kill()\n",
        "        pass\n",
        HANGS,
    ),
    Mutant(
        "a rank in a step is ended too",
        _WATCHDOG,
        "    if beat.step and beat.doing != READS:\n        return False\n",
        "",
        (f"{GUARDS}::test_who_cannot_stop_at_the_end_of_a_step",),
    ),
    Mutant(
        "a start that is asked to stop goes on",
        _WATCHDOG,
        "(min(seconds_asked, beat.idle) if beat.step else seconds_asked) > STOP_GRACE",
        "min(seconds_asked, beat.idle) > STOP_GRACE",
        (f"{GUARDS}::test_who_cannot_stop_at_the_end_of_a_step",),
    ),
    Mutant(
        "a rank without data ends alone",
        "pipeline/train/loop.py",
        "    if on_any_rank(problem is not None):\n",
        "    if problem is not None:\n",
        (
            "tests/pipeline/train/dataloader/test_unreadable.py::test_a_rank_that_can_read_nothing_of_a_step_ends_all_with_one_line",
        ),
    ),
    Mutant(
        "a checkpoint forgets how many steps in a row were skipped",
        "pipeline/train/loop.py",
        "skipped_in_a_row=self.skips.in_a_row",
        "skipped_in_a_row=0",
        ("tests/pipeline/train/test_loop.py::test_skipped_steps_in_a_row_are_counted_across_an_interruption",),
    ),
    Mutant(
        "a signal waits for the main thread",
        _SIGNALS,
        "signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)",
        "-1",
        (f"{GUARDS}::test_a_signal_is_known_to_another_thread_while_the_main_one_stands_in_a_call",),
    ),
)
