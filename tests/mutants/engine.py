"""Ways to break what a step leaves behind, what it does without, and what is measured before the first one."""

from tests.mutants.mutant import Mutant

STEP = "tests/pipeline/train/test_step.py"
AGAIN = (f"{STEP}::test_a_step_taken_again_has_the_same_gradient",)
FEED = ("tests/pipeline/train/dataloader/test_step_dataset.py",)
UNREADABLE = "tests/pipeline/train/dataloader/test_unreadable.py"
MEASURE = "tests/pipeline/train/dataloader/test_token_counts.py"

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
        "pipeline/train/collectives.py",
        "total = tensor.clone()",
        "total = tensor",
        (f"{AGAIN[0]}[frozen-0]",),
    ),
    Mutant(
        "a pair without its positive is still a query",
        "pipeline/train/global_batch.py",
        "whole = there[:num_pairs] & there[num_pairs : 2 * num_pairs]",
        "whole = there[:num_pairs]",
        ("tests/pipeline/train/test_global_batch.py",),
    ),
    Mutant(
        "what cannot be read counts in the contrastive loss",
        "pipeline/train/global_batch.py",
        "there = items != 0\n",
        "there = items == items\n",
        (f"{UNREADABLE}::test_a_step_without_what_it_cannot_read_has_the_gradient_of_the_rest",),
    ),
    Mutant(
        "a rank knows only its own unreadable rows",
        "pipeline/train/loop.py",
        "of_all_ranks(work.unreadable)",
        "work.unreadable",
        (f"{UNREADABLE}::test_two_ranks_leave_out_what_one_does_and_a_resumed_run_too",),
    ),
    Mutant(
        "a resumed run lists unreadable rows twice",
        "pipeline/train/loop.py",
        "            drop_after(self.paths.unreadable, step)\n",
        "",
        (f"{UNREADABLE}::test_two_ranks_leave_out_what_one_does_and_a_resumed_run_too",),
    ),
    Mutant(
        "a resumed run forgets how much it could not read",
        "pipeline/train/dataloader/unreadable.py",
        "for line in lines_until(file, step)",
        "for line in lines_until(file, -1)",
        (f"{UNREADABLE}::test_rows_are_counted_once_and_remembered",),
    ),
    Mutant(
        "one core for a rank and its loader without a word",
        "launchers/slurm_train.sh",
        '[ "${SLURM_CPUS_PER_TASK:-1}" -gt 1 ]',
        '[ "${SLURM_CPUS_PER_TASK:-1}" -gt 0 ]',
        ("tests/launchers/test_slurm_script.py",),
    ),
    Mutant(
        "a killed count begins anew",
        "pipeline/train/dataloader/token_counts.py",
        "if not _is_whole(folder / part_name(part), len(part))]",
        "if part]",
        (f"{MEASURE}::test_a_killed_count_goes_on_with_the_parts_that_are_missing",),
    ),
    Mutant(
        "half a part is taken for a whole one",
        "pipeline/train/dataloader/token_counts.py",
        "return file.exists() and len(read_lengths(file, num_rows)) == num_rows",
        "return file.exists()",
        (f"{MEASURE}::test_a_killed_count_goes_on_with_the_parts_that_are_missing",),
    ),
    Mutant(
        "every slice counts everything",
        "pipeline/train/dataloader/token_counts.py",
        "part_rows(len(index))[slice_index::num_slices]",
        "part_rows(len(index))",
        (f"{MEASURE}::test_slices_are_one_table",),
    ),
    Mutant(
        "the gate of a layout is always open",
        "pipeline/train/dataloader/step_dataset.py",
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
    Mutant(
        "a training that ended stays in memory",
        "pipeline/train/loop.py",
        "run.engine.released(), ",
        "",
        ("tests/pipeline/train/test_loop.py::test_a_training_that_ended_leaves_nothing_in_memory",),
    ),
)
