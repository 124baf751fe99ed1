"""One run of the tracker for a whole `crem run`, with the runs of its stages below it."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from jobs.runner import run_tags, write_recipe
from jobs.stage import Context
from pipeline.manifest import canonical_json, fingerprint, write_atomic
from pipeline.recipe_json import recipe_fingerprint
from pipeline.tracking import start_run

NOTE_NAME = "chain.json"
"""In the work folder: the run of each recipe and data folder that were run there as a chain."""


@contextmanager
def chain_run(context: Context) -> Iterator[Callable[[], str]]:
    """Yields what gives the run's id. It is opened when first asked for: a chain that is done already opens none.

    The same recipe over the same data goes on in the run that it had, unless `--force` asks for all of it anew.
    """
    opened: list[str] = []
    with ExitStack() as stack:

        def run_id() -> str:
            if not opened:
                before = "" if context.force else _noted(context.work).get(_key(context), "")
                tags, keep = run_tags(context), context.unsent
                tracked = start_run(uri=context.tracking, stage="run", tags=tags, reopen=before, keep=keep)
                tracker = stack.enter_context(tracked)
                tracker.log_params(json.loads(canonical_json({"recipe": context.recipe})))
                tracker.log_artifact(write_recipe(context))
                opened.append(tracker.run_id)
                if tracker.run_id:
                    _note(context, tracker.run_id)
            return opened[0]

        yield run_id


def _key(context: Context) -> str:
    return fingerprint([recipe_fingerprint(context.recipe), context.data.resolve()])


def _noted(work: Path) -> dict[str, str]:
    try:
        return dict(json.loads((work / NOTE_NAME).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def _note(context: Context, run_id: str) -> None:
    write_atomic(context.work / NOTE_NAME, canonical_json({**_noted(context.work), _key(context): run_id}))
