"""Ways to break what all ranks must do alike, how often gradients cross them, and how a run ends while it writes."""

from tests.mutants.mutant import Mutant

_ENGINE, _WRITER = "pipeline/train/engine.py", "pipeline/train/checkpoint_writer.py"
SEQUENCE = "tests/pipeline/train/test_collective_sequence.py"
TWO = (f"{SEQUENCE}::test_two_ranks_call_alike",)
WRITER = "tests/pipeline/train/test_checkpoint_writer.py"
FORECAST = "tests/pipeline/train/forecast/test_forecast.py"
LOOP = "tests/pipeline/train/test_loop.py"
SLOWEST = "tests/pipeline/train/test_slowest_rank.py"

MUTANTS = (
    Mutant(
        "a rank without pictures skips the trained tower",
        _ENGINE,
        "module.always_use_tower = self.num_ranks > 1 and tower_trains",
        "module.always_use_tower = False",
        TWO,
    ),
    Mutant(
        "rank 0 alone gathers a checkpoint",
        _ENGINE,
        "        for name, parameter in self.named.items():\n            self._copy_to_host(weights",
        "        for name, parameter in self.named.items() if self.rank == 0 else ():\n            self._copy_to_host(weights",
        TWO,
    ),
    Mutant(
        "a rank with fewer chunks leaves its dummy calls out",
        "pipeline/train/step.py",
        "    num_dummies = max(1, max_over_ranks(len(order))) - len(order)\n",
        "    num_dummies = 0 * max_over_ranks(len(order))\n",
        TWO,
    ),
    Mutant(
        "the rank that hears the signal stops alone",
        "pipeline/train/loop.py",
        "if total.asked_to_stop and step + 1 < end:",
        "if self.note.asked and step + 1 < end:",
        TWO,
    ),
    Mutant(
        "who has no write in hand asks no rank for its own",
        _WRITER,
        "        if on_any_rank(problem is not None):",
        "        if self.engine.rank == 0 and on_any_rank(problem is not None):",
        TWO,
    ),
    Mutant(
        "whole gradients are reduced for each chunk",
        _ENGINE,
        "self.deepspeed.set_gradient_accumulation_boundary(last)",
        "self.deepspeed.set_gradient_accumulation_boundary(True)",
        (f"{SEQUENCE}::test_gradients_are_reduced_once_a_step_where_they_are_whole",),
    ),
    Mutant(
        "small weights are cut up under ZeRO-3",
        _ENGINE,
        '"stage3_param_persistence_threshold": PERSISTENT,',
        '"stage3_param_persistence_threshold": 0,',
        (f"{SEQUENCE}::test_small_weights_are_gathered_once_a_step_under_zero_3",),
    ),
    Mutant(
        "the forecast cuts small weights up",
        "pipeline/train/forecast/memory.py",
        "weights=(inside + persistent + ",
        "weights=(inside + ",
        (f"{FORECAST}::test_a_hand_worked_model",),
    ),
    Mutant(
        "the forecast has no copy of what is reduced",
        "pipeline/train/forecast/memory.py",
        "optimizer=3 * own * FLOAT32, buffers=copied)",
        "optimizer=3 * own * FLOAT32, buffers=0)",
        (f"{FORECAST}::test_buffers_are_what_is_reduced",),
    ),
    Mutant(
        "the first line names the stage that was asked for alone",
        "pipeline/train/run_header.py",
        'named = f"{phase.zero_stage}" if run == phase.zero_stage else f"{phase.zero_stage}, run as {run}"',
        'named = f"{phase.zero_stage}"',
        (f"{LOOP}::test_the_first_line_says_which_stage_runs",),
    ),
    Mutant(
        "DeepSpeed prints its memory on stdout",
        _ENGINE,
        "with redirect_stdout(StringIO()):",
        "if True:",
        ("tests/pipeline/train/fault_tolerance/test_guards.py::test_deepspeed_prints_nothing_between_a_commands_lines",),
    ),
    Mutant(
        "a failed write is lost to another error",
        _WRITER,
        "        if problem is not None:\n            logger.error",
        "        if False:\n            logger.error",
        (f"{WRITER}::test_a_write_that_failed_is_told_where_another_error_ends_the_run",),
    ),
    Mutant(
        "a second Ctrl-C waits for the disk",
        _WRITER,
        "if self._writing is None or kind is KeyboardInterrupt:",
        "if self._writing is None:",
        (f"{WRITER}::test_a_second_ctrl_c_waits_for_no_write",),
    ),
    Mutant(
        "the model folder is noted when the first checkpoint is written",
        _WRITER,
        'model_digest=self.model_digest.result() if self.model_digest else "")',
        "model_digest=fingerprint(folder_digests(self.paths.model)))",
        (f"{WRITER}::test_the_model_folder_is_noted_as_it_was_at_the_start",),
    ),
    Mutant(
        "model folders that are gone are all equal",
        "pipeline/model/backbone.py",
        '    if not files:\n        raise CheckpointError(f"{path}: there is no file',
        '    if False:\n        raise CheckpointError(f"{path}: there is no file',
        (f"{WRITER}::test_a_model_folder_that_is_gone_has_no_digest",),
    ),
    Mutant(
        "a wait in the sum of gradients counts as the rank's own work",
        _ENGINE,
        "when=not last and self.zero_stage < 2",
        "when=True",
        (f"{SLOWEST}::test_two_ranks_find_the_one_that_is_slowed",),
    ),
    Mutant(
        "all ranks' own seconds are noted as one rank's",
        "pipeline/train/step_metrics.py",
        "by_rank[engine.rank] =",
        "by_rank[0] =",
        ("tests/pipeline/train/test_step_metrics.py::test_each_rank_s_own_seconds_keep_their_place",),
    ),
    Mutant(
        "a rank that waits for its data is not slow",
        "pipeline/train/step_metrics.py",
        "clock.waited + clock.computed",
        "clock.computed",
        ("tests/pipeline/train/test_step_metrics.py::test_each_rank_s_own_seconds_keep_their_place",),
    ),
    Mutant(
        "one slow step makes a rank the slowest",
        "pipeline/train/slowest_rank.py",
        "usual = [median(rank)",
        "usual = [max(rank)",
        (f"{SLOWEST}::test_the_slowest_rank_by_hand",),
    ),
    Mutant(
        "a GPU's milliseconds are seconds",
        "pipeline/train/own_time.py",
        "in self._events)) / 1000",
        "in self._events))",
        (f"{SLOWEST}::test_on_a_gpu_events_tell",),
    ),
)
