"""`crem judge`: which of a phase's mined candidates are no answer to their query, by a served model or one of this process."""

from typing import Any

import click

from launchers import options
from launchers.stages import one_stage


@click.command()
@options.shared
@options.phase
@options.judge
def judge(**given: Any) -> None:
    """Have the mined candidates of a phase judged by a vision-language model: which are no answer to their query.

    Each pair of a query and a candidate is put to the model once, for Yes or No alone; the likelier of the two counts. Candidates
    that it says no to are the hard negatives of a phase with negatives=Judged (docs/train.md). Answers are kept as they come:
    stopped at any moment, the same command goes on with those that are missing. For the toy world a loopback server stands in.
    crem run does it in front of the phase, behind crem mine.

    \b
    Examples, with a model that vLLM serves on this machine:
      vllm serve Qwen/Qwen3-VL-8B-Instruct --port 8000
      crem judge --recipe magic_2b --phase judged --work runs/magic_2b --judge-url http://127.0.0.1:8000/v1

    \b
    Or in this process, from a model folder:
      crem judge --recipe magic_2b --phase judged --work runs/magic_2b --judge models/Qwen3-VL-8B-Instruct
    """
    one_stage("judge", options.take_shared(given), given)
