"""Variables of the process that libraries read when they are imported, so before anything heavy is."""

from collections.abc import MutableMapping
from pathlib import Path

from pipeline.train.local_ranks import allocator

DEFAULT_OPTIONS = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
}
"""Nothing is ever downloaded or reported; set a variable yourself to decide otherwise."""


def set_usual(variables: MutableMapping[str, str]) -> None:
    """Set what the user has not."""
    for name, value in {**DEFAULT_OPTIONS, **allocator(variables)}.items():
        variables.setdefault(name, value)
    if not Path("/dev/nvidiactl").exists():
        variables.setdefault("DS_ACCELERATOR", "cpu")
