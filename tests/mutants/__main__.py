"""`python -m tests.mutants [--workers N] [NAME ...]`: apply one mutant at a time to a copy of the tree and run its tests.

A line each. A mutant that survives, or whose text is no longer in the code, is a failure.
"""

import argparse
import importlib
import os
import pkgutil
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue

from tests import mutants
from tests.mutants.mutant import Mutant

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("pipeline", "data_prep", "eval", "jobs", "launchers", "benchmarks", "tests", "docs", "containers")


def every_mutant() -> tuple[Mutant, ...]:
    """The `MUTANTS` of every module of this package: a new module needs no entry anywhere."""
    names = sorted(module.name for module in pkgutil.iter_modules(mutants.__path__) if module.name not in ("__main__", "mutant"))
    modules = [importlib.import_module(f"{mutants.__name__}.{name}") for name in names]
    return tuple(mutant for module in modules for mutant in module.MUTANTS)


MUTANTS = every_mutant()

LIMIT_SECONDS = 900
"""A mutant whose tests do not end has shown nothing: a test must fail, not wait for ever."""


def survives(mutant: Mutant, tree: Path) -> str | None:
    """None when the guarding tests fail as they must; otherwise what is wrong."""
    file = tree / mutant.file
    original = file.read_text()
    if original.count(mutant.old) != 1:
        return f"its text occurs {original.count(mutant.old)} times in {mutant.file}"
    file.write_text(original.replace(mutant.old, mutant.new))
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-m", "", *mutant.tests]
    try:
        code, said = outcome(command, tree, environment)
    finally:
        file.write_text(original)
    if code == 0:
        return "it survived" if " passed" in said else "its tests were skipped here"
    if code is None:
        return f"its tests did not end in {LIMIT_SECONDS} seconds: {said[-300:]}"
    return None if code == 1 else f"pytest could not run: {said[-600:]}"


def outcome(command: list[str], tree: Path, environment: dict[str, str]) -> tuple[int | None, str]:
    """Exit code (None: ended at the time limit, with every process of its group) and output of a command.

    The output goes to a file: a process left behind by a broken test would hold a pipe open.
    """
    with tempfile.TemporaryFile("w+", errors="replace") as said:
        process = subprocess.Popen(
            command, cwd=tree, env=environment, stdout=said, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            code = process.wait(LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        said.seek(0)
        return code, said.read()


def copy_tree(tree: Path) -> Path:
    """A copy of what tests need, to break things in."""
    for package in COPIED:
        shutil.copytree(ROOT / package, tree / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "README.md", "constraints.txt"):
        shutil.copy(ROOT / name, tree)
    return tree


def failures(chosen: list[Mutant], workers: int, aside: Path) -> int:
    """Try the mutants, each worker in a tree of its own, and count those that are not red."""
    free = SimpleQueue[Path]()
    if (ROOT.parent / "shared").is_dir():  # real data, where tests look for it
        (aside / "shared").symlink_to(ROOT.parent / "shared")
    for number in range(workers):
        free.put(copy_tree(aside / str(number)))

    def attempt(mutant: Mutant) -> bool:
        tree, begun = free.get(), time.monotonic()
        wrong = survives(mutant, tree)
        free.put(tree)
        verdict = "red" if wrong is None else f"SURVIVES: {wrong}"
        print(f"{verdict}: {mutant.name} ({time.monotonic() - begun:.0f} s)", flush=True)
        return wrong is not None

    with ThreadPoolExecutor(workers) as pool:
        return sum(pool.map(attempt, chosen))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants")
    parser.add_argument("names", nargs="*", metavar="NAME", help="mutants to try, instead of all")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="mutants at once (default: one a core)")
    given = parser.parse_args()
    unknown = set(given.names) - {mutant.name for mutant in MUTANTS}
    if unknown:
        parser.error(f"there is no mutant {', '.join(sorted(unknown))}")
    chosen = [mutant for mutant in MUTANTS if not given.names or mutant.name in given.names]
    with tempfile.TemporaryDirectory() as aside:
        failed = failures(chosen, given.workers, Path(aside))
    print(f"{len(chosen) - failed} of {len(chosen)} mutants red")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
