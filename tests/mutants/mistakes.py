"""Mutants of what is said to users who make mistakes with names and places."""

from tests.mutants.mutant import Mutant

STAGE = "tests/jobs/test_evaluate.py"

MUTANTS = (
    Mutant(
        "heads of any width are taken",
        "pipeline/recipe.py",
        "if width % multiple or width < least:",
        "if False:",
        ("tests/data_prep/test_tiny_model.py",),
    ),
    Mutant(
        "the hint names the first phase",
        "pipeline/train/loop.py",
        "check_datasets(index, self.phase.mixture, self.recipe.phase_path)",
        'check_datasets(index, self.phase.mixture, "phases.0")',
        ("tests/pipeline/train/test_loop.py::test_a_hint_names_the_phase_that_is_trained",),
    ),
    Mutant(
        "a model that was never made is gone",
        "jobs/model.py",
        "    if folder != context.model:\n",
        "    if True:\n",
        ("tests/jobs/test_chain.py::test_a_model_folder_is_pointed_to_and_missed_when_it_goes",),
    ),
    Mutant(
        "a benchmark's set that came in part is left out unsaid",
        "pipeline/data/mmeb_eval.py",
        'dataset_names(root / EVAL, "*parquet*")',
        'dataset_names(root / EVAL, "test-*.parquet")',
        (f"{STAGE}::test_a_set_that_came_in_part_costs_that_set",),
    ),
    Mutant(
        "an empty folder of questions ends an evaluation",
        "jobs/evaluate.py",
        'if "questions" in self.choice.only else',
        "if (data / FOLDER).is_dir() else",
        (f"{STAGE}::test_an_empty_folder_of_questions_costs_nothing_else",),
    ),
    Mutant(
        "a report takes any checkpoint for its training's",
        "jobs/report.py",
        'if "checkpoint" in measured.inputs',
        "if False",
        (f"{STAGE}::test_the_page_says_that_a_checkpoint_was_named",),
    ),
    Mutant(
        "conversations under another name are left out unsaid",
        "pipeline/data/sharegpt4v_release.py",
        "if path.is_file() and path not in read",
        "if False",
        ("tests/data_prep/test_check_inputs.py::test_a_file_under_another_name_is_said",),
    ),
    Mutant(
        "of two evaluations that end together one forgets the other's result",
        "eval/measurement.py",
        "            wait_for(lock)",
        "            pass",
        ("tests/eval/test_measurement.py::test_results_of_processes_that_end_together_are_all_found",),
    ),
    Mutant(
        "an evaluation of nothing is done",
        "jobs/evaluate.py",
        "if not any(chosen.values()):",
        "if False:",
        (f"{STAGE}::test_a_choice_that_holds_nothing_is_refused",),
    ),
    Mutant(
        "a byte order mark makes datasets.json unreadable",
        "pipeline/data/mmeb_eval.py",
        'encoding="utf-8-sig"',
        'encoding="utf-8"',
        ("tests/pipeline/data/test_mmeb_eval.py::test_describe",),
    ),
)
