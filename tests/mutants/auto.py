"""Ways to break what `auto` chooses, what ranks of a machine share, and the benchmark of finished chains."""

from tests.mutants.mutant import Mutant

_PLANNER, _RUN = "pipeline/train/forecast/chunk_planner.py", "pipeline/train/run_chunks.py"
_PLANNED, _RAN = "tests/pipeline/train/forecast/test_chunk_planner.py", "tests/pipeline/train/test_run_chunks.py"
HAND = (f"{_PLANNED}::test_the_choice_by_hand",)
CORRECTED = (f"{_PLANNED}::test_the_first_steps_correct_the_choice_by_hand",)
REPEATED = (f"{_RAN}::test_a_resume_repeats_the_choices_bit_for_bit",)
ANEW = (f"{_RAN}::test_another_machine_or_recipe_decides_anew_and_says_so",)
_SHM, _BUFFER = "pipeline/train/dataloader/shared_memory.py", "pipeline/train/dataloader/collate_buffer.py"
_SHM_TEST = "tests/pipeline/train/dataloader/test_shared_memory.py"
IN_ORDER = (f"{_SHM_TEST}::test_bytes_on_their_way_stay_under_the_limit_and_items_in_order",)
LIMIT = (f"{_SHM_TEST}::test_a_rank_s_limit_is_its_share_of_what_is_free_less_the_step_in_use",)
NODE = ("tests/pipeline/train/test_node.py",)

MUTANTS = (
    Mutant(
        "auto: all of a GPU by forecast",
        _PLANNER,
        "FORECAST_SHARE, MEASURED_SHARE = 0.8",
        "FORECAST_SHARE, MEASURED_SHARE = 1.0",
        HAND,
    ),
    Mutant("auto: no slack", _PLANNER, "(size - memory.state.total) / (1 + SLACK)", "(size - memory.state.total)", HAND),
    Mutant("auto: graphs where features lie", _PLANNER, "(free - step.features - step.passing) // (step", "free // (step", HAND),
    Mutant("auto: more graphs than rows", _PLANNER, "max(1, min(graphs, _rows(self.asked)))", "max(1, graphs)", HAND),
    Mutant(
        "auto: graphs under ZeRO-3",
        _PLANNER,
        "return 0 if self.asked.zero_stage == 3 else max(",
        "return max(",
        (f"{_PLANNED}::test_zero_3_keeps_no_graph_and_takes_larger_chunks",),
    ),
    Mutant(
        "auto: a CPU is a GPU",
        _PLANNER,
        "if room.is_gpu else CPU_TOKENS",
        "if room.kind else CPU_TOKENS",
        (f"{_PLANNED}::test_a_cpu_is_given_small_chunks_and_what_fits_of_them",),
    ),
    Mutant(
        "auto: a number of kept graphs has no weight",
        _PLANNER,
        ">= max(1, wanted):",
        ">= 1:",
        (f"{_PLANNED}::test_numbers_in_the_recipe_stay",),
    ),
    Mutant("auto: the first steps had the worst chunks", _PLANNER, "max(LEAST_FACTOR, *factors)", "max(factors)", CORRECTED),
    Mutant("auto: the first steps had all kept chunks", _PLANNER, "min(budget.kept, each.chunks)", "budget.kept", CORRECTED),
    Mutant("auto: corrected by the roomiest rank", _PLANNER, "free = min(int(", "free = max(int(", CORRECTED),
    Mutant(
        "forecast: one kept graph takes two",
        "pipeline/train/forecast/forecast.py",
        "max(1, min(phase.budget.kept, max(map(len, steps))))",
        "min(phase.budget.kept, max(map(len, steps)) - 1) + 1",
        ("tests/pipeline/train/forecast/test_forecast.py::test_what_a_batch_takes_by_hand",),
    ),
    Mutant("auto: a resume chooses anew", _RUN, "self._repeated() or self._chosen()", "self._chosen()", REPEATED),
    Mutant("auto: corrected from the first step on", _RUN, "if begin <= step]", "]", REPEATED),
    Mutant(
        "auto: corrected later by a resume",
        _RUN,
        "FIRST_STEPS not in (self._seen, step + 1)",
        "FIRST_STEPS != self._seen",
        REPEATED,
    ),
    Mutant("auto: another machine's choice", _RUN, "if before.get(name) != value]", "if not before]", ANEW),
    Mutant(
        "auto: the rank with the most room decides",
        _RUN,
        "self._room = min(",
        "self._room = max(",
        (f"{_RAN}::test_the_rank_with_the_least_room_decides_for_all",),
    ),
    Mutant("a rank of many takes all cores", "pipeline/train/node.py", "self.cores // self.num_ranks", "self.cores", NODE),
    Mutant("a bound rank has its cores alone", "pipeline/train/node.py", "len(set.union(*bound))", "len(bound[0])", NODE),
    Mutant("other machines' cores", "pipeline/train/node.py", " if where == name]", "]", NODE),
    Mutant(
        "auto: a rank takes its node's memory",
        _RUN,
        "node.host_bytes // 2 // node.num_ranks",
        "node.host_bytes // 2",
        (f"{_RAN}::test_a_cpu_s_room_is_the_rank_s_share_of_half_the_memory",),
    ),
    Mutant("bytes on their way have no bound", _SHM, "(not there or there + size <= self.limit)", "True", IN_ORDER),
    Mutant("a step larger than the limit waits for ever", _SHM, "(not there or there + size", "(there + size", IN_ORDER),
    Mutant("steps enter shared memory as they come", _SHM, "self._counts[_TURN] == turn and", "True and", IN_ORDER),
    Mutant("used up bytes stay on their way", _BUFFER, "            in_flight.leave(buffer.block.nbytes)\n", "", IN_ORDER),
    Mutant(
        "loaders that wait are not told of the end",
        _BUFFER,
        "        in_flight.end()\n",
        "        pass\n",
        (f"{_SHM_TEST}::test_a_run_that_ends_early_does_not_wait_for_those_that_wait",),
    ),
    Mutant("a rank takes its node's shared memory", _SHM, "min(own) // len(own) - step_bytes", "min(own) - step_bytes", LIMIT),
    Mutant("shared memory is not looked at beforehand", _SHM, "    if size > free:\n", "    if False:\n", LIMIT),
    Mutant(
        "one machine's need alone", _SHM, "for name in sorted({need.name for need in needs}):", "for name in [node.name]:", LIMIT
    ),
    Mutant(
        "a picture's bytes are a third",
        "pipeline/train/dataloader/step_dataset.py",
        "visual_token = 3 * self",
        "visual_token = self",
        (f"{_SHM_TEST}::test_a_step_s_bytes_are_known_before_it_is_read",),
    ),
    Mutant(
        "second start: the last call counts",
        "benchmarks/second_start.py",
        "min(taken, seconds.get(command, taken))",
        "taken",
        ("tests/benchmarks/test_second_start.py::test_finished_commands_are_timed_by_their_fastest_call",),
    ),
    Mutant(
        "second start: work is timed",
        "benchmarks/second_start.py",
        "if len(stages) != (",
        "if len(stages) > (",
        ("tests/benchmarks/test_second_start.py::test_a_command_that_works_again_is_not_timed",),
    ),
)
