"""The benchmark of a synthesis without a model asks about every made-up side, and finds all answered the second time."""

import pytest

from benchmarks.synthesize_memory import measure
from data_prep.qa_kinds import DIALOGUE, QA, Kind


@pytest.mark.parametrize(("kind", "answers"), [(QA, 24), (DIALOGUE, 24 * 4)])
def test_every_side_is_asked_about_once(kind: Kind, answers: int, capsys: pytest.CaptureFixture[str]) -> None:
    measure(24, kind)
    first, second = (line.split("|") for line in capsys.readouterr().out.splitlines())
    assert [first[place].strip() for place in (1, 2, 3)] == ["24", "asked and joined", str(answers)]
    assert [second[place].strip() for place in (1, 2, 3)] == ["24", "all answered", "0"]
    assert float(second[-2]) >= float(first[-2]) > 30, "a peak does not fall"
