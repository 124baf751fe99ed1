"""`crem doctor`: what would stop a run, and what to do about it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from jobs.defaults import TEACHER
from launchers import options
from pipeline.errors import PipelineError
from pipeline.train.forecast.gpus import DEFAULT_GPU, GPUS


@click.command()
@options.shared
@options.model
@click.option("--url", multiple=True, metavar="URL|FILE", help="Endpoint that the synthesis asks; may be given several times.")
@click.option("--teacher", default=TEACHER, metavar="NAME", help="Model name that it must serve.")
@click.option("--gpus", "num_gpus", type=click.IntRange(1), default=8, help="GPUs that the training will have, for the forecast.")
@click.option("--gpu", type=click.Choice(sorted(GPUS)), default=DEFAULT_GPU, help="Their kind.")
@click.option("--deep", is_flag=True, help="Read every byte of the shards again.")
def doctor(
    model_folder: Path | None, url: tuple[str, ...], teacher: str, num_gpus: int, gpu: str, deep: bool, **given: Any
) -> None:
    """Look at folders, disk, locks, shards, memory by forecast, endpoints, the store of runs, GPUs, nodes and switches.

    A line each says how it is, and the line below it what to do. The exit code is 1 where something would stop a run. Inside a
    Slurm allocation of several nodes these are made to meet and add up a tensor, by NCCL where they have GPUs. Nothing is
    changed.

    \b
    Examples:
      crem doctor --recipe tiny
      crem doctor --recipe crem_2b --data corpora --work runs/crem_2b --url http://node9:8000/v1 \\
        --model-folder models/Qwen2-VL-2B-Instruct --gpus 32 --gpu a800-80g
    """
    from jobs.doctor import machine, nodes, places, services
    from jobs.doctor.finding import Level, table
    from jobs.doctor.machine import Fleet

    data = given.pop("data")
    context = options.make_context(**given, data=None)
    context = context if data is None else replace(context, data=data)  # a folder that is not there is a finding here
    memory, checkpoints = machine.memory(context, model_folder, Fleet(gpu=GPUS[gpu], num_gpus=num_gpus))
    findings = [
        *places.folders(context, model_folder),
        places.locks(context.work),
        places.disk(context, checkpoints),
        places.shards(context, deep=deep),
        *memory,
        *services.endpoints(url, teacher),
        services.tracking(context.tracking),
        machine.gpus(),
        nodes.nodes(),
        *machine.offline(),
    ]
    click.echo(table(findings))
    if count := sum(finding.level is Level.STOPS for finding in findings):
        raise PipelineError(f"{count} of {len(findings)} would stop a run; the lines marked '{Level.STOPS.value}' say what to do")
