"""Learning rates over the steps of a phase."""

from tests.mutants.mutant import Mutant

SCHEDULE = ("tests/pipeline/train/test_schedule.py",)

MUTANTS = (
    Mutant("the line is half as steep", "pipeline/train/schedule.py", '"linear": 1 - done', '"linear": 1 - done / 2', SCHEDULE),
    Mutant(
        "a share of the steps is rounded down",
        "pipeline/train/schedule.py",
        "math.ceil(optimizer.warmup_share * phase.steps)",
        "int(optimizer.warmup_share * phase.steps)",
        SCHEDULE,
    ),
    Mutant(
        "two lengths of a warm-up",
        "pipeline/phase.py",
        "if self.warmup_steps and self.warmup_share:",
        "if False:",
        SCHEDULE,
    ),
)
