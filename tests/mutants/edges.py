"""Ways to break eval, jobs, launchers and benchmarks."""

from tests.mutants.mutant import Mutant

LOCAL = ("tests/launchers/test_local.py",)
RANKS = ("tests/pipeline/train/test_local_ranks.py",)
EXPORT = ("tests/pipeline/test_export.py",)

MUTANTS = (
    Mutant(
        "help waits for transformers",
        "launchers/cli.py",
        "import click\n",
        "import click\nimport transformers.models.auto.modeling_auto  # noqa: F401\n",
        ("tests/launchers/test_cli.py::test_help_costs_at_most_half_a_second_of_processor_time_more_than_python",),
    ),
    Mutant(
        "routes of the benchmark not compared",
        "benchmarks/attention.py",
        "if not error <= steps * torch.finfo(true.dtype).eps:",
        "if False:",
        ("tests/benchmarks/test_attention.py",),
    ),
    Mutant(
        "a collapsed model wins ties",
        "eval/metrics.py",
        "TIE_TOLERANCE = 1e-6",
        "TIE_TOLERANCE = 0.0",
        ("tests/eval/test_metrics.py",),
    ),
    Mutant(
        "report text not escaped",
        "eval/report_markup.py",
        "return html.escape(str(text), quote=True)",
        "return str(text)",
        ("tests/eval/test_report.py",),
    ),
    Mutant(
        "training processes get the recipe's name only",
        "launchers/local.py",
        "str(write_recipe(context))",
        "context.recipe.name",
        ("tests/launchers/test_cli.py::test_processes_of_a_training_get_the_resolved_recipe",),
    ),
    Mutant(
        "a finished training starts its ranks",
        "launchers/stages.py",
        "(context.force or not is_done(stage))",
        "True",
        LOCAL,
    ),
    Mutant(
        "ranks end inside their group",
        "jobs/ranks.py",
        "dist.destroy_process_group()",
        "pass",
        LOCAL,
    ),
    Mutant(
        "a rank ends with the interpreter's clean-up",
        "jobs/ranks.py",
        "    if num_ranks() == 1:\n        sys.exit(code)\n",
        "    sys.exit(code)\n",
        ("tests/jobs/test_ranks.py",),
    ),
    Mutant(
        "what a rank printed is lost at its end",
        "jobs/ranks.py",
        "for stream in (sys.stdout, sys.stderr):",
        "for stream in (sys.stderr,):",
        ("tests/jobs/test_ranks.py",),
    ),
    Mutant(
        "a stopped rank ends inside its group",
        "launchers/stages.py",
        "    except StoppedError:\n        leave()\n",
        "    except StoppedError:\n",
        LOCAL,
    ),
    Mutant(
        "the launcher waits for the dead",
        "pipeline/train/local_ranks.py",
        "while not any(codes := [rank.poll() for rank in ranks]) and None in codes:",
        "while None in (codes := [rank.poll() for rank in ranks]):",
        (f"{RANKS[0]}::test_a_dead_process_ends_those_that_wait_for_it",),
    ),
    Mutant(
        "signals end at the launcher",
        "pipeline/train/local_ranks.py",
        "rank.send_signal(_FORWARDED[signal.Signals(number)])",
        "rank.poll()",
        (f"{RANKS[0]}::test_a_signal_to_stop_reaches_every_process",),
    ),
    Mutant(
        "another step is drawn",
        "jobs/show.py",
        "shown_step(dataset, folder.tokenizer, step - 1)",
        "shown_step(dataset, folder.tokenizer, step)",
        ("tests/jobs/test_show.py",),
    ),
    Mutant(
        "benchmark times steps that differ",
        "benchmarks/step_gradients.py",
        "if not differences[name] <= (TOLERANCE if each else TOLERANCE_OF_ALL):",
        "if differences[name] <= -(TOLERANCE if each else TOLERANCE_OF_ALL):",
        ("tests/benchmarks/test_train_step.py::test_what_differs_is_not_timed",),
    ),
    Mutant(
        "a terminal's Ctrl-C ends the ranks",
        "pipeline/train/local_ranks.py",
        "before = signal.signal(signal.SIGINT, signal.SIG_IGN)",
        "before = signal.getsignal(signal.SIGINT)",
        RANKS,
    ),
    Mutant(
        "a broken test leaves its processes behind",
        "tests/mutants/__main__.py",
        "                os.killpg(process.pid, signal.SIGKILL)",
        "                pass",
        ("tests/test_mutants.py::test_a_process_left_behind_keeps_nobody_waiting",),
    ),
    Mutant(
        "exported MLP is passed over",
        "docs/export.md",
        "        states = inner @ learnt",
        "        inner @ learnt",
        (f"{EXPORT[0]}::test_another_program_makes_the_same_embeddings",),
    ),
)
