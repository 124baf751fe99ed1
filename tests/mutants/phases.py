"""Ways to break what a phase begins from, and how phases follow one another."""

from tests.mutants.mutant import Mutant

START, CHAIN = ("tests/pipeline/train/test_start.py",), ("tests/jobs/test_chain.py",)

MUTANTS = (
    Mutant(
        "a start without the adapters",
        "pipeline/train/start.py",
        "    merge(model.embedder.backbone.text)\n",
        "    merge(load_model(model.folder, recipe=model.recipe).embedder.backbone.text)\n",
        (f"{START[0]}::test_a_merged_start_computes_what_the_phase_before_computed",),
    ),
    Mutant(
        "a start with new tokens",
        "pipeline/train/build.py",
        "            weight.copy_(weights[name])\n",
        "            weight.copy_(weight)\n",
        (f"{START[0]}::test_a_merged_start_computes_what_the_phase_before_computed",),
    ),
    Mutant(
        "a start in the number type of before",
        "pipeline/train/start.py",
        '"dtype": recipe.phase.dtype}',
        '"dtype": ""}',
        (f"{START[0]}::test_a_start_is_written_once_for_each_checkpoint_and_number_type",),
    ),
    Mutant(
        "a start whatever its tokens",
        "pipeline/train/start.py",
        "        if difference.path in _SHARED_VALUES:\n",
        "        if not difference.path:\n",
        (f"{START[0]}::test_a_start_with_other_tokens_is_refused_by_the_field",),
    ),
    Mutant(
        "a continued phase begins at the backbone",
        "pipeline/train/loop.py",
        "        elif continued:\n",
        "        elif not continued:\n",
        (f"{START[0]}::test_a_continued_phase_that_trains_other_weights_is_refused",),
    ),
    Mutant(
        "all phases read the same order",
        "pipeline/recipe.py",
        "return self.seed if len(self.phases) == 1 else",
        "return self.seed if self.phases else",
        (f"{START[0]}::test_a_later_phase_draws_its_data_anew",),
    ),
    Mutant(
        "a phase is trained anew when a later one changes",
        "jobs/train.py",
        "stage_values(self.recipe)",
        "stage_values(self.context.recipe)",
        (f"{CHAIN[0]}::test_phases_are_stages_one_after_another",),
    ),
    Mutant(
        "the second phase does not wait for the first",
        "jobs/train.py",
        "        if before is not None:\n            given",
        "        if before is not None and before.folder.exists():\n            given",
        (f"{CHAIN[0]}::test_a_phase_must_be_named_where_there_are_several",),
    ),
    Mutant(
        "the start of a training is not looked at again",
        "jobs/train.py",
        "        elif self.start is not None:\n",
        "        elif self.start == Path():\n",
        (f"{CHAIN[0]}::test_a_training_may_start_from_any_checkpoint",),
    ),
    Mutant(
        "all trainings of a work folder share what they begin from",
        "pipeline/train/run_options.py",
        'return self.out / "start"',
        'return self.out.with_name("start")',
        (f"{CHAIN[0]}::test_a_training_may_start_from_any_checkpoint",),
    ),
)
