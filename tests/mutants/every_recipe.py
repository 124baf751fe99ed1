"""Steps of every recipe: one of the optimizer for a global batch."""

from tests.mutants.mutant import Mutant

EVERY = ("tests/pipeline/train/test_every_recipe.py",)

MUTANTS = (
    Mutant(
        "each chunk closes a global batch",
        "pipeline/train/engine.py",
        "self.deepspeed.set_gradient_accumulation_boundary(last)",
        "self.deepspeed.set_gradient_accumulation_boundary(True)",
        (*EVERY, "-k", "whole_gradient and crem_2b-joint"),
    ),
    Mutant(
        "a step is taken twice",
        "pipeline/train/engine.py",
        "        self.deepspeed.step()\n",
        "        self.deepspeed.step()\n        self.deepspeed.step()\n",
        (*EVERY, "-k", "whole_gradient and retrieval"),
    ),
)
