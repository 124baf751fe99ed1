"""Ways to break the look at the held-out slice, its way to the ranks, and its forecast."""

from tests.mutants.mutant import Mutant

_LOOK, _WORK, _LOOP = "pipeline/train/held_out.py", "pipeline/train/dataloader/held_out_work.py", "pipeline/train/loop.py"
_DATASET, _FLOPS = "pipeline/train/dataloader/step_dataset.py", "pipeline/train/flops.py"
_ROWS, _FORECAST = "pipeline/train/forecast/assumed_rows.py", "pipeline/train/forecast/forecast.py"
_TESTS = "tests/pipeline/train/test_held_out.py"
ONCE = (f"{_TESTS}::test_each_picture_is_decoded_once_and_passes_the_tower_once",)
RANKS = (f"{_TESTS}::test_ranks_without_a_row_of_the_slice_have_the_figures_of_one_rank",)
TWO_RANKS = ("tests/pipeline/train/test_step.py::test_two_ranks_are_one_for_every_mixture_and_zero_stage",)
LOADERS = (f"{_TESTS}::test_loader_processes_decode_what_is_held_out",)
_FORECAST_TESTS = "tests/pipeline/train/forecast/test_forecast"
COUNTED = (f"{_FORECAST_TESTS}_work.py::test_the_forecast_s_held_out_look_is_what_torch_counts",)
DEALT = (f"{_FORECAST_TESTS}_work.py::test_a_held_out_look_is_dealt_to_the_ranks",)

MUTANTS = (
    Mutant(
        "held-out: every rank looks at all",
        _DATASET,
        "rows, unreadable = self._readable(self._own(plan), HELD_OUT)",
        "rows, unreadable = [self._row(planned, HELD_OUT) for planned in plan.sides], ()",
        ONCE,
    ),
    Mutant("held-out: dealt without costs", _DATASET, "deal([self._cost(planned) for planned", "deal([1.0 for planned", ONCE),
    Mutant(
        "held-out: the frozen tower in both passes",
        _LOOK,
        "batch = engine.vision.seen_once(chunk.compressed.to(engine.device))",
        "batch = chunk.compressed.to(engine.device)",
        ONCE,
    ),
    Mutant(
        "held-out: the trained tower in both passes",
        "pipeline/train/vision_features.py",
        "        if self.module is None or not batch.pixels:\n",
        "        if True:\n",
        ONCE,
    ),
    Mutant("held-out: a rank without rows takes no part", _LOOK, "in range(num_dummies)", "in range(0)", RANKS),
    Mutant(
        "held-out: losses of one rank", _LOOK, "self._language(sum_over_ranks(torch.cat(", "self._language((torch.cat(", RANKS
    ),
    Mutant(
        "held-out: embeddings of one rank",
        _LOOK,
        "self._contrastive(sum_over_ranks(embeddings)",
        "self._contrastive((embeddings)",
        TWO_RANKS,
    ),
    Mutant("held-out: named at every look", _LOOK, "if side not in self.named:", "if True:", RANKS),
    Mutant("held-out: named by every rank", _LOOK, "says=engine.rank == 0", "says=True", RANKS),
    Mutant(
        "held-out: no sides are left out",
        _LOOK,
        "if unreadable and not figures:",
        "if False:",
        (f"{_TESTS}::test_a_slice_of_which_nothing_can_be_read_ends_the_run",),
    ),
    Mutant(
        "held-out: read where the model trains",
        _LOOP,
        """        work, _ = _next(works)
        self.watch""",
        """        work, _ = self.dataset.held_out_work(), _next(works)
        self.watch""",
        LOADERS,
    ),
    Mutant(
        "held-out: no look for the best checkpoint",
        _LOOK,
        'phase.keep_best != "none" and done',
        "False and done",
        (f"{_TESTS}::test_a_look_is_due_when_asked_for_at_the_end_and_for_a_checkpoint_that_may_be_the_best",),
    ),
    Mutant(
        "held-out: a second pass for nothing",
        _WORK,
        "uncompressed_spans(rows, recipe.phase.layout) if is_scored else None",
        "uncompressed_spans(rows, recipe.phase.layout)",
        (f"{_TESTS}::test_a_look_at_pairs_without_questions_is_one_pass",),
    ),
    Mutant("forecast: a look is one pass", _FLOPS, "if full is None else [batch.spans, full]", "", COUNTED),
    Mutant("forecast: a look's tower twice", _FLOPS, "if self.tower_trains and phase.zero_stage == 3 else 1", "", COUNTED),
    Mutant(
        "forecast: every rank looks at all",
        _ROWS,
        "_dealt(num_ranks, pack_held_out_chunk)",
        "_dealt(1, pack_held_out_chunk)",
        DEALT,
    ),
    Mutant(
        "forecast: looks take no hours",
        _FORECAST,
        " + self.look_seconds * self.num_looks",
        "",
        (f"{_FORECAST_TESTS}.py::test_hours_and_pairs_by_hand",),
    ),
    Mutant(
        "forecast: a look keeps no features",
        _FORECAST,
        "max(worst.text_layer, worst.tower_layer, worst.head) + features",
        "max(worst.text_layer, worst.tower_layer, worst.head)",
        (f"{_FORECAST_TESTS}.py::test_what_a_batch_takes_by_hand",),
    ),
    Mutant(
        "a look for a checkpoint is counted beside the one that is due",
        "pipeline/train/held_out.py",
        "steps // saves - steps // math.lcm(looks, saves)",
        "steps // saves",
        ("tests/pipeline/train/test_held_out.py::test_the_looks_of_a_phase_are_counted_at_once",),
    ),
)
