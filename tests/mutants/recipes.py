"""Ways to break what the methods' recipes need: starts of tokens, the divisor, the targets' values, refusals, the diff."""

from tests.mutants.mutant import Mutant

COMPRESSION, TARGETS = ("tests/pipeline/model/test_compression.py",), ("tests/pipeline/test_targets.py",)
METHODS, LOSSES = ("tests/pipeline/recipes/test_methods.py",), ("tests/pipeline/losses/test_losses.py",)
_TOKENS, _TARGETS, _PHASE = "pipeline/model/compression.py", "pipeline/targets.py", "pipeline/phase.py"

MUTANTS = (
    Mutant("Magic-MM-Embedding mines the nearest", "pipeline/recipes/magic.py", "first_rank=50", "first_rank=1", METHODS),
    Mutant("EOS copies get noise whatever is said", _TOKENS, "+ noise * self.noise", "+ noise * 0.1", COMPRESSION),
    Mutant("spare rows are the table's first", _TOKENS, "table[list(ids)]", "table[: len(ids)]", COMPRESSION),
    Mutant(
        "pairs of the batch divide conversations too",
        "pipeline/losses/language.py",
        "device=units.device) == OWN",
        "device=units.device) >= OWN",
        LOSSES,
    ),
    Mutant("pairs of the batch are not looked at", "pipeline/losses/language.py", "float(num_pairs)", "1.0 * units", LOSSES),
    Mutant("all turns of a dialogue are learnt", _TARGETS, "side)[: self.most]", "side)", TARGETS),
    Mutant("texts are always asked", _TARGETS, "if not self.texts and", "if self.texts is None and", TARGETS),
    Mutant(
        "hard negatives are told what their row's positive shows",
        "pipeline/train/dataloader/step_dataset.py",
        "self.phase.target.turns(sample, planned.name,",
        'self.phase.target.turns(sample, "positive" if planned.side_index else "query",',
        TARGETS,
    ),
    Mutant(
        "hard negatives are never asked",
        "pipeline/train/dataloader/plan.py",
        "for found in negatives for reference in found) if NEGATIVES in own else ():",
        "for found in negatives for reference in found) if not own else ():",
        TARGETS,
    ),
    Mutant(
        "bare pictures are embedded",
        "pipeline/train/dataloader/step_dataset.py",
        "elif planned.asks and not self.phase.embeds:",
        "elif planned.asks:",
        TARGETS,
    ),
    Mutant(
        "dialogues compress the words too",
        "pipeline/train/dataloader/step_dataset.py",
        "elif planned.asks and not self.phase.embeds:",
        "elif planned.asks and self.phase.embeds is None:",
        TARGETS,
    ),
    Mutant("a mask that is never on passes", _PHASE, "hides = layout.gate_probability > 0 and", "hides =", METHODS),
    Mutant("answers without any context pass", _PHASE, "if hides and Role.ANSWER in", "if not hides and Role.ANSWER in", METHODS),
    Mutant("an open mask is refused beside InfoNCE", _PHASE, "if self.embeds or hides or", "if hides or", METHODS),
    Mutant(
        "the generation loss ends a step late",
        "pipeline/losses/weights.py",
        "if first <= step)",
        "if first < step or not first)",
        METHODS,
    ),
    Mutant("the window of Bottleneck Tokens ends later", "pipeline/recipes/btoks.py", "(2000, 0.0)", "(2001, 0.0)", METHODS),
    Mutant(
        "a phase more is no difference",
        "pipeline/recipe_diff.py",
        'or path == "phases"',
        'or path == ""',
        ("tests/launchers/test_cli.py::test_recipes_of_other_numbers_of_phases_are_told_apart",),
    ),
)
