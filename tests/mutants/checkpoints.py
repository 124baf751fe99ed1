"""Ways to break how checkpoints are gathered, written beside the training, and read."""

from tests.mutants.mutant import Mutant

WRITER = ("tests/pipeline/train/test_checkpoint_writer.py",)
KEPT = ("tests/pipeline/train/test_checkpoint_retention.py",)
ACCIDENTS = "tests/pipeline/train/fault_tolerance/test_accidents.py"

MUTANTS = (
    Mutant(
        "every rank keeps the whole state",
        "pipeline/train/engine.py",
        "if tensor is not None and self.rank == 0:",
        "if tensor is not None:",
        WRITER,
    ),
    Mutant(
        "the whole state is on the device at once",
        "pipeline/train/engine.py",
        'into[name] = tensor.detach().to("cpu", copy=True)',
        "into[name] = tensor.detach()",
        WRITER,
    ),
    Mutant(
        "a step waits for the disk",
        "pipeline/train/checkpoint_writer.py",
        "        self.saved = step\n        return folder",
        "        self.saved = step\n        self.finish()\n        return folder",
        (f"{WRITER[0]}::test_a_write_that_failed_is_told_by_the_next_call",),
    ),
    Mutant(
        "a write that failed is forgotten",
        "pipeline/train/checkpoint_writer.py",
        "problem = self._writing.exception() if self._writing is not None else None",
        "problem = None",
        WRITER,
    ),
    Mutant(
        "only errors of a checkpoint's own are told to other ranks",
        "pipeline/train/checkpoint_writer.py",
        "        if on_any_rank(problem is not None):",
        "        if problem is not None and not isinstance(problem, CheckpointError):\n            raise problem\n"
        "        if on_any_rank(problem is not None):",
        WRITER,
    ),
    Mutant(
        "a checkpoint that cannot be deleted ends the run",
        "pipeline/train/checkpoint_retention.py",
        "        except OSError as error:",
        "        except PermissionError as error:",
        ("tests/pipeline/train/test_checkpoint_retention.py",),
    ),
    Mutant(
        "a weight without a place is passed over",
        "pipeline/train/build.py",
        " + sorted(set(weights) - set(own))",
        "\n    weights = {name: weights[name] for name in weights if name in own}",
        WRITER,
    ),
    Mutant(
        "digests not checked",
        "pipeline/train/checkpoint.py",
        "or file_digest(folder / name) != state.digests.get(name)",
        "",
        ("tests/pipeline/train/test_loop.py::test_a_truncated_checkpoint_is_refused_by_name_and_the_one_before_is_taken",),
    ),
    Mutant(
        "the worst checkpoint is kept",
        "pipeline/train/checkpoint_retention.py",
        "sign = -1.0 if name in HIGHER_IS_BETTER else 1.0",
        "sign = 1.0 if name in HIGHER_IS_BETTER else -1.0",
        KEPT,
    ),
    Mutant(
        "refused folders take places",
        "pipeline/train/checkpoint_retention.py",
        "for folder in checkpoint.steps(root) if checkpoint.step_of(folder) <= step}",
        "for folder in checkpoint.steps(root)}",
        KEPT,
    ),
    Mutant(
        "a full disk ends in a traceback",
        "pipeline/train/checkpoint.py",
        "except (OSError, SafetensorError) as error:",
        "except ZeroDivisionError as error:",
        KEPT,
    ),
    Mutant(
        "a checkpoint of other data is taken",
        "pipeline/train/checkpoint.py",
        "(course_fingerprint(recipe(folder)), state.data_fingerprint) == (course, data_fingerprint)",
        "course_fingerprint(recipe(folder)) == course",
        ("tests/pipeline/train/test_checkpoint.py",),
    ),
    Mutant(
        "one rank alone knows of the full disk",
        "pipeline/train/checkpoint_writer.py",
        "if on_any_rank(problem is not None):",
        "if problem is not None:",
        (f"{ACCIDENTS}::test_a_full_disk_of_the_rank_that_writes_ends_both",),
    ),
)
