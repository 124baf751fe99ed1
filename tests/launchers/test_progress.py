"""Progress on a terminal and in a file, with a clock that the test moves."""

import io

import pytest

from launchers.progress import CLEAR_LINE, Progress, _clock


class Screen(io.StringIO):
    def __init__(self, is_terminal: bool) -> None:
        super().__init__()
        self.is_terminal = is_terminal

    def isatty(self) -> bool:
        return self.is_terminal


def drawn(is_terminal: bool, reports: list[tuple[float, str, int, int | None]]) -> tuple[Progress, Screen]:
    screen, now = Screen(is_terminal), [0.0]
    progress = Progress(stream=screen, clock=lambda: now[0])
    for moment, what, done, total in reports:
        now[0] = moment
        progress(what, done, total, "note")
    return progress, screen


def test_a_file_gets_a_line_every_five_seconds_with_rate_and_time_left() -> None:
    reports = [(n * 0.5, "train", n, 100) for n in range(21)]
    lines = drawn(False, reports)[1].getvalue().splitlines()
    assert lines == ["train: 0/100 | note", "train: 10/100 2.0/s 0:45 left | note", "train: 20/100 2.0/s 0:40 left | note"]


def test_many_short_pieces_do_not_flood_a_file() -> None:
    reports = [(n * 0.1, f"convert {n}", 1, 1) for n in range(100)]
    assert len(drawn(False, reports)[1].getvalue().splitlines()) == 2


def test_a_terminal_gets_one_line_that_is_wiped_at_the_end() -> None:
    progress, screen = drawn(True, [(n * 0.2, "train", n, 10) for n in range(6)])
    progress.close()
    progress.close()
    assert "\n" not in screen.getvalue()
    frames = screen.getvalue().split(CLEAR_LINE)
    assert len(frames) == 6 + 2
    assert frames[6] == "train: [##########..........] 5/10 5.0/s 0:01 left | note"
    assert frames[7] == ""


def test_what_was_done_before_the_start_does_not_count_into_the_rate() -> None:
    lines = drawn(False, [(0.0, "train", 300, 400), (10.0, "train", 305, 400)])[1].getvalue().splitlines()
    assert lines[-1] == "train: 305/400 2.0 s each 3:10 left | note"


def test_an_unknown_total_shows_the_count_and_a_bare_note_stands_alone() -> None:
    lines = (
        drawn(False, [(0.0, "toy", 0, None), (10.0, "convert", 5, None), (20.0, "convert", 25, None)])[1].getvalue().splitlines()
    )
    assert lines == ["toy: note", "convert: 5 | note", "convert: 25 2.0/s | note"]


@pytest.mark.parametrize(("seconds", "text"), [(7, "0:07"), (59.6, "1:00"), (750, "12:30"), (11_100, "3:05:00")])
def test_clock(seconds: float, text: str) -> None:
    assert _clock(seconds) == text
