"""What the layout promises, kept by a test: import layers, settings files, dependencies, and words that stay out."""

import ast
import configparser
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.pages import table

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("pipeline", "data_prep", "eval", "jobs", "launchers")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
TEXTS = [*SOURCES, *sorted((ROOT / "launchers").glob("*.sh")), ROOT / "Makefile", ROOT / "setup.cfg"]

FORBIDDEN_NAMES = re.compile(r"(^|_)(utils?|helpers?|common|manager)(_|\.|$)")
FORBIDDEN_WORDS = re.compile(
    r"\bprocess_[a-z]+|\bTODO\b|\bFIXME\b|\bpickle\.loads?\b|(?<![.\w])eval\(|pypi\.org|pythonhosted|download\.pytorch"
)
MAX_LINES = 300
MAX_FUNCTION_LINES = 60


def setup_cfg() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def names(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_imports_go_down_only() -> None:
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([program, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    assert re.search(r"Contracts: \d+ kept, 0 broken", done.stdout)


def test_every_package_stands_in_the_layers() -> None:
    layers = setup_cfg()["importlinter:contract:floors"]["layers"]
    assert set(re.findall(r"\w+", layers)) == set(PACKAGES)


def test_metadata_stands_in_setup_cfg_alone() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert set(project) == {"build-system", "tool"}, "with a [project] table, setuptools ignores setup.cfg"
    assert set(project["tool"]) == {"ruff"}
    parser = setup_cfg()
    assert parser["options.entry_points"]["console_scripts"].strip() == "crem = launchers.cli:main"
    assert parser["options"]["python_requires"] == ">=3.11,<3.14"
    assert "strict" in parser["mypy"]


def test_every_dependency_is_pinned() -> None:
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())
    parser = setup_cfg()
    wanted = [*parser["options"]["install_requires"].split("\n"), *parser["options.extras_require"]["test"].split("\n")]
    names = {re.split(r"[ <>=]", line)[0] for line in wanted if line}
    assert "deepspeed" in names
    assert names <= {name.lower() for name in pins}
    assert pins["torch"] == "2.13.0", "without a local tag, so that CUDA and CPU builds both fit"


def test_torchvision_is_nowhere() -> None:
    for path in [*TEXTS, ROOT / "constraints.txt"]:
        assert "torchvision" not in path.read_text(), names(path)
    done = subprocess.run([sys.executable, "-c", "import torchvision"], capture_output=True, check=False)
    assert done.returncode == 1, "torchvision is installed here: it drags in its own torch"


def test_files_and_functions_are_short_and_say_what_they_are_for() -> None:
    found = []
    for path in SOURCES:
        text = path.read_text()
        tree = ast.parse(text)
        if len(text.splitlines()) > MAX_LINES:
            found.append(f"{names(path)}: more than {MAX_LINES} lines")
        if tree.body and not ast.get_docstring(tree):
            found.append(f"{names(path)}: does not begin with what it is for")
        for node in ast.walk(tree):
            is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            if is_function and node.end_lineno - node.lineno >= MAX_FUNCTION_LINES:
                found.append(f"{names(path)}: {node.name} is longer than {MAX_FUNCTION_LINES} lines")
    assert found == []


def test_names_say_what_things_are() -> None:
    assert [names(path) for path in SOURCES if FORBIDDEN_NAMES.search(names(path))] == []


def test_words_that_stay_out() -> None:
    found = {names(path): FORBIDDEN_WORDS.findall(path.read_text()) for path in TEXTS}
    assert {name: words for name, words in found.items() if words} == {}


def test_libraries_do_not_print() -> None:
    found = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
                found.append(f"{names(path)}:{node.lineno}")
    assert found == []


def test_commands_of_other_packages_are_thin() -> None:
    """Outside of launchers, Click stands only in files that are called with `python -m`, and in those of their options."""
    for path in SOURCES:
        text = path.read_text()
        if "import click" in text and not names(path).startswith(("launchers/", "eval/options.py", "eval/components.py")):
            assert 'if __name__ == "__main__":' in text, names(path)


def test_scripts_can_be_run() -> None:
    for name in (".ci/run", "launchers/slurm_train.sh"):
        assert (ROOT / name).stat().st_mode & 0o111, name
        assert subprocess.run(["bash", "-n", ROOT / name], check=False).returncode == 0


def test_the_page_of_the_architecture_names_what_is_there() -> None:
    """Every form stands as a class in its file; every other path and class of the page exists."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    assert len(page.splitlines()) <= 150
    classes = {path: set(re.findall(r"^class (\w+)", path.read_text(), re.MULTILINE)) for path in SOURCES}
    forms = table(page, "form")
    assert len(forms) > 10
    for row in forms:
        (file,) = quoted(row["file"])
        assert set(quoted(row["form"])) <= classes[ROOT / file], file
    named = quoted(re.sub(r"^```.*?^```", "", page, flags=re.MULTILINE | re.DOTALL))
    assert [name for name in named if "/" in name and not (ROOT / name).exists()] == []
    known = set.union(*classes.values())
    assert [name for name in named if re.fullmatch(r"[A-Z]\w*[a-z]", name) and name not in known] == []
    drawn = re.findall(r"\b[A-Z][a-z]+[A-Z]\w+", page.split("```")[1])
    assert set(drawn) <= known and len(drawn) > 5


def test_rooms_of_training_are_told() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    rooms = {names(path) for above in ("pipeline", "pipeline/train") for path in (ROOT / above).iterdir() if path.is_dir()}
    told = {"pipeline/recipes", "pipeline/tracking"}  # values, and MLflow: a row passes through neither
    assert {room for room in rooms - told if "__" not in room} == set(re.findall(r"^\*\*`(\w+/[\w/]+)`\*\*", page, re.MULTILINE))


def quoted(text: str) -> list[str]:
    """What stands between single backticks."""
    return re.findall(r"`([^`\n]+)`", text)
