"""An evaluation as a list of small measurements: each is found again, kept as soon as it is there, and may fail by itself.

A measurement is one set of MMEB-eval, one question file in one mode, or the reconstruction, for one model. Its result file is
written when it is done, so a stop costs at most the one that was being measured.
"""

import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol, Self

from eval.model_protocol import Model, Progress
from eval.results import Provenance, Setting, read_result, write_result
from pipeline.encode.ranks import Ranks
from pipeline.errors import DataError, NothingToMeasureError
from pipeline.lock import wait_for
from pipeline.manifest import write_atomic

logger = logging.getLogger(__name__)

STATES_NAME, LOCK_NAME = "data_states.json", ".data_states.lock"
Check = Callable[[], object]


class Measured(Protocol):
    """A result that says what it was made from."""

    @property
    def provenance(self) -> Provenance:
        """Model, data and settings."""


class Measurement(Protocol):
    """One small piece of an evaluation."""

    @property
    def name(self) -> str:
        """Its result file, below the folder of the model's results."""

    @property
    def result(self) -> type[Any]:
        """What its result file holds: a `Measured`."""

    @property
    def settings(self) -> Mapping[str, Setting]:
        """What decides the result besides model and data."""

    @property
    def state(self) -> str:
        """How the files that it reads look (pipeline.folder_state): while that stays, they need not be read to find it again."""

    def sources(self) -> Mapping[str, Check]:
        """The sets and files that it reads, by name, each with what raises DataError where it cannot be used."""

    def without(self, names: Iterable[str]) -> Self | None:
        """The same without some of its sources; None when nothing is left to measure."""

    def measure(self, model: Model, known: Any, progress: Progress) -> Measured:
        """The result; `known`, an earlier one, when it was made from the very same model, data and settings.

        Raises DataError, and NothingToMeasureError where sound data has nothing of the kind.
        """


@dataclass(frozen=True, slots=True)
class ResultFolder:
    """The results of a model, each in a file, and how the data's files looked when it was measured.

    Of several ranks only the first one writes.
    """

    path: Path
    is_written: bool = True

    def find(self, wanted: Measurement, model: str) -> Any:
        """The result, where model, settings and the look of the files are those of then; None otherwise. No data is read."""
        known = self.read(wanted)
        if known is None or not known.provenance.is_of(model, wanted.settings):
            return None
        return known if self._states().get(wanted.name) == wanted.state else None

    def read(self, wanted: Measurement) -> Any:
        """The result file, whatever it was made from; None where it is missing or of another form."""
        try:
            return read_result(wanted.result, self.path / wanted.name)
        except DataError:
            return None

    def of_others(self, wanted: Iterable[Measurement], model: str) -> list[str]:
        """Names of the results there that another model, or this one in another number type, was measured with."""
        known = {each.name: self.read(each) for each in wanted}
        return [name for name, result in known.items() if result is not None and result.provenance.model != model]

    def keep(self, wanted: Measurement, result: Measured) -> None:
        """Write the result, whole or not at all."""
        if not self.is_written:
            return
        write_result(result, self.path / wanted.name)
        with (self.path / LOCK_NAME).open("w") as lock:
            wait_for(lock)  # another set may be done in another process just now
            states = {**self._states(), wanted.name: wanted.state}
            write_atomic(self.path / STATES_NAME, json.dumps(states, indent=1, sort_keys=True) + "\n")

    def set_aside(self, name: str) -> None:
        """Move a result, and the answers it was made from, to `<folder>.old`."""
        answers = [path.relative_to(self.path) for path in self.path.glob(f"{Path(name).with_suffix('')}.*.jsonl")]
        for file in (Path(name), *answers):
            place = self.path.with_name(f"{self.path.name}.old") / file
            if (self.path / file).is_file():
                place.parent.mkdir(parents=True, exist_ok=True)
                os.replace(self.path / file, place)

    def _states(self) -> dict[str, str]:
        try:
            return dict(json.loads((self.path / STATES_NAME).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return {}


@dataclass(slots=True)
class Failures:
    """What could not be measured. Each is said when it is met, in one line, and costs nothing else.

    `left_out` are the sources that cannot be read, or hold nothing of the kind; `failed` is what is to be mended.
    """

    left_out: set[str] = field(default_factory=set)
    failed: list[str] = field(default_factory=list)

    def check(self, wanted: Iterable[Measurement], progress: Progress) -> None:
        """Look at every source of some measurements, so that one that cannot be used is told before hours of work."""
        checks = {name: check for each in wanted for name, check in each.sources().items()}
        for number, (name, check) in enumerate(checks.items(), start=1):
            if not self.passes(name, partial(_read, check)):
                self.left_out.add(name)
            progress("check", number, len(checks))

    def share(self, ranks: Ranks) -> None:
        """Take in what the other ranks met, each of which looked at other sources."""
        for left_out, failed in ranks.gather((self.left_out, self.failed)):
            self.left_out |= left_out
            self.failed += [name for name in failed if name not in self.failed]

    def passes(self, name: str, attempt: Check) -> bool:
        """Whether something can be done. A DataError is said and noted; sound data without the kind is said."""
        try:
            attempt()
        except NothingToMeasureError as error:
            logger.warning("%s: left out: %s", name, error)
            return False
        except DataError as error:
            logger.error("error: %s: %s", name, " ".join(str(error).split()))
            self.failed.append(name)
            return False
        return True

    def raise_any(self) -> None:
        """Raise DataError where something failed."""
        if self.failed:
            raise DataError(
                f"not measured, for the reasons said above: {', '.join(self.failed)}; all else is measured and kept. "
                "Mend or remove what is named, and the same command measures what is missing"
            )


def _read(check: Check) -> None:
    """Call a check. A disk that fails costs what lies there; one that cannot be written to, later, ends the evaluation."""
    try:
        check()
    except OSError as error:
        raise DataError(f"{error.filename or 'a file'}: {error.strerror or error}") from error


def measure_missing(
    model: Model, wanted: Sequence[Measurement], folder: ResultFolder, failures: Failures, progress: Progress
) -> list[str]:
    """Measure what the folder does not have yet, but for what failed before. Returns the names of the results made now."""
    made: list[str] = []

    def measure(each: Measurement) -> None:
        known = folder.read(each)
        result = each.measure(model, known, progress)
        folder.keep(each, result)
        if known is None or result.provenance is not known.provenance:
            made.append(each.name)

    for each in missing(model, wanted, folder):
        left = each.without(failures.left_out)
        if left is not None and folder.find(left, model.fingerprint) is None:
            failures.passes(f"{folder.path.name}/{Path(each.name).with_suffix('')}", partial(measure, left))
    return made


def missing(model: Model, wanted: Iterable[Measurement], folder: ResultFolder) -> list[Measurement]:
    """The measurements without a result that is known to hold."""
    return [each for each in wanted if folder.find(each, model.fingerprint) is None]
