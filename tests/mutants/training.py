"""Ways to break the step and the engine: gradients, sums over ranks, features, replays, what is built, and its figures."""

from tests.mutants.mutant import Mutant

STEP = "tests/pipeline/train/test_step.py"
TWO_RANKS = (f"{STEP}::test_two_ranks_have_the_full_batch_gradient_at_every_zero_stage",)
CACHED = (f"{STEP}::test_cached_gradients_equal_the_full_batch",)
BUILD = ("tests/pipeline/train/test_build.py",)
HALF = (f"{STEP}::test_half_precision_gradients_are_added_up_in_float32",)
FEATURES = ("tests/pipeline/train/test_vision_features.py",)
REPLAY = ("tests/pipeline/train/test_replay.py",)
COMPONENTS = "tests/pipeline/train/test_components.py"
LOOP = "tests/pipeline/train/test_loop.py"
HELD_OUT = ("tests/pipeline/train/test_held_out.py",)

MUTANTS = (
    Mutant("world-size scale dropped", "pipeline/train/engine.py", "loss * self.num_ranks", "loss", TWO_RANKS),
    Mutant(
        "no accumulation boundary",
        "pipeline/train/engine.py",
        "set_gradient_accumulation_boundary(last)",
        "set_gradient_accumulation_boundary(True)",
        TWO_RANKS,
    ),
    Mutant(
        "unit count local instead of global",
        "pipeline/train/step.py",
        "units = sum_over_ranks(work.units.to(engine.device))",
        "units = work.units.to(engine.device)",
        TWO_RANKS,
    ),
    Mutant(
        "chunks added up in bfloat16",
        "pipeline/train/engine.py",
        '"grad_accum_dtype": "fp32"',
        '"grad_accum_dtype": "bf16"',
        HALF,
    ),
    Mutant(
        "chunks added up again and again at stage 1",
        "pipeline/train/engine.py",
        '"immediate_grad_update": True',
        '"immediate_grad_update": False',
        HALF,
    ),
    Mutant(
        "DeepSpeed's own ZeRO 0 in bfloat16",
        "pipeline/train/engine.py",
        """return phase.zero_stage or int(phase.dtype == "bfloat16")""",
        "return phase.zero_stage",
        HALF,
    ),
    Mutant(
        "a question without an answer passes",
        "pipeline/train/step.py",
        "work.asks and not units.any()",
        "work.asks and False",
        (f"{STEP}::test_a_weighted_loss_without_a_value_is_an_error",),
    ),
    Mutant(
        "two moves a global batch",
        "pipeline/train/step.py",
        "    norm = engine.step(learning_rate)",
        "    engine.step(learning_rate)\n    norm = engine.step(learning_rate)",
        (f"{STEP}::test_two_ranks_train_as_one",),
    ),
    Mutant(
        "tower runs in both passes",
        "pipeline/train/vision_features.py",
        "if chunk not in self.made:",
        "if True:",
        FEATURES,
    ),
    Mutant(
        "features of other rows",
        "pipeline/train/vision_features.py",
        "features[chunk.prefix_features.to(features.device)]",
        "features[: len(chunk.prefix_features)]",
        FEATURES,
    ),
    Mutant("features never freed", "pipeline/train/vision_features.py", "self.made.pop(chunk, None)", "pass", FEATURES),
    Mutant(
        "frozen tower stays inside",
        "pipeline/train/engine.py",
        "Inside(module if self.zero_stage < 3 else None) if tower_trains else _take_tower_out(module, phase)",
        "Inside()",
        FEATURES,
    ),
    Mutant("dropout off in training", "pipeline/train/engine.py", "self.deepspeed.train()", "self.deepspeed.eval()", REPLAY),
    Mutant(
        "layers keep everything",
        "pipeline/train/engine.py",
        "if phase.gradient_checkpointing:",
        "if phase.gradient_checkpointing and False:",
        REPLAY,
    ),
    Mutant(
        "embeddings of other ranks missing",
        "pipeline/train/step.py",
        "return kept, sum_over_ranks(embeddings)",
        "return kept, embeddings",
        TWO_RANKS,
    ),
    Mutant(
        "generation loss never back-propagated",
        "pipeline/train/step.py",
        "work.language_weight * sums.sum()",
        "work.language_weight * sums.sum().detach()",
        CACHED,
    ),
    Mutant(
        "contrastive gradient dropped",
        "pipeline/train/step.py",
        "(outputs.embeddings * cached).sum()",
        "0.0 * outputs.embeddings.sum()",
        CACHED,
    ),
    Mutant(
        "chunk gradients not added",
        "pipeline/train/step.py",
        "for turn, index in enumerate(order):",
        "for place, index in enumerate(order[-1:]):",
        CACHED,
    ),
    Mutant(
        "coin redrawn in the replay",
        "pipeline/train/dataloader/step_work.py",
        "full=pack_for(recipe, rows),",
        "full=pack_for(recipe, [replace(r, compressed=not r.compressed) for r in rows]),",
        CACHED,
    ),
    Mutant(
        "frozen tower trained",
        "pipeline/train/build.py",
        'backbone.tower.requires_grad_(recipe.phase.tower == "trained")',
        "backbone.tower.requires_grad_(True)",
        BUILD,
    ),
    Mutant(
        "adapters start unseeded",
        "pipeline/train/build.py",
        "torch.manual_seed(recipe.seed)",
        "torch.seed()",
        (f"{COMPONENTS}::test_a_variant_trains_resumes_and_is_served",),
    ),
    Mutant(
        "optimizer state not restored",
        "pipeline/train/engine.py",
        'state["step"].fill_(steps)',
        'state["step"].fill_(1)',
        ("tests/pipeline/train/test_loop.py::test_a_resumed_run_equals_the_unbroken_one_bit_for_bit",),
    ),
    Mutant(
        "skipped steps count for the optimizer",
        "pipeline/train/loop.py",
        "taken = state.step - state.skipped",
        "taken = state.step",
        (f"{LOOP}::test_a_skipped_step_is_remembered_by_a_resumed_run",),
    ),
    Mutant(
        "a patch meets the merger four times",
        "pipeline/train/flops.py",
        "self.tokens.counts(grid_thw.cpu().numpy()).sum()",
        "grid_thw.prod(dim=-1).sum()",
        ("tests/pipeline/train/test_step_metrics.py",),
    ),
    Mutant(
        "held-out answers with the coin turned over",
        "pipeline/batch.py",
        "(row.sequence.attention_roles(), False)",
        "(row.sequence.attention_roles(), row.has_compression)",
        HELD_OUT,
    ),
    Mutant(
        "held-out rows under dropout", "pipeline/train/held_out.py", "engine.module.eval()", "engine.module.train()", HELD_OUT
    ),
    Mutant(
        "temperature not logged",
        "pipeline/train/step_metrics.py",
        "{**phase.contrastive.logged(), **changing}",
        "changing",
        (f"{LOOP}::test_every_step_s_figures_go_to_the_file_and_to_the_tracker",),
    ),
    Mutant(
        "DeepSpeed's group gives up after ten minutes",
        "pipeline/train/engine.py",
        "dist.new_group(timeout=PATIENCE)",
        "dist.new_group()",
        ("tests/pipeline/train/test_step.py::test_every_group_of_ranks_has_the_runs_patience",),
    ),
    Mutant(
        "gradients of shared keys are rounded at every addition",
        "pipeline/model/varlen.py",
        "return total.index_add_(0, places, grad.float())",
        "return total.to(grad.dtype).index_add_(0, places, grad)",
        ("tests/pipeline/model/test_varlen.py",),
    ),
    Mutant(
        "one rank's cut answers are logged for all",
        "pipeline/train/step_metrics.py",
        '"cut_answers": total.cut_answers,',
        '"cut_answers": float(work.num_cut),',
        ("tests/pipeline/train/test_step_metrics.py",),
    ),
)
