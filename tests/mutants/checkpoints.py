"""Ways to break how checkpoints are gathered, written beside the training, and read."""

from tests.mutants.mutant import Mutant

WRITER = ("tests/pipeline/train/test_checkpoint_writer.py",)

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
)
