"""How a rank ends: with its code and what it printed, and without the interpreter's clean-up."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import atexit, sys
from jobs.ranks import end

atexit.register(lambda: print("cleaned up"))
print("done", end="")
print("a warning", end="", file=sys.stderr)
end(75)
"""


@pytest.mark.parametrize(("ranks", "said"), [("1", "donecleaned up\n"), ("2", "done")])
def test_one_of_several_ranks_ends_at_once(ranks: str, said: str) -> None:
    """Threads of a process group that is not gone yet abort an interpreter that cleans up."""
    environment = {
        **os.environ,
        "PYTHONUNBUFFERED": "",
        "WORLD_SIZE": ranks,
        "RANK": "0",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    ended = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (75, said, "a warning")
