"""How far two judges of mined candidates agree: a second model is asked about pairs that a first one has judged."""

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np

from data_prep.negatives.judging import Verdicts, judge_references, read_verdicts
from data_prep.qa_teacher import addresses
from pipeline.chat import ChatEngine, EndpointList, Journal, Patience
from pipeline.data.references import verdicts_file
from pipeline.data.sampler import generator
from pipeline.data.shards import ShardIndex
from pipeline.errors import DataError, PipelineError
from pipeline.manifest import fingerprint, write_atomic


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Pairs of a dataset that two judges were asked about, by what the first and the second said; `unjudged` by either."""

    both_yes: int
    both_no: int
    yes_then_no: int
    no_then_yes: int
    unjudged: int

    @classmethod
    def of(cls, first: Verdicts, second: Verdicts) -> "Agreement":
        """Of two judges' verdicts on the same references."""
        ours, theirs = first.margins, second.margins
        return cls(
            both_yes=int(((ours > 0) & (theirs > 0)).sum()),
            both_no=int(((ours < 0) & (theirs < 0)).sum()),
            yes_then_no=int(((ours > 0) & (theirs < 0)).sum()),
            no_then_yes=int(((ours < 0) & (theirs > 0)).sum()),
            unjudged=int((np.isnan(ours) | np.isnan(theirs)).sum()),
        )

    @property
    def share(self) -> float | None:
        """The share of the pairs that both judged on which they agree; None where there is no such pair."""
        judged = self.both_yes + self.both_no + self.yes_then_no + self.no_then_yes
        return (self.both_yes + self.both_no) / judged if judged else None


def sampled(verdicts: Verdicts, most: int, *, seed: int, dataset: str) -> Verdicts:
    """At most so many of a dataset's verdicts, drawn by the seed, in their order."""
    total = len(verdicts.references)
    places = np.arange(total)
    if total > most:
        places = np.sort(generator(seed, "second judge", dataset).choice(total, size=most, replace=False))
    return Verdicts(references=verdicts.references.take(places), margins=verdicts.margins[places], reasons={})


def compare(
    shards: Path, judged: Path, out: Path, *, urls: Sequence[str], model: str, pairs: int, seed: int = 0
) -> dict[str, Agreement]:
    """Ask a second judge about `pairs` pairs of each dataset that `crem judge` has judged; answers are kept in `out`.

    Raises DataError where nothing was judged, ServiceError where no endpoint answers.
    """
    index = ShardIndex.open(shards)
    names = [name for name in index.datasets if verdicts_file(judged, name).is_file()]
    if not names:
        raise DataError(f"{judged}: no verdicts; run crem judge first, and name its folder")
    found = {}
    with (
        Journal(out / f"answers-{fingerprint(model)[:12]}.jsonl") as journal,
        ChatEngine(EndpointList(addresses(urls)), model=model, journal=journal, patience=Patience()) as engine,
    ):
        for name in names:
            first = sampled(read_verdicts(verdicts_file(judged, name)), pairs, seed=seed, dataset=name)
            found[name] = Agreement.of(first, judge_references(index, name, first.references, engine))
    return found


def lines(found: dict[str, Agreement]) -> list[str]:
    """A line a dataset: how far they agree, and the four numbers."""
    shares = {name: "-" if one.share is None else f"{100 * one.share:.1f}" for name, one in found.items()}
    return [
        f"{name:<24} {shares[name]:>6} % agree: both yes {one.both_yes}, both no {one.both_no}, first alone {one.yes_then_no}, "
        f"second alone {one.no_then_yes}, unjudged {one.unjudged}"
        for name, one in found.items()
    ]


@click.command(context_settings={"show_default": True})
@click.option("--shards", type=click.Path(path_type=Path), required=True, help="Folder of shards that `crem convert` wrote.")
@click.option("--judged", type=click.Path(path_type=Path), required=True, help="Folder that `crem judge` wrote.")
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Folder for the second judge's answers, and the table."
)
@click.option("--judge-url", "urls", multiple=True, required=True, metavar="URL|FILE", help="Where the second judge is served.")
@click.option("--judge", "model", required=True, metavar="NAME", help="Model name that it is served by.")
@click.option("--pairs", type=click.IntRange(1), default=1000, help="Pairs of each dataset, drawn by the seed.")
@click.option("--seed", type=click.IntRange(0), default=0, help="Which pairs are drawn.")
def main(shards: Path, judged: Path, out: Path, urls: tuple[str, ...], model: str, pairs: int, seed: int) -> None:
    """Ask a second judge about pairs that a first one has judged, and count where they differ, dataset by dataset.

    \b
    Example:
      python -m data_prep.negatives.second_judge --shards runs/magic_2b/shards --judged runs/magic_2b/judge-judged \\
        --out runs/magic_2b/second --judge OpenGVLab/InternVL3-8B-hf --judge-url http://127.0.0.1:8001/v1
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        found = compare(shards, judged, out, urls=urls, model=model, pairs=pairs, seed=seed)
    except PipelineError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{error.filename or 'the file system'}: {error.strerror or error}") from error
    table = {name: {**asdict(one), "agree": one.share} for name, one in found.items()}
    write_atomic(out / "agreement.json", json.dumps({"judge": model, "datasets": table}, indent=1) + "\n")
    click.echo("\n".join(lines(found)))


if __name__ == "__main__":
    main()
