"""What a stage of the pipeline is: named inputs and settings in, one folder with a manifest out.

The stages themselves are one thin file each in this package; `jobs.runner` decides whether one has to run at all.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Protocol

from jobs.defaults import FOLDERS
from pipeline.recipe import Recipe
from pipeline.tracking import UNSENT, Tracker

Progress = Callable[[str, int, int | None, str], None]
"""Called with what is being done, how much is done, how much there is (None: unknown), and a note on the last piece."""


def silent(what: str, done: int, total: int | None, note: str) -> None:
    """Progress that nobody watches."""


PARENT_VARIABLE = "CREM_PARENT_RUN"
"""Names the run of the tracker that a command is part of; `crem run` sets it for the processes of a training."""


def parent_in_environment() -> str:
    """The run that this command is part of; empty where it stands alone."""
    return os.environ.get(PARENT_VARIABLE, "")


class Writing(Enum):
    """How a stage's folder comes to be, so that a kill never leaves something that looks finished."""

    ASIDE = "aside"
    """Written into a fresh folder that takes the old one's place at the end: for stages of seconds or minutes."""
    RESUME = "resume"
    """Gone on with in place while inputs and settings are the same; otherwise it waits aside (pipeline.stage_folder)."""
    KEEP = "keep"
    """Always gone on with in place: the stage itself knows which of its pieces still hold."""
    PIECES = "pieces"
    """As KEEP; and under --force the stage itself makes its pieces anew, those that are asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What all stages of one command share: the work folder, the data folder, the recipe and where runs are noted.

    `data` is laid out like the public releases; it is the toy world's folder where the user named none. `tracking` is the
    address of the MLflow store, `parent_run` gives the id of the run there that the stages' own belong to.
    """

    work: Path
    data: Path
    recipe: Recipe
    tracking: str
    force: bool = False
    progress: Progress = field(default=silent)
    parent_run: Callable[[], str] = field(default=parent_in_environment)

    @property
    def toy(self) -> Path:
        """Data folder of the toy world."""
        return self.work / FOLDERS["toy"]

    @property
    def shards(self) -> Path:
        """Shards of all datasets."""
        return self.work / FOLDERS["convert"]

    @property
    def qa(self) -> Path:
        """QA side files."""
        return self.work / FOLDERS["synthesize"]

    @property
    def model(self) -> Path:
        """The untrained backbone, or the note that says where it lies."""
        return self.work / FOLDERS["model"]

    @property
    def lengths(self) -> Path:
        """Tables of the rows' lengths in tokens."""
        return self.work / FOLDERS["measure"]

    @property
    def train(self) -> Path:
        """Checkpoints and the log of steps."""
        return self.work / "train"

    @property
    def evaluation(self) -> Path:
        """Results of stage `evaluate`; what a user evaluates by hand lies beside it and never makes the stage run anew."""
        return self.work / FOLDERS["evaluate"]

    @property
    def unsent(self) -> Path:
        """What the store of runs has not taken, for `crem sync`."""
        return self.work / UNSENT

    @property
    def report(self) -> Path:
        """The HTML report."""
        return self.work / FOLDERS["report"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """A folder that a stage reads. `made_by` names the stage that must have finished it; empty for a user's own folder.

    `parts` name what is read of a user's corpus: data files and folders of pictures there count, nothing else of the folder does,
    and one may be missing. Without parts every file counts (pipeline.folder_state).
    Inputs `apart` of the stage that made it are others than those of that name here: each phase begins with the one before it,
    and has negatives of its own.
    """

    path: Path
    made_by: str = ""
    parts: tuple[str, ...] = ()
    apart: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a stage says when it has run: numbers of things, and a fingerprint of the content that later stages depend on.

    Without `content` the whole folder is hashed, which is right for small ones.
    """

    counts: Mapping[str, int] = field(default_factory=dict)
    content: str = ""


class Stage(Protocol):
    """A step of the pipeline. `run` is called only when the manifest does not already answer for inputs and settings."""

    @property
    def name(self) -> str:
        """The command's name."""

    @property
    def writing(self) -> Writing:
        """How the folder comes to be."""

    @property
    def folder(self) -> Path:
        """The folder that holds everything the stage makes."""

    def inputs(self) -> Mapping[str, Input]:
        """What is read, by name."""

    def settings(self) -> Mapping[str, object]:
        """What decides the output besides the inputs. Paths, workers and other matters of the machine do not belong here."""

    def run(self, out: Path, tracker: Tracker) -> Result:
        """Fill `out`. Raises PipelineError for what the user can mend."""
