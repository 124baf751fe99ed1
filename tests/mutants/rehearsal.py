"""A rehearsal: real shapes, and what a step computes kept."""

from tests.mutants.mutant import Mutant

SHAPES = ("tests/data_prep/test_published_shapes.py",)
REHEARSE = ("tests/jobs/test_rehearse.py",)

MUTANTS = (
    Mutant(
        "rehearsal without a GPU: bfloat16 stays",
        "jobs/rehearse.py",
        'replace(phase, dtype="float32")',
        "replace(phase, dtype=phase.dtype)",
        ("tests/jobs/test_rehearse.py::test_without_a_gpu_a_step_is_made_small_and_it_is_said",),
    ),
    Mutant(
        "rehearsal without a GPU: what the user says is changed",
        "jobs/rehearse.py",
        "if visual is None and few < shown:",
        "if few < shown:",
        ("tests/jobs/test_rehearse.py::test_what_the_user_says_stays_without_a_gpu_too",),
    ),
    Mutant(
        "rehearsal: a phase alone begins at an earlier one",
        "jobs/rehearse.py",
        '        start="merged",',
        "       ",
        ("tests/jobs/test_rehearse.py::test_what_a_step_computes_is_the_recipes",),
    ),
    Mutant(
        "InternVL3's head is its table",
        "data_prep/published_shapes.py",
        '"downsample_ratio": 0.5,\n        "tie_word_embeddings": False,',
        '"downsample_ratio": 0.5,\n        "tie_word_embeddings": True,',
        SHAPES,
    ),
    Mutant(
        "a published shape of tiles is read as patches",
        "data_prep/published_shapes.py",
        "(_TILE_IDS if tiles else _PATCH_IDS)",
        "_PATCH_IDS",
        SHAPES,
    ),
    Mutant(
        "a dry run of a published shape wants its folder",
        "launchers/preflight.py",
        "backbone.name in SHAPES and not is_there:",
        "backbone.name in SHAPES and is_there:",
        ("tests/launchers/test_preflight.py::test_a_dry_run_of_a_published_shape_needs_no_folder",),
    ),
    Mutant(
        "a shape of another width",
        "data_prep/published_shapes.py",
        "feed_forward=11008",
        "feed_forward=11010",
        SHAPES,
    ),
    Mutant(
        "random weights in float32",
        "data_prep/published_shapes.py",
        "AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16)",
        "AutoModelForImageTextToText.from_config(config, dtype=torch.float32)",
        SHAPES,
    ),
    Mutant(
        "rehearsal: always the first phase",
        "jobs/rehearse.py",
        "recipe.until(phase or recipe.phases[0].name).phase",
        "recipe.until(recipe.phases[0].name).phase",
        REHEARSE,
    ),
    Mutant(
        "rehearsal: runs that do not divide the pairs",
        "jobs/rehearse.py",
        "if pairs % size == 0)",
        "if size)",
        REHEARSE,
    ),
    Mutant(
        "rehearsal: pictures are drawn before a shape is looked up",
        "jobs/rehearse.py",
        "        shape_of(context.recipe.backbone.name)\n",
        "        pass\n",
        REHEARSE,
    ),
    Mutant(
        "rehearsal: the first step counts",
        "jobs/rehearse.py",
        "counted = lines[FIRST_STEPS:] or lines",
        "counted = lines",
        REHEARSE,
    ),
    Mutant(
        "a training that was told to stop is done",
        "jobs/train.py",
        "if state.step < self.recipe.phase.steps:",
        "if state.step < 0:",
        REHEARSE,
    ),
    Mutant(
        "the training before the interruption stays in memory",
        "jobs/rehearse.py",
        "    gc.collect()\n",
        "",
        ("tests/jobs/test_rehearse.py",),
    ),
    Mutant(
        "a rehearsal's memory is that of two trainings",
        "jobs/rehearse.py",
        'line["peak_memory_gib"] for line in self.steps[:-1])',
        'line["peak_memory_gib"] for line in self.steps)',
        ("tests/jobs/test_rehearse.py",),
    ),
)
