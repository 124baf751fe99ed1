"""Options of the model that is asked about pictures."""

import click

from jobs.defaults import ANSWER_TOKENS, MAX_UNANSWERED, TEACHER

TEACHER_OPTIONS = (
    click.option(
        "--url",
        multiple=True,
        metavar="URL|FILE",
        help="OpenAI-compatible endpoint that describes pictures (key: CREM_API_KEY), or a file with one a line, which may "
        "change meanwhile; may be given several times.",
    ),
    click.option("--teacher", default=TEACHER, metavar="NAME", help="Model name that the endpoint serves."),
    click.option(
        "--teacher-workers",
        type=click.IntRange(1),
        show_default="as many as it answers without a queue",
        help="Calls in flight at one endpoint, at most.",
    ),
    click.option("--answer-tokens", type=click.IntRange(1), show_default=ANSWER_TOKENS, help="Tokens that its answer may have."),
    click.option(
        "--max-unanswered",
        type=click.FloatRange(0, 1),
        default=MAX_UNANSWERED,
        metavar="SHARE",
        help="Sides with pictures that may stay without an answer to learn.",
    ),
)
