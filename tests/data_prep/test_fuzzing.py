"""200 files with seeded damage, read within 1 GiB, in the processes of `tests.fuzz_inputs`; and the page that 2,000 left."""

import re
import subprocess
import sys

import numpy as np

from tests.fuzz_inputs import FATES, damaged, outcomes
from tests.pages import ROOT, table

SEEDS = 200


def test_damaged_files_have_known_fates() -> None:
    found = list(outcomes(0, SEEDS))
    assert [item.seed for item in found] == list(range(SEEDS))
    assert [item for item in found if item.fate not in FATES] == []
    # Damage that changes nothing, or a reader that refuses all, would show nothing. A benchmark is used whole or not at all.
    fates = {target: {item.fate for item in found if item.target == target} for target in {item.target for item in found}}
    for target in set(fates) - {"evaluation table"}:
        assert fates[target] & {"sound", "changed", "rejected"}, target
        assert fates[target] & {"rejected", "refused"}, target


def test_damage_follows_the_seed() -> None:
    data = bytes(range(256)) * 4
    made = [damaged(data, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert made[0] == made[1] != made[2]


def test_a_process_that_dies_is_named_by_its_seed(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    real = subprocess.run

    def dying(command: list[str], **options: object) -> object:
        first = command[command.index("--first") + 1]
        script = "import os; os.abort()" if first == "3" else "import sys; sys.exit()"
        return real([sys.executable, "-c", script], **options)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "run", dying)
    (item,) = outcomes(3, 4)
    assert (item.seed, item.fate) == (3, "failed")
    assert "died (-6)" in item.detail


def test_the_page_shows_2000_files_without_a_failure() -> None:
    page = (ROOT / "docs" / "fuzzing.md").read_text()
    rows = table(page, "file")
    counts = [int(row[fate]) for row in rows for fate in (*FATES, "failed")]
    assert sum(counts) == int(re.search(r"--count (\d+)", page)[1]) >= 2000  # type: ignore[index]
    assert {row["failed"] for row in rows} == {"0"}
