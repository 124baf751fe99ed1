"""Options of the models that are asked: about pictures, and about candidates."""

from pathlib import Path

import click

from jobs.defaults import ANSWER_TOKENS, JUDGE, MAX_UNANSWERED, MAX_UNJUDGED, TEACHER

TEACHER_OPTIONS = (
    click.option(
        "--url",
        multiple=True,
        metavar="URL|FILE",
        help="OpenAI-compatible endpoint that describes pictures (key: CREM_API_KEY), or a file with one a line, which may "
        "change meanwhile; may be given several times.",
    ),
    click.option(
        "--local",
        "teacher_folder",
        type=click.Path(path_type=Path),
        metavar="FOLDER",
        help="Model folder that describes pictures in this process, in place of an endpoint.",
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
        "--prompts",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE.toml",
        help="Wordings of your own, and kinds; an answer that is no target may be asked for again (docs/data.md).",
    ),
    click.option(
        "--most-pictures",
        type=click.IntRange(1),
        metavar="N",
        help="Different pictures of each dataset that dialogues and captions are asked for (CoMa: 30000). Default: all.",
    ),
    click.option(
        "--max-unanswered",
        type=click.FloatRange(0, 1),
        default=MAX_UNANSWERED,
        metavar="SHARE",
        help="Sides with pictures that may stay without an answer to learn.",
    ),
)
JUDGE_OPTIONS = (
    click.option(
        "--judge-url",
        "negatives_judge_urls",  # crem evaluate has a judge of its own, and the chain hands words on by these names
        multiple=True,
        metavar="URL|FILE",
        help="OpenAI-compatible endpoint of the model that judges mined candidates and tells log-probabilities (key: "
        "CREM_API_KEY), or a file with one a line; may be given several times.",
    ),
    click.option(
        "--judge",
        "negatives_judge",
        default=JUDGE,
        metavar="NAME",
        help="Model name that this endpoint serves; without one, a model folder that judges in this process.",
    ),
    click.option(
        "--judge-workers",
        type=click.IntRange(1),
        show_default="as many as it answers without a queue",
        help="Calls in flight at one endpoint of the judge, at most.",
    ),
    click.option(
        "--max-unjudged",
        type=click.FloatRange(0, 1),
        default=MAX_UNJUDGED,
        metavar="SHARE",
        help="Pairs of a query and a candidate that may stay without a verdict.",
    ),
)
