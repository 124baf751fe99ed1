"""Ways to break what a step leaves behind, what it does without, and what is measured before the first one."""

from tests.mutants.mutant import Mutant

STEP = "tests/pipeline/train/test_step.py"
AGAIN = (f"{STEP}::test_a_step_taken_again_has_the_same_gradient",)
FEED = ("tests/pipeline/train/test_feed.py",)

MUTANTS = (
    Mutant(
        "gradients of a step before at stage 3",
        "pipeline/train/engine.py",
        "            self.optimizer.grad_partitions_flat_buffer.zero_()\n",
        "            pass\n",
        (f"{AGAIN[0]}[trained-3]",),
    ),
    Mutant(
        "a sum over ranks changes what it is given",
        "pipeline/train/engine.py",
        "total = tensor.clone()",
        "total = tensor",
        (f"{AGAIN[0]}[frozen-0]",),
    ),
    Mutant(
        "the gate of a layout is always open",
        "pipeline/train/feed.py",
        'coin(layout.gate_probability, "gate", *words)',
        'coin(1.0, "gate", *words)',
        FEED,
    ),
    Mutant(
        "old recipes hide with the least of their probabilities",
        "pipeline/recipe_json.py",
        'layout.setdefault("gate_probability", max(given))',
        'layout.setdefault("gate_probability", min(given))',
        ("tests/pipeline/test_recipe_json.py",),
    ),
)
