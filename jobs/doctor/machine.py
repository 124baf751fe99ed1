"""GPUs, memory by forecast, and the variables that keep libraries from the network."""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from jobs.doctor.finding import Finding, good, stops, unknown, warning
from jobs.model import backbone_folder
from jobs.stage import Context
from pipeline.errors import ConfigError, PipelineError
from pipeline.recipe import Recipe
from pipeline.train.forecast.gpus import GIB, Gpu

if TYPE_CHECKING:
    from pipeline.train.forecast.forecast import Forecast

DRIVER = Path("/proc/driver/nvidia/version")
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
_YES = ("1", "true", "yes", "on")


def gpus(driver: Path = DRIVER) -> Finding:
    """Whether torch can use the GPUs that the driver offers."""
    said = driver.read_text() if driver.is_file() else ""
    found = re.search(r"\s(\d{3,}\.[\d.]+)\s", said)
    version, cuda = found[1] if found else "of an unknown version", torch.version.cuda
    if not said:
        seen = f"no NVIDIA driver on this machine (torch {torch.__version__})"
        return unknown("GPUs", f"{seen}: training would run on the CPU", "look on a GPU node: srun --gpus 1 crem doctor ...")
    if cuda is None:
        seen = f"driver {version}, but torch {torch.__version__} is a build without CUDA"
        return stops("GPUs", seen, "install torch's CUDA build: make setup without TORCH_INDEX")
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
        count, name = torch.cuda.device_count(), torch.cuda.get_device_name(0)
        torch.ones(1, device="cuda").add_(1).cpu()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0]
        advice = f"a driver for CUDA {cuda} is needed, or a torch built for this driver; is a GPU part of the job (--gpus)?"
        return stops("GPUs", f"driver {version}, torch for CUDA {cuda}: {reason}", advice)
    return good("GPUs", f"{count} x {name}, driver {version}, torch for CUDA {cuda}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """What the training will run on."""

    gpu: Gpu
    num_gpus: int


def memory(context: Context, model_folder: Path | None, fleet: Fleet) -> tuple[list[Finding], int | None]:
    """A row on each phase's memory by forecast, and the bytes of checkpoints that all phases keep; None where unknown."""
    try:
        folder = model_folder or backbone_folder(context)
        found = [_forecast(context.recipe.until(phase.name), folder, fleet) for phase in context.recipe.phases]
    except (PipelineError, OSError) as error:
        return [unknown("memory", str(error), "name the model's folder: --model-folder")], None
    return [_fits(each) for each in found], sum(map(_kept_bytes, found))


def _forecast(part: Recipe, folder: Path, fleet: Fleet) -> "Forecast":
    from pipeline.train.forecast.chunk_planner import ChunkPlanner
    from pipeline.train.forecast.forecast import forecast

    visual = part.pixels.max_tokens
    planned = ChunkPlanner(folder, part, fleet.num_gpus, visual=visual).recipe_on(fleet.gpu)
    return forecast(folder, planned, fleet.gpu, fleet.num_gpus, visual=visual)


def _fits(found: "Forecast") -> Finding:
    subject = f"memory, {found.recipe.phase.name}"
    seen = f"{found.memory.total / GIB:.1f} GiB by forecast on each of {found.num_gpus} {found.gpu.name}"
    try:
        found.refuse_misfit()
    except ConfigError as error:
        return stops(subject, seen, str(error).rpartition(": ")[2])
    return good(subject, seen)


def _kept_bytes(found: "Forecast") -> int:
    """Bytes of the checkpoints that a phase leaves, with the one that is being written while the oldest is still there."""
    from pipeline.train.forecast.forecast import SAVED_BYTES

    phase = found.recipe.phase
    marks = phase.steps // phase.keep_every if phase.keep_every else 0
    return (phase.keep_checkpoints + 1 + marks + 1) * sum(found.weights.trained) * SAVED_BYTES


def offline(variables: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    """Whether libraries are kept from downloads and reports, as compute nodes without a network need it."""
    open_ones = [name for name in OFFLINE if variables.get(name, "").lower() not in _YES]
    if open_ones:
        advice = f"export {' '.join(f'{name}={OFFLINE[name]}' for name in open_ones)}; crem sets them unless you did"
        yield warning("offline", f"set to something else: {', '.join(open_ones)}", advice)
    else:
        yield good("offline", "libraries download and report nothing")
