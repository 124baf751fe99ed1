"""Addresses of stores, and texts that hold them, without the secrets that may stand there."""

import os
import re
from pathlib import Path

from pipeline.errors import PipelineError

_USER_AND_PASSWORD = re.compile(r"://[^/\s]*@")
_SECRET_ARGUMENT = re.compile(r"(?i)([?&;][^=&;\s]*(?:pass|pwd|token|secret|key)[^=&;\s]*=)[^&;\s]+")
_MAX_REASON_CHARACTERS = 200


OFFLINE = "offline"
"""As an address: nothing is asked, all is kept in the work folder for `crem sync`."""


def default_uri(work: Path) -> str:
    """`MLFLOW_TRACKING_URI` where it is set, else SQLite in the work folder. The text can be given to `mlflow ui` as it is."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path(os.path.abspath(work))}/mlflow.db"


def redact(text: str) -> str:
    """An address, or a text with addresses in it, without the users, passwords and tokens that may stand there."""
    return _SECRET_ARGUMENT.sub(r"\1***", _USER_AND_PASSWORD.sub("://***@", text))


def sqlite_file(uri: str) -> Path | None:
    """The file of a SQLite store, absolute; None for any other store."""
    scheme, separator, rest = uri.partition(":///")
    return Path(os.path.abspath(rest)) if separator and scheme.startswith("sqlite") else None


def one_line(error: BaseException) -> str:
    """An error's first line without secrets, short enough for a warning; an error of ours as it is."""
    if isinstance(error, PipelineError):
        return redact(str(error))
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {redact(lines[0])[:_MAX_REASON_CHARACTERS]}" if lines else type(error).__name__
