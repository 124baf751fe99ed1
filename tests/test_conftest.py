from types import SimpleNamespace

import pytest

from tests.conftest import require
from tests.marker_counts import UNMARKED, MarkerCounts


@pytest.mark.parametrize("required", ["", "gpu", "real-mini-2"])
def test_what_is_missing_skips_its_test(monkeypatch: pytest.MonkeyPatch, required: str) -> None:
    monkeypatch.setenv("REQUIRE", required)
    with pytest.raises(pytest.skip.Exception, match="it is not here"):
        require("real-mini", "it is not here")


@pytest.mark.parametrize("required", ["real-mini", "gpu,real-mini", "real-mini slurm"])
def test_what_is_required_fails_its_test(monkeypatch: pytest.MonkeyPatch, required: str) -> None:
    monkeypatch.setenv("REQUIRE", required)
    with pytest.raises(pytest.fail.Exception, match="REQUIRE=real-mini, but it is not here"):
        require("real-mini", "it is not here")


def test_reports_count_under_the_markers_that_they_bring_from_another_process() -> None:
    counts = MarkerCounts(["gpu", "slow"])
    for when, outcome, marked in (("setup", "skipped", ["gpu"]), ("setup", "passed", ["slow"]), ("call", "passed", ["slow"])):
        counts.pytest_runtest_logreport(SimpleNamespace(when=when, outcome=outcome, user_properties=[["counted_under", marked]]))
    counts.pytest_runtest_logreport(SimpleNamespace(when="call", outcome="failed", user_properties=[]))
    assert counts.counts == {"gpu": {"skipped": 1}, "slow": {"passed": 1}, UNMARKED: {"failed": 1}}, (
        "a crashed worker has no test"
    )
