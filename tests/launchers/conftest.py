"""The command sets log levels of the whole process; a test must not leave them to the tests after it."""

import logging
from collections.abc import Iterator

import pytest

from launchers.cli import PACKAGES


@pytest.fixture(autouse=True)
def log_levels() -> Iterator[None]:
    before = {name: logging.getLogger(name).level for name in PACKAGES}
    yield
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)
