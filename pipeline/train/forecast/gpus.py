"""GPUs that a run may be planned for."""

from dataclasses import dataclass

GIB = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """`memory` in bytes as the driver reports it, `peak` in FLOP/s: dense bfloat16 tensor cores, as the maker states it."""

    name: str
    memory: int
    peak: float


def _gpu(name: str, gib: float, teraflops: float) -> Gpu:
    return Gpu(name=name, memory=int(gib * GIB), peak=teraflops * 1e12)


GPUS = {
    gpu.name: gpu
    for gpu in (
        _gpu("a100-40g", 39.4, 312),
        _gpu("a100-80g", 79.3, 312),
        _gpu("a800-80g", 79.3, 312),
        _gpu("h100-80g", 79.1, 989),
        _gpu("h800-80g", 79.1, 989),
        _gpu("h200-141g", 139.8, 989),
        _gpu("h20-96g", 95.1, 148),
        _gpu("l40s-48g", 44.4, 362),
    )
}
"""By name."""

DEFAULT_GPU = "a800-80g"
