"""One command, one process or two: the same files, and each content embedded by one of them."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from click.testing import CliRunner

from eval import mmeb
from tests.eval.fakes import write_eval, write_pictures
from tests.pipeline.corpus import picture, sentence


def benchmark(root: Path) -> Path:
    """Two sets with pictures of several sizes, the first with a candidate twice, and one whose picture is missing."""
    rng = np.random.default_rng(3)
    names = [f"a/{number}.png" for number in range(6)]
    write_pictures(root, {name: picture(rng, 56 + 28 * (number % 3), 56) for number, name in enumerate(names)})
    texts = [f"{sentence(rng)} {number}" for number in range(300)]
    rows = [(f"<|image_1|>\n{texts[place]}", name, [*texts, texts[0]], [""] * 301) for place, name in enumerate(names)]
    write_eval(root, "asking", rows)
    write_eval(root, "finding", [(text, "", ["<|image_1|>\n"] * 6, names) for text in texts[:6]])
    write_eval(root, "lacking", [("x", "a/none.png", ["a"], [""])])
    return root


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_two_processes_write_the_files_of_one(trained: Path, tmp_path: Path) -> None:
    data = benchmark(tmp_path / "data")
    outs = tmp_path / "one", tmp_path / "two"
    given = [["--model", str(trained), "--data", str(data), "--out", str(out), "--work", f"{out}-work"] for out in outs]
    one = CliRunner().invoke(mmeb.main, given[0])
    command = [sys.executable, "-m", "eval.mmeb", *given[1], "--processes", "2"]
    two = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert one.exit_code == two.returncode == 1
    assert one.stdout.replace(str(outs[0]), str(outs[1])).startswith(two.stdout) and "2 of 3 sets" in two.stdout
    counted = "asking: candidates that repeat the right one of their row, and count once: 6"
    for words in (counted, "error: lacking: ", "error: not measured, for the reasons said above: lacking;"):
        assert two.stderr.count(words) == 1, two.stderr
    found = [files(out) for out in outs]
    assert found[0] == found[1] and len(found[0]) == 6
    blocks = [list(Path(f"{out}-work").rglob("*.block")) for out in outs]
    assert [len(each) for each in blocks] == [2, 3], "of the set that is more than one batch, each rank has a share"
