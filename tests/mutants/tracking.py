"""Mutants of the runs in MLflow."""

from tests.mutants.mutant import Mutant

STORE = "tests/pipeline/tracking/test_store.py::"
RUNS = "tests/pipeline/tracking/test_runs.py::"
SENDER = ("tests/pipeline/tracking/test_sender.py",)
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
        'return getattr(error, "error_code", "") not in _PASSING',
        "return True",
        SENDER,
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
)
