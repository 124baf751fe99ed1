"""Ways to break the count of operations, the forecast of memory, and what is said where it does not suffice."""

from tests.mutants.mutant import Mutant

_FLOPS, _ROWS, _OOM = (
    "pipeline/train/flops.py",
    "pipeline/train/forecast/assumed_rows.py",
    "pipeline/train/fault_tolerance/out_of_memory.py",
)
_TRACE, _PREFLIGHT = "pipeline/train/forecast/trace.py", "pipeline/train/forecast/forecast.py"
FIGURES = "tests/pipeline/train/test_step_metrics.py"
COUNTED = (f"{FIGURES}::test_operations_of_a_chunk_are_torchs_own_count",)
WINDOWS = (f"{FIGURES}::test_attention_inside_windows_is_torchs_own_count",)
STEP = (f"{FIGURES}::test_passes_of_a_step_by_hand",)
PREFLIGHT = "tests/pipeline/train/forecast/test_forecast.py"
PREFLIGHT_WORK = "tests/pipeline/train/forecast/test_forecast_work.py"
WORK = (f"{PREFLIGHT_WORK}::test_the_forecast_s_work_is_what_the_log_says_and_torch_counts",)
TOWER = (f"{PREFLIGHT}::test_bytes_that_a_trained_tower_keeps_are_those_measured",)
PUBLISHED = (f"{PREFLIGHT}::test_a_trained_tower_does_not_fit_where_a_frozen_one_does",)
MOMENTS = (f"{PREFLIGHT}::test_the_largest_moment_counts_and_slack_is_a_share_of_it",)
CHECKPOINT = (f"{PREFLIGHT}::test_a_checkpoint_takes_one_tensor_of_the_device_and_twelve_bytes_a_weight_of_the_host",)
MEMORY = ("tests/pipeline/train/fault_tolerance/test_out_of_memory.py",)

