"""The commands of docs/cluster_data.md, run in their order on a small data folder: the page leads to verified shards."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from pipeline.data.shards import ShardIndex
from pipeline.data.sharegpt4v_release import FILES, FOLDER
from tests.launchers.test_cli import Run
from tests.launchers.test_cli import crem as crem
from tests.pages import ROOT, blocks
from tests.pipeline.data.releases import picture, talk, train_row, write_conversations, write_eval, write_train

PAGE = (ROOT / "docs" / "cluster_data.md").read_text()
SCRIPT = "launchers/slurm_convert.sh"


def write_corpora(root: Path) -> None:
    """Two of MMEB's sets and a file of ShareGPT-4V, in the page's layout: the pictures of the latter lie in a folder."""
    for name in ("VOC2007", "ImageNet_1K"):
        pictures = {f"{name}/{n}.jpg": picture(n) for n in range(3)}
        rows = [train_row(f"<|image_1|>\nq{n}", f"images/{name}/{n % 3}.jpg", "p") for n in range(5)]
        write_train(root, name, rows, pictures)
    write_conversations(root, [talk("<image>\nq", "a", image="coco/a.jpg"), talk("q", "a")])
    (root / FOLDER / "coco").mkdir(parents=True)
    (root / "conversations" / "train.json").rename(root / FOLDER / next(iter(FILES)))
    (root / FOLDER / "coco" / "a.jpg").write_bytes(picture(7))
    row = {"qry_text": "q", "qry_img_path": "x/a.jpg", "tgt_text": ["p", "n"], "tgt_img_path": ["", ""]}
    write_eval(root, "VOC2007", [row], {"x/a.jpg": picture(0)})


def slices(words: list[str], variables: dict[str, str]) -> list[list[str]]:
    """What an array job of the script calls, as arguments of `crem`."""
    array = next(word for word in words if word.startswith("--array=")).removeprefix("--array=")
    first, _, last = array.partition("-")
    numbers = range(int(first), int(last or first) + 1)
    count = variables.get("CREM_SLICES", str(len(numbers)))
    given = words[words.index(SCRIPT) + 1 :]
    return [["convert", "--shard-index", str(number), "--num-shards", count, *given] for number in numbers]


def test_the_commands_of_the_page_lead_to_verified_shards(crem: Run, tmp_path: Path) -> None:
    write_corpora(tmp_path / "corpora")
    said = []
    for line in "".join(blocks(PAGE, "sh")).splitlines():
        words = shlex.split(line)
        variables = dict(word.split("=", 1) for word in words if re.match(r"[A-Z_]+=", word))
        words = words[len(variables) :]
        for arguments in slices(words, variables) if words[0] == "sbatch" else [words[1:]]:
            code, output, error = crem("--quiet", *arguments)
            if arguments[:2] == ["data", "check"]:
                assert (code, "; not here: " in output) == (1, True), "two sets of twenty, of five rows each"
            else:
                assert (code, error) == (0, ""), line
            said.append(output)
    assert sum(output.count(": sound, ") for output in said) == 3
    assert len(ShardIndex.open(tmp_path / "runs" / "crem_2b" / "shards")) == 12
    assert any("VOC2007: 1 of 1 query pictures occur in train" in output for output in said)
    assert (tmp_path / "runs" / "crem_2b" / "shards.html").exists()


def test_the_script_makes_the_slice_of_its_task(tmp_path: Path) -> None:
    write_corpora(tmp_path / "corpora")
    task = {"SLURM_ARRAY_TASK_ID": "2", "SLURM_ARRAY_TASK_COUNT": "1", "CREM_SLICES": "3", "SLURM_CPUS_PER_TASK": "2"}
    environment = {**os.environ, **task, "CREM_PYTHON": sys.executable, "SLURM_SUBMIT_DIR": str(ROOT)}
    given = ["--data", str(tmp_path / "corpora"), "--work", str(tmp_path / "w")]
    done = subprocess.run(["bash", str(ROOT / SCRIPT), *given], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, "slice 2 of 3 is done" in done.stdout) == (0, True), done.stderr
    assert [path.name for path in (tmp_path / "w" / "shards").glob("*/*.tar")] == ["sharegpt4v-cap100k-00000.tar"]
