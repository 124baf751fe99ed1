"""Mutants of the runs in MLflow."""

from tests.mutants.mutant import Mutant

STORE = "tests/pipeline/tracking/test_store.py::"
RUNS = "tests/pipeline/tracking/test_runs.py::"
SENDER = ("tests/pipeline/tracking/test_sender.py",)
ORIGIN = ("tests/pipeline/tracking/test_origin.py",)
TRACKER = ("tests/pipeline/tracking/test_tracker.py",)
SYSTEM = ("tests/pipeline/tracking/test_system.py",)
CHAIN = ("tests/jobs/test_chain_run.py",)
LOCAL = ("tests/pipeline/train/test_local_ranks.py::test_each_process_knows_its_rank_and_where_to_meet",)
STAGE = ("tests/jobs/test_stage.py",)

MUTANTS = (
    Mutant(
        "commands that start together make one store at once",
        "pipeline/tracking/store.py",
        "    with _turn(file):\n        if not file.exists():\n            _make(file, uri)\n",
        "    if True:\n",
        (f"{STORE}test_four_commands_that_start_together_on_a_new_store_are_all_tracked",),
    ),
    Mutant(
        "an opening does not wait its turn",
        "pipeline/tracking/store.py",
        "while not _takes(lock):",
        "while False:",
        (f"{STORE}test_an_opening_waits_its_turn_but_not_for_ever",),
    ),
    Mutant(
        "the second of two new stores replaces the first",
        "pipeline/tracking/store.py",
        "            os.link(aside, file)\n",
        "            os.replace(aside, file)\n",
        (f"{STORE}test_a_store_that_another_process_made_meanwhile_stays",),
    ),
    Mutant(
        "a half-made store fails without a way out",
        "pipeline/tracking/store.py",
        "if not _BROKEN.search(str(error)):",
        "if True:",
        (f"{STORE}test_a_store_left_half_made_says_how_to_mend_it_each_time",),
    ),
    Mutant(
        "the experiment's name is fixed",
        "pipeline/tracking/store.py",
        'os.environ.get("MLFLOW_EXPERIMENT_NAME") or DEFAULT_EXPERIMENT',
        "DEFAULT_EXPERIMENT",
        (f"{STORE}test_the_environment_names_the_experiment",),
    ),
    Mutant(
        "a locked database loses a note",
        "pipeline/tracking/sender.py",
        'return getattr(error, "error_code", "") in _PASSING',
        "return False",
        SENDER,
    ),
    Mutant(
        "an outage is made up for number by number",
        "pipeline/tracking/tracker.py",
        "while self._held and len(self._in_flight) < MAX_METRICS_PER_CALL:",
        "while self._held and len(self._in_flight) < 1:",
        TRACKER,
    ),
    Mutant(
        "numbers that a store refuses are sent for ever",
        "pipeline/tracking/tracker.py",
        "            if not may_pass(error):\n                self._in_flight = []\n",
        "",
        TRACKER,
    ),
    Mutant(
        "the work waits for each note",
        "pipeline/tracking/sender.py",
        "            self._notes.put_nowait(note)\n",
        "            note()\n",
        (f"{SENDER[0]}::test_a_slow_store_slows_no_step_and_the_end_waits_so_long_and_says_so",),
    ),
    Mutant(
        "a server that never answers holds up the stage",
        "pipeline/tracking/sender.py",
        "answers.get(timeout=seconds)",
        "answers.get()",
        (f"{SENDER[0]}::test_what_does_not_answer_is_given_up",),
    ),
    Mutant(
        "a training that is gone on with is another run",
        "jobs/runner.py",
        "    reopen = unfinished_run(stage.folder, plan.fingerprint)\n",
        '    reopen = ""\n',
        STAGE,
    ),
    Mutant(
        "a finished run is opened again",
        "pipeline/stage_folder.py",
        " and _manifest(folder) is None else",
        " else",
        STAGE,
    ),
    Mutant(
        "steps trained again are noted twice",
        "pipeline/tracking/tracker.py",
        "if metric.step == 0 or metric.step > self._last_step(metric.key)",
        "if True",
        (f"{RUNS}test_a_run_that_was_cut_off_goes_on_without_the_steps_it_has",),
    ),
    Mutant(
        "a run opened again stays closed",
        "pipeline/tracking/runs.py",
        '    client.update_run(reopen, status="RUNNING")\n',
        "",
        (f"{RUNS}test_a_run_that_was_cut_off_goes_on_without_the_steps_it_has",),
    ),
    Mutant(
        "a changed setting costs all settings of its batch",
        "pipeline/tracking/tracker.py",
        "[entry for entry in entries if entry.key not in self._params]",
        "entries",
        (f"{RUNS}test_a_run_that_was_cut_off_goes_on_without_the_steps_it_has",),
    ),
    Mutant(
        "a run in the bin is noted into",
        "pipeline/tracking/runs.py",
        'found if found.info.lifecycle_stage == "active" else None',
        "found",
        (f"{RUNS}test_a_run_that_the_store_has_no_more_is_replaced_and_that_is_said",),
    ),
    Mutant(
        "a list of phases is one text",
        "pipeline/tracking/entries.py",
        "if isinstance(value, list | tuple) and any(",
        "if False and any(",
        ("tests/pipeline/tracking/test_entries.py",),
    ),
    Mutant(
        "a token in an address is shown",
        "pipeline/tracking/address.py",
        '_SECRET_ARGUMENT.sub(r"\\1***", ',
        '_SECRET_ARGUMENT.sub(r"\\g<0>", ',
        (f"{RUNS}test_no_secret_is_shown",),
    ),
    Mutant(
        "MLflow prints between the results",
        "pipeline/tracking/store.py",
        '    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",\n',
        "",
        ("tests/pipeline/tracking/test_server.py",),
    ),
    Mutant(
        "the stages of a chain stand alone",
        "jobs/run.py",
        "yield run(step, within_run)",
        "yield run(step, context)",
        CHAIN,
    ),
    Mutant(
        "a chain that is gone on with is another run",
        "jobs/chain_run.py",
        '_noted(context.work).get(_key(context), "")',
        '""',
        CHAIN,
    ),
    Mutant(
        "a forced chain goes on in the old run",
        "jobs/chain_run.py",
        '"" if context.force else _noted',
        "_noted",
        CHAIN,
    ),
    Mutant(
        "a chain that is done opens its run",
        "jobs/chain_run.py",
        "        yield run_id\n",
        "        run_id()\n        yield run_id\n",
        CHAIN,
    ),
    Mutant(
        "the ranks of a chain's training stand alone",
        "pipeline/train/local_ranks.py",
        "{**each, **variables}",
        "each",
        LOCAL,
    ),
    Mutant(
        "installed code has the commit of another project",
        "pipeline/tracking/origin.py",
        'if Path(_git(root, "rev-parse", "--show-toplevel")) != root:',
        "if False:",
        ORIGIN,
    ),
    Mutant(
        "changed code passes for its commit",
        "pipeline/tracking/origin.py",
        "str(is_dirty).lower()",
        '"false"',
        ORIGIN,
    ),
    Mutant(
        "a hook's repository stands for ours",
        "pipeline/tracking/origin.py",
        'if not name.startswith("GIT_")',
        "if True",
        ORIGIN,
    ),
    Mutant(
        "passwords in settings reach the store",
        "pipeline/tracking/entries.py",
        "redact(str(value))[:_MAX_PARAM_CHARACTERS]",
        "str(value)[:_MAX_PARAM_CHARACTERS]",
        ORIGIN,
    ),
    Mutant(
        "samples of a run that goes on begin anew",
        "pipeline/tracking/system.py",
        "round((time.time() - self._began) / SAMPLE_SECONDS)",
        "0",
        SYSTEM,
    ),
    Mutant(
        "a GPU that has gone ends all samples",
        "pipeline/tracking/system.py",
        "        except Exception:  # noqa: BLE001 (what libraries",
        "        except ChildProcessError:  # (what libraries",
        SYSTEM,
    ),
)
