"""Where and in which number type a model runs."""

from typing import Literal

import torch

from pipeline.errors import ConfigError

Dtype = Literal["float32", "bfloat16"]


def usual_place(device: str | None = None, dtype: Dtype | None = None) -> tuple[str, Dtype]:
    """Where and in which number type a model runs that is not told: on the GPU where there is one, there in bfloat16."""
    place = device or ("cuda" if torch.cuda.is_available() else "cpu")
    return place, dtype or ("float32" if place == "cpu" else "bfloat16")


def device_of(name: str | torch.device) -> torch.device:
    """The device, tried with an empty tensor. Raises ConfigError when it is not there."""
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device: {name} cannot be used ({str(error).splitlines()[0]}); use cpu") from error
