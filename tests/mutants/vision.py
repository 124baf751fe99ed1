"""What is seen of pictures: shrinkers, counts and positions of visual tokens, families."""

from tests.mutants.mutant import Mutant

SHRINKERS = "tests/pipeline/model/test_shrinkers.py"
QWEN3, INTERNVL = "tests/pipeline/model/test_qwen3_vl.py", "tests/pipeline/model/test_internvl.py"
_SHRINKERS, _TOKENS = "pipeline/model/shrinkers.py", "pipeline/visual_tokens.py"

MUTANTS = (
    Mutant(
        "shrinker: merge order is not undone",
        _SHRINKERS,
        "return cut.permute(0, 5, 1, 3, 2, 4).reshape(count, width, rows, columns)",
        "return states.reshape(count, rows, columns, width).permute(0, 3, 1, 2)",
        (f"{SHRINKERS}::test_patches_are_shrunk_as_they_lie_in_the_picture",),
    ),
    Mutant(
        "shrinker: what is left is not in merge order",
        _SHRINKERS,
        "return cut.permute(0, 2, 4, 3, 5, 1).reshape(-1, width)",
        "return planes.permute(0, 2, 3, 1).reshape(-1, width)",
        (f"{SHRINKERS}::test_patches_are_shrunk_as_they_lie_in_the_picture",),
    ),
    Mutant(
        "shrinker: the factor on one axis",
        _TOKENS,
        "grids[:, 1:] = self.shrinker.side(grids[:, 1:])",
        "grids[:, 1] = self.shrinker.side(grids[:, 1])",
        (f"{SHRINKERS}::test_numbers_of_tokens_worked_by_hand",),
    ),
    Mutant(
        "shrinker: positions of all tokens",
        _TOKENS,
        "in zip(image_starts, self.grids(grid_thw).tolist(), strict=True):",
        "in zip(image_starts, VisualTokens(merge=self.merge).grids(grid_thw).tolist(), strict=True):",
        (f"{SHRINKERS}::test_positions_worked_by_hand",),
    ),
    Mutant(
        "shrinker: halves of a side go down",
        _SHRINKERS,
        "np.floor(tokens / self.factor + 0.5)",
        "np.floor(tokens / self.factor)",
        (f"{SHRINKERS}::test_numbers_of_tokens_worked_by_hand",),
    ),
    Mutant(
        "shrinker: bilinear by corners",
        _SHRINKERS,
        "align_corners=False",
        "align_corners=True",
        (f"{SHRINKERS}::test_patches_are_shrunk_as_they_lie_in_the_picture",),
    ),
    Mutant(
        "shrinker: no gradient passes",
        _SHRINKERS,
        "_laid_out(states[start:stop].reshape",
        "_laid_out(states[start:stop].detach().reshape",
        (f"{SHRINKERS}::test_gradients_pass_through_a_linear_map",),
    ),
    Mutant(
        "shrinker: the model's builder knows nothing of it",
        "pipeline/model/backbone.py",
        "rule=self.family.rule, shrinker=shrinker)",
        "rule=self.family.rule)",
        (f"{SHRINKERS}::test_the_model_reads_shrunken_pictures_at_shrunken_positions",),
    ),
    Mutant(
        "shrinker: tables of lengths are shared by factors",
        "pipeline/train/dataloader/token_counts.py",
        "shapes += [] if shrinker in (None, KEEP_ALL) else [shrinker]",
        "shapes += []",
        (f"{SHRINKERS}::test_lengths_know_what_is_left",),
    ),
    Mutant(
        "shrinker: an export's reader keeps all tokens",
        "pipeline/export.py",
        "vision=type(model.recipe.vision).__name__,",
        'vision="KeepAll",',
        ("tests/pipeline/test_export.py::test_another_program_makes_the_same_embeddings[fewer visual tokens]",),
    ),
    Mutant(
        "shrinker: one level of features keeps all tokens",
        "pipeline/model/families/qwen_vl.py",
        "left = [shrink_patches(level, grid_thw, merge, shrinker) for level in states]",
        "left = [shrink_patches(level, grid_thw, merge, shrinker) for level in states]\n"
        "        left[-1] = states[-1][: len(left[-1])]",
        (f"{QWEN3}::test_every_level_is_shrunk",),
    ),
    Mutant(
        "Qwen3-VL: pictures are poorer by their further levels",
        "pipeline/model/embedder.py",
        "return Inputs(placed, places, tuple(deeper)) if deeper else Inputs(placed)",
        "return Inputs(placed)",
        (f"{QWEN3}::test_states_are_those_of_transformers_own_forward",),
    ),
    Mutant(
        "Qwen3-VL: the levels in another order",
        "pipeline/model/families/qwen3_vl.py",
        "[output.pooler_output, *output.deepstack_features]",
        "[output.pooler_output, *output.deepstack_features[::-1]]",
        (f"{QWEN3}::test_states_are_those_of_transformers_own_forward",),
    ),
    Mutant(
        "pictures for patches of another size are cut askew",
        "pipeline/train/build.py",
        "        if ours != theirs:\n",
        "        if False:\n",
        (f"{QWEN3}::test_patches_of_another_size_are_refused_by_the_field",),
    ),
    Mutant(
        "InternVL: shrunk behind the shuffle's columns",
        "pipeline/model/families/internvl.py",
        "planes.permute(0, 3, 1, 2).float(), (left, left)).to(states.dtype).permute(0, 2, 3, 1)",
        "planes.permute(0, 3, 2, 1).float(), (left, left)).to(states.dtype).permute(0, 2, 3, 1)",
        (f"{INTERNVL}::test_tiles_are_shrunk_before_the_shuffle",),
    ),
    Mutant(
        "InternVL: no thumbnail",
        "pipeline/model/tiles.py",
        "cut = np.concatenate([cut, np.asarray(thumbnail)])",
        "cut = np.concatenate([cut, cut[: self.side]])",
        (f"{INTERNVL}::test_tiles_are_the_processors_bit_for_bit",),
    ),
    Mutant(
        "InternVL: tiles column by column",
        "pipeline/model/tiles.py",
        "transpose(0, 2, 1, 3, 4).reshape(-1, self.side, 3)",
        "transpose(2, 0, 1, 3, 4).reshape(-1, self.side, 3)",
        (f"{INTERNVL}::test_tiles_are_the_processors_bit_for_bit",),
    ),
    Mutant(
        "InternVL: positions of a grid",
        "pipeline/model/families/internvl.py",
        'rule = "text"',
        'rule = "mrope"',
        (f"{INTERNVL}::test_states_are_those_of_transformers_own_forward",),
    ),
    Mutant(
        "a dataset's tiles are forgotten when rows are counted",
        "pipeline/train/dataloader/token_counts.py",
        "limits = self.pixels.of(self.phase, sample.dataset)",
        "limits = self.pixels",
        (f"{INTERNVL}::test_lengths_know_tiles_of_a_phase_and_of_a_dataset",),
    ),
    Mutant(
        "mining sees one tile of every picture",
        "jobs/mine.py",
        "shown = pixels.of(phase, dataset)",
        "shown = pixels",
        (f"{INTERNVL}::test_mining_sees_the_tiles_of_a_dataset_that_its_training_sees",),
    ),
)
