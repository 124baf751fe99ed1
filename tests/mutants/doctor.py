"""Mutants of crem doctor, and of the definitions of images."""

from tests.mutants.mutant import Mutant

DOCTOR = "tests/jobs/doctor/test_doctor.py::"

MUTANTS = (
    Mutant(
        "an image is built without pins",
        "containers/install.sh",
        ' -c "$pins"; }',
        "; }",
        ("tests/test_containers.py::test_torch_goes_before_what_looks_for_it_and_every_step_is_pinned",),
    ),
    Mutant(
        "doctor: locks that do not hold pass",
        "jobs/doctor/places.py",
        '    return warning("file locks", f"{place}: a second lock is given while the first is held", _ONE_COMMAND)\n',
        '    return good("file locks", "hold")\n',
        (f"{DOCTOR}test_locks_that_hold_that_are_not_there_and_that_do_not_hold",),
    ),
    Mutant(
        "doctor: checkpoints take no disk",
        "jobs/doctor/places.py",
        "needed = corpus + (checkpoints or 0)",
        "needed = corpus",
        (f"{DOCTOR}test_free_disk_against_what_is_still_to_be_written",),
    ),
    Mutant(
        "doctor: shards that were cut pass",
        "jobs/doctor/places.py",
        'if inventory(folder) != manifest.outputs["files"]:',
        "if False:",
        (f"{DOCTOR}test_shards_that_were_cut_changed_or_removed",),
    ),
    Mutant(
        "doctor: what does not fit passes",
        "jobs/doctor/machine.py",
        '        return stops(subject, seen, str(error).rpartition(": ")[2])',
        "        return good(subject, str(error))",
        (f"{DOCTOR}test_memory_that_fits_that_does_not_and_that_is_not_known",),
    ),
    Mutant(
        "doctor: any model will do",
        "jobs/doctor/services.py",
        "if model not in names:",
        "if not names:",
        (f"{DOCTOR}test_endpoints_that_answer_refuse_or_serve_another_model",),
    ),
    Mutant(
        "doctor: a build without CUDA passes",
        "jobs/doctor/machine.py",
        "if cuda is None:",
        "if False:",
        (f"{DOCTOR}test_gpus_without_a_driver_without_cuda_and_with_a_driver_that_is_too_old",),
    ),
    Mutant(
        "doctor: nodes that do not meet pass",
        "jobs/doctor/nodes.py",
        'return good("nodes", lines[-1]) if done.returncode == 0 else',
        'return good("nodes", lines[-1]) if True else',
        (f"{DOCTOR}test_nodes_are_tried_inside_an_allocation_alone",),
    ),
    Mutant(
        "doctor: the exit code says nothing",
        "launchers/doctor.py",
        "finding.level is Level.STOPS for finding",
        "False for finding",
        (f"{DOCTOR}test_the_command_fails_where_something_would_stop_a_run",),
    ),
)