MUTANTS = (
    Mutant("flops: adapters have no gradient", _FLOPS, "+ weight.requires_grad))", "+ (weight.numel() > 1024)))", COUNTED),
    Mutant("flops: pixels have a gradient", _FLOPS, 'applied != "pixels"', "True", COUNTED),
    Mutant("flops: a frozen tower has gradients", _FLOPS, "    if not trains:\n", "    if False:\n", COUNTED),
    Mutant("flops: a layer runs again to its end", _FLOPS, "0.0 if is_last else", "", COUNTED),
    Mutant("flops: layers never run again", _FLOPS, "(text.again + tower.again if", "(0.0 if", COUNTED),
    Mutant("flops: a checkpointed tower never runs again", _FLOPS, "(text.again + tower.again if", "(text.again if", COUNTED),
    Mutant("flops: logits of a trained head once", _FLOPS, "scored.forward * head.requires_grad", "0.0", COUNTED),
    Mutant("flops: a frozen head trained", _FLOPS, "_map(head)", "_map(head.detach().requires_grad_())", COUNTED),
    Mutant("flops: attention without its causal half", _FLOPS, "(lengths * (lengths + 1) / 2)", "(lengths * lengths)", COUNTED),
    Mutant("flops: one gradient of attention", _FLOPS, "2 * products, products)", "products, products)", COUNTED),
    Mutant("flops: attention halved", _FLOPS, "products = 4.0 * width", "products = 2.0 * width", COUNTED),
    Mutant("flops: windows see the whole picture", _FLOPS, "        if not self.shape.window:\n", "        if True:\n", WINDOWS),
    Mutant(
        "flops: no window is cut", _FLOPS, "+ sides.remainder(window).square()", "+ sides.remainder(window) * window", WINDOWS
    ),
    Mutant("flops: the first pass is blind", _FLOPS, "return text + self.tower(prefix).forward if", "return text if", STEP),
    Mutant(
        "flops: the first chunks are the kept ones", _FLOPS, "is_kept=index >= first_kept", "is_kept=index < first_kept", STEP
    ),
    Mutant("forecast: no rank but the first", _PREFLIGHT, "for chunks in steps), Flops", "for chunks in steps[:0]), Flops", WORK),
    Mutant(
        "forecast: rows in no order of length",
        _ROWS,
        "chunk_by_tokens([rows[place] for place in hand], budget)",
        "([rows[place]] for place in hand)",
        (f"{PREFLIGHT_WORK}::test_ranks_are_dealt_all_rows_and_cut_them_as_training_does",),
    ),
    Mutant("forecast: a trained tower keeps nothing", _TRACE, "    if not any(", "    if True or any(", TOWER),
    Mutant(
        "forecast: attention in the tower keeps nothing",
        "pipeline/model/outline.py",
        "return out.reshape(count, places, *out.shape[1:]), None",
        "return torch.empty_like(query).transpose(1, 2), None",
        PUBLISHED,
    ),
    Mutant(
        "forecast: one picture a chunk",
        _PREFLIGHT,
        "        tower=worst.tower * graphs,",
        "        tower=worst.tower // 8,",
        PUBLISHED,
    ),
    Mutant(
        "forecast: kept chunks take no memory",
        _PREFLIGHT,
        "max(1, min(phase.budget.kept, max(map(len, steps))))",
        "1",
        (f"{PREFLIGHT}::test_what_a_batch_takes_by_hand",),
    ),
    Mutant("forecast: no slack", _PREFLIGHT, "SLACK = 0.05", "SLACK = 0.0", MOMENTS),
    Mutant(
        "forecast: a checkpoint takes no memory",
        _PREFLIGHT,
        "max(self.step.total, self.look, self.checkpoint)",
        "max(self.step.total, self.look)",
        MOMENTS,
    ),
    Mutant(
        "forecast: a look takes no memory",
        _PREFLIGHT,
        "max(self.step.total, self.look, self.checkpoint)",
        "max(self.step.total, self.checkpoint)",
        MOMENTS,
    ),
    Mutant("forecast: a checkpoint has weights alone", _PREFLIGHT, "SAVED_BYTES = 12", "SAVED_BYTES = 4", CHECKPOINT),
    Mutant(
        "forecast: all trained tensors whole at once",
        _PREFLIGHT,
        "checkpoint=max(weights.trained, default=0)",
        "checkpoint=sum(weights.trained)",
        CHECKPOINT,
    ),
    Mutant(
        "a full GPU is a traceback",
        "pipeline/train/loop.py",
        "with naming_settings(run.chunks.recipe), run.engine.released(), run.writer:",
        "with run.engine.released(), run.writer:",
        MEMORY,
    ),
    Mutant("a full GPU: what is low already is named", _OOM, "if phase.zero_stage < 3 else []", "", MEMORY),
    Mutant("a full GPU: a page of text", _OOM, '.split(". GPU ")[0].splitlines()[0]', "", MEMORY),
    Mutant(
        "the user's allocator is overruled",
        "pipeline/train/local_ranks.py",
        '"PYTORCH_CUDA_ALLOC_CONF" in variables or ',
        "",
        ("tests/pipeline/train/test_local_ranks.py", "-k", "segments"),
    ),
    Mutant(
        "segments do not grow under Slurm",
        "launchers/slurm_train.sh",
        "-expandable_segments:True}",
        "-expandable_segments:False}",
        ("tests/launchers/test_slurm_script.py", "-k", "segments"),
    ),
    Mutant(
        "forecast forgets that ranks share the optimizer",
        "pipeline/train/forecast/memory.py",
        "    own = flat // num_ranks\n",
        "    own = flat\n",
        (f"{PREFLIGHT}::test_a_hand_worked_model",),
    ),
    Mutant(
        "forecast forgets masters in float32",
        "pipeline/train/forecast/memory.py",
        "    optimizer = 3 * own * FLOAT32\n",
        "    optimizer = 2 * own * FLOAT32\n",
        (f"{PREFLIGHT}::test_state_bytes_are_those_of_real_tensors",),
    ),
    Mutant(
        "meter counts a storage as often as it is saved",
        "pipeline/train/forecast/saved_bytes.py",
        "if self._holders[storage] == 1:",
        "if self._holders[storage]:",
        (f"{PREFLIGHT}::test_the_meter_counts_each_storage_once_and_forgets_freed_graphs",),
    ),
    Mutant(
        "what cannot fit is let through",
        "pipeline/train/forecast/forecast.py",
        "if memory.total <= room:",
        "if memory.total <= 10 * room:",
        (f"{PREFLIGHT}::test_what_cannot_fit_is_refused_in_one_line",),
    ),
)
