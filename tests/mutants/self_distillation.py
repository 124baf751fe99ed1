"""Ways to distil from the wrong model: the compressed one, one that learns, one with dropout, or the other way round."""

from tests.mutants.mutant import Mutant

TESTS = "tests/pipeline/train/test_self_distillation.py"
DEFINITION = (f"{TESTS}::test_losses_and_gradients_are_those_of_the_definition",)
CALLS = (f"{TESTS}::test_every_batch_of_a_phase_has_a_reference_or_none_has",)
COUNT = (f"{TESTS}::test_the_forecast_counts_what_a_distilled_step_computes",)

MUTANTS = (
    Mutant(
        "distillation: the reference is compressed too",
        "pipeline/batch.py",
        "causal_spans([(row.sequence.attention_roles(), False) for row in rows], row_places(rows), layout)",
        "causal_spans([(row.sequence.attention_roles(), row.compressed) for row in rows], row_places(rows), layout)",
        DEFINITION,
    ),
    Mutant(
        "distillation: the other direction",
        "pipeline/model/head.py",
        "kl_div(found, expected,",
        "kl_div(expected, found,",
        DEFINITION,
    ),
    Mutant(
        "distillation: the reference learns too",
        "pipeline/model/head.py",
        "        with torch.no_grad():\n            expected",
        "        if True:\n            expected",
        (f"{TESTS}::test_a_trained_head_learns_from_what_is_compressed_alone",),
    ),
    Mutant(
        "distillation: the reference has dropout",
        "pipeline/model/embedder.py",
        "        self.backbone.eval()\n",
        "",
        (f"{TESTS}::test_the_reference_has_no_dropout_and_the_model_goes_on_training",),
    ),
    Mutant(
        "distillation: the model stays in evaluation",
        "pipeline/model/embedder.py",
        "        self.backbone.train(trains)\n",
        "",
        (f"{TESTS}::test_the_reference_has_no_dropout_and_the_model_goes_on_training",),
    ),
    Mutant(
        "distillation: an idle rank makes fewer calls",
        "pipeline/train/dataloader/step_dataset.py",
        "return pack_for(self.recipe, [self.row(planned, 0)])",
        "return replace(pack_for(self.recipe, [self.row(planned, 0)]), reference=None)",
        CALLS,
    ),
    Mutant(
        "distillation: the reference costs nothing",
        "pipeline/train/flops.py",
        "        if batch.reference is None:\n            return 0.0\n",
        "        if True:\n            return 0.0\n",
        COUNT,
    ),
    Mutant(
        "distillation: of a mask that is never on",
        "pipeline/phase.py",
        "        if self.language.has_reference and not hides:\n",
        "        if False:\n",
        (f"{TESTS}::test_a_reference_that_is_the_model_itself_is_refused",),
    ),
)
