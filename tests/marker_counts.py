"""Pytest plugin: how many tests passed, were skipped and failed under each marker, so that a skipped kind is never overlooked."""

from collections import Counter, defaultdict

import pytest

UNMARKED = "unmarked"
PROPERTY = "counted_under"


class MarkerCounts:
    """Counts reports by marker; a test with two markers counts under both.

    A test may run in another process than the one that counts, so its report carries its markers.
    """

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self.counts: dict[str, Counter[str]] = defaultdict(Counter)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]):
        report: pytest.TestReport = yield
        marked = [name for name in self.names if item.get_closest_marker(name)] or [UNMARKED]
        report.user_properties = [*report.user_properties, (PROPERTY, marked)]
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        # A skip or an error may come before the call itself; a pass counts once, at the call.
        if report.when == "call" or report.outcome != "passed":
            for name in dict(report.user_properties).get(PROPERTY, [UNMARKED]):
                self.counts[name][report.outcome] += 1

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.section("tests by marker")
        for name in [*self.names, UNMARKED]:
            count = self.counts[name]
            terminalreporter.line(f"{name}: {count['passed']} passed, {count['skipped']} skipped, {count['failed']} failed")


def pytest_configure(config: pytest.Config) -> None:
    own = ("gpu", "slow", "slurm")
    config.pluginmanager.register(MarkerCounts(list(own)))
