"""What differs from cluster to cluster: one small TOML file, such as launchers/slurm/site.example.toml."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import ConfigError
from pipeline.typed import build


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Settings of a cluster. What is empty is left to Slurm.

    `partition` is for jobs with GPUs, `cpu_partition` for those without (the same where it is empty); `time` is Slurm's
    (24:00:00). A job without GPUs gets `cpus` cores, one with GPUs `cpus_per_gpu` for each. `options` are further options of
    sbatch, `setup` lines of shell before the command, `container` what stands in front of the Python that runs in it, and
    `python` that Python (the one that submits where it is empty).
    """

    partition: str = ""
    cpu_partition: str = ""
    account: str = ""
    qos: str = ""
    time: str = ""
    cpus: int = 8
    cpus_per_gpu: int = 8
    options: tuple[str, ...] = ()
    setup: tuple[str, ...] = ()
    container: str = ""
    python: str = ""

    def __post_init__(self) -> None:
        if min(self.cpus, self.cpus_per_gpu) < 1:
            raise ConfigError("cpus and cpus_per_gpu must be 1 at least")
        if any("\n" in text for text in (self.partition, self.cpu_partition, self.account, self.qos, self.time, *self.options)):
            raise ConfigError("a setting of sbatch must be of one line")

    def sbatch_options(self, *, has_gpus: bool) -> list[str]:
        """Options of sbatch that say where a job may run."""
        partition = self.partition if has_gpus else self.cpu_partition or self.partition
        named = {"partition": partition, "account": self.account, "qos": self.qos, "time": self.time}
        return [*(f"--{name}={value}" for name, value in named.items() if value), *self.options]


def read_site(path: Path | None) -> Site:
    """The site of a file; without one everything is left to Slurm. Raises ConfigError in one line for what does not fit."""
    if path is None:
        return Site()
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; name a file like launchers/slurm/site.example.toml") from error
    except ValueError as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error
    try:
        site: Site = build(Site, found)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    return site
