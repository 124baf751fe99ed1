"""Ways to break how ranks hang, stop, fail and wait together."""

from tests.mutants.mutant import Mutant

GUARDS = ("tests/pipeline/train/fault_tolerance/test_guards.py",)
ACCIDENTS = "tests/pipeline/train/fault_tolerance/test_accidents.py"

MUTANTS = (
    Mutant(
        "an infinite loss is taken",
        "pipeline/train/engine.py",
        "* torch.where(loss.isfinite(), 1.0, math.nan)",
        "* 1.0",
        GUARDS,
    ),
    Mutant(
        "a gradient that is not finite is taken",
        "pipeline/train/engine.py",
        "if own_norm is not None and not own_norm.isfinite():",
        "if own_norm is not None and own_norm < 0:",
        GUARDS,
    ),
    Mutant(
        "skipped steps end the run in any order",
        "pipeline/train/fault_tolerance/skipped_steps.py",
        "            self.in_a_row = 0\n",
        "            pass\n",
        GUARDS,
    ),
    Mutant(
        "a signal stops one rank alone",
        "pipeline/train/loop.py",
        "if total.asked_to_stop and",
        "if self.note.asked and",
        (f"{ACCIDENTS}::test_a_signal_to_one_rank_stops_both_after_a_checkpoint",),
    ),
    Mutant(
        "a loader's process dies of the job's signal",
        "pipeline/train/fault_tolerance/signals.py",
        "signal.signal(number, signal.SIG_IGN)",
        "signal.signal(number, signal.SIG_DFL)",
        GUARDS,
    ),
    Mutant(
        "a waiting rank is called busy",
        "pipeline/train/fault_tolerance/watchdog.py",
        "if other.rank not in silent and not other.waits]",
        "if other.rank not in silent]",
        GUARDS,
    ),
    Mutant(
        "a rank that waits gives up while another gets on",
        "pipeline/train/fault_tolerance/watchdog.py",
        "return longest < 0",
        "return True",
        GUARDS,
    ),
    Mutant(
        "a start that hangs is never found",
        "pipeline/train/loop.py",
        "Watchdog(paths.heartbeats, own_rank(), options.step_timeout, note)",
        "Watchdog(paths.heartbeats, own_rank(), 1e6, note)",
        (f"{ACCIDENTS}::test_a_rank_that_hangs_before_the_first_step_is_found_too",),
    ),
    Mutant(
        "ranks that do not come end in a traceback",
        "pipeline/train/distributed.py",
        "    except dist.DistError as error:\n",
        "    except ZeroDivisionError as error:\n",
        (f"{GUARDS[0]}::test_ranks_that_do_not_come_are_one_line",),
    ),
    Mutant(
        "Ctrl-C ends without a checkpoint",
        "pipeline/train/fault_tolerance/signals.py",
        "SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)",
        "SIGNALS = (signal.SIGTERM, signal.SIGUSR1)",
        (f"{GUARDS[0]}::test_a_second_ctrl_c_ends_at_once",),
    ),
    Mutant(
        "a second Ctrl-C is a note as well",
        "pipeline/train/fault_tolerance/signals.py",
        "            signal.signal(number, signal.default_int_handler)\n",
        "",
        (f"{GUARDS[0]}::test_a_second_ctrl_c_ends_at_once",),
    ),
    Mutant(
        "a rank that waits for its device is called busy",
        "pipeline/train/fault_tolerance/watchdog.py",
        "waits = waits or (self.is_queued and doing in COMPUTES)",
        "pass",
        GUARDS,
    ),
    Mutant(
        "a hung rank leaves no note",
        "pipeline/train/fault_tolerance/watchdog.py",
        "                Path(note).touch()",
        "                pass",
        (f"{GUARDS[0]}::test_a_hung_rank_leaves_a_note_and_nccl_s_record",),
    ),
    Mutant(
        "a job that always hangs runs for ever",
        "launchers/slurm_train.sh",
        '  echo >>"$hangs"\n',
        '  echo >"$hangs"\n',
        ("tests/launchers/test_slurm_script.py",),
    ),
    Mutant(
        "every rank looks at every rank at every tick",
        "pipeline/train/fault_tolerance/watchdog.py",
        "if beat.idle <= WAITING_FACTOR * patience or time.monotonic() < self._next_look:",
        "if beat.idle <= 0 * patience:",
        GUARDS,
    ),
    Mutant(
        "rank 0 does not go first",
        "pipeline/train/collectives.py",
        "        store.wait([key], PATIENCE)",
        "        pass",
        ("tests/pipeline/train/test_collectives.py",),
    ),
    Mutant(
        "rank 0 goes first once",
        "pipeline/train/collectives.py",
        'f"rank 0 first/{next(_TURNS)}"',
        '"rank 0 first"',
        ("tests/pipeline/train/test_collectives.py",),
    ),
    Mutant(
        "a rank that agrees on a number is called busy",
        "pipeline/train/fault_tolerance/watchdog.py",
        ', "pipeline/train/collectives.py")',
        ")",
        GUARDS,
    ),
)
