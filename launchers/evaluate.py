"""`crem evaluate`: all that is measured of a training, by one process or with the embeddings made by several."""

import sys
from typing import Any

import click

from launchers import options
from launchers.stages import one_stage


@click.command()
@options.shared
@options.evaluation
@click.option(
    "--processes", type=click.IntRange(1), default=1, show_default=True, help="Processes that embed sets together: one a GPU."
)
def evaluate(processes: int, **given: Any) -> None:
    """Measure the trained model, and the untrained one beside it.

    P@1 on MMEB-eval, with the pictures and with blank ones; questions about pictures, answered natively, from the tokens
    alone and from another row's tokens; texts written out again from the tokens alone. Every set is kept when it is measured and
    found again, whatever is chosen later; one that cannot be used costs that set, and the exit code says so. Of elastic tokens
    each number has P@1, answers and texts, printed as tables. With --processes the sets are embedded by several first; one
    process then ranks them and asks the questions. A single model:

    \b
      python -m eval.vlm --run-id RUN_ID --mode compressed

    \b
    Examples:
      crem evaluate --recipe tiny --only retrieval --no-untrained --no-blank
      crem evaluate --recipe tiny --only retrieval --processes 8
      crem evaluate --recipe tiny --only questions --checkpoint 500
    """
    from jobs.evaluate import Choice
    from jobs.summary import answer_lines, result_table, token_table
    from pipeline.train.local_ranks import is_started_rank

    shared, choice = options.take_shared(given), Choice(**given)
    if is_started_rank():
        _embed_a_share(shared, choice)
        return
    if processes > 1:
        _embed_in(processes, shared, choice)
    context = one_stage("evaluate", shared, {"choice": choice})
    if elastic := context.recipe.tokens.elastic:
        click.echo(f"\n{result_table(context.evaluation, elastic[:-1])}\n\n{token_table(context.evaluation, elastic)}")
    if "questions" in choice.kinds and (said := answer_lines(context.evaluation)):
        click.echo(f"\n{said}")


def _embed_in(processes: int, shared: dict[str, Any], choice: Any) -> None:
    """Embed what the stage will need by several processes of this very command; nothing where the stage is done."""
    from jobs.evaluate import EvaluateStage
    from jobs.runner import is_done
    from pipeline.errors import PipelineError
    from pipeline.train.local_ranks import run_ranks

    context = options.make_context(**shared)
    if "retrieval" not in choice.kinds or (is_done(EvaluateStage(context=context, choice=choice)) and not context.force):
        return
    codes = run_ranks([sys.executable, "-m", "launchers.cli", *sys.argv[1:]], processes=processes)
    if any(codes):
        raise PipelineError("evaluate: a process that embeds failed; the first error above says why, what is embedded is kept")


def _embed_a_share(shared: dict[str, Any], choice: Any) -> None:
    """What one of the processes does."""
    from jobs.embed_sets import embed_sets
    from jobs.evaluate import EvaluateStage
    from pipeline.encode.ranks import Ranks

    ranks = Ranks.join()
    embed_sets(EvaluateStage(context=options.make_context(**shared), choice=choice), ranks)
    ranks.leave()
