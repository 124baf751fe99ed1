"""The documentation against the code: commands, options, files and links are what they are said to be."""

import importlib
import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import click
import pytest

from jobs.run import Machine, stages
from jobs.stage import Context
from launchers import cli
from pipeline.errors import ConfigError
from pipeline.overrides import override
from pipeline.recipes import RECIPES, load
from pipeline.recipes.printed_others import PAPERS
from tests.mutants.__main__ import MUTANTS
from tests.pages import DECISIONS, PAGES, README, ROOT, USE, blocks, table

MAKEFILE = (ROOT / "Makefile").read_text()

OTHER_PROGRAMS = ("vllm", "mlflow", ".")
PACKAGES = ("pipeline", "data_prep", "eval", "jobs", "launchers", "tests", "docs", "benchmarks")


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def commands(text: str) -> Iterator[list[str]]:
    """Words of the command lines in a page's shell blocks, without comments and without variables that stand before."""
    for block in blocks(text, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            while words and re.match(r"[A-Z_]+=", words[0]):
                words.pop(0)
            if words:
                yield words


COMMANDS = [
    pytest.param(words, id=f"{name_of(page)}: {shlex.join(words)}") for page in PAGES for words in commands(page.read_text())
]


def parse(command: click.Command, words: list[str]) -> None:
    """Go down to the subcommand that the words name and parse its options. Nothing runs; a mistake raises."""
    while isinstance(command, click.Group):
        if "--help" in words[:1]:
            return
        flags = {name for parameter in command.params for name in parameter.opts}
        while words and words[0].startswith("-"):
            assert words[0] in flags, f"{command.name} has no option {words[0]}"
            words = words[1:]
        assert words, f"{command.name} needs a subcommand"
        assert words[0] in command.commands, f"{command.name} has no command {words[0]}"
        command, words = command.commands[words[0]], words[1:]
    with mock.patch("pipeline.recipes.source.run_file"):  # of --components: files of a reader's own
        context = command.make_context(command.name, list(words))
    # A reader's own file is not there; ours stands for it.
    settings = [re.sub(r"^templates=.*\.toml$", "templates=magic", each) for each in context.params.get("settings", ())]
    for recipe in filter(None, [context.params.get("recipe"), context.params.get("diff")]):
        if not re.fullmatch(r"[\w./]+(\.py:\w+|\.json)", recipe):
            override(load(recipe), settings)


def check_module(name: str, words: list[str]) -> None:
    """A module called with `python -m`: ours parse their options, a foreign one must be installed."""
    found = importlib.util.find_spec(name)
    assert found, f"no module {name}"
    if name.split(".")[0] not in PACKAGES:
        for word in words:
            assert "/" not in word or exists(word), f"{word} is not there"
        return
    entry = importlib.import_module(f"{name}.__main__" if found.submodule_search_locations else name).main
    if isinstance(entry, click.Command):
        parse(entry, words)
    elif name == "tests.mutants":
        assert set(words) <= {mutant.name for mutant in MUTANTS}


def check_make(words: list[str]) -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE))
    variables = set(re.findall(r"^([A-Z_]+) \?=", MAKEFILE, re.MULTILINE))
    for word in words:
        variable, is_variable, _ = word.partition("=")
        assert variable in (variables if is_variable else targets), f"make has no {variable}"


@pytest.mark.parametrize("words", COMMANDS)
def test_shown_commands_and_their_options_exist(words: list[str]) -> None:
    program, *rest = words
    if program == "crem":
        parse(cli.group, rest)
    elif program == "python":
        assert rest[0] == "-m"
        check_module(rest[1], rest[2:])
    elif program == "make":
        check_make(rest)
    elif program == "sbatch":
        script = next(place for place, word in enumerate(rest) if word.endswith(".sh"))
        assert exists(rest[script])
        called = re.search(r"exec \S+ -m (\S+) (\w*)", (ROOT / rest[script]).read_text())
        assert called
        if called[1] == "launchers.cli":
            parse(cli.group, [called[2], *rest[script + 1 :]])
        else:
            check_module(called[1], rest[script + 1 :])
    else:
        assert program in OTHER_PROGRAMS, f"{program}: what is this?"


def test_commands_named_in_sentences_exist() -> None:
    pages = [re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL) for page in PAGES]
    spans = {" ".join(span.split()) for page in pages for span in re.findall(r"`((?:crem|make|python -m)\s[^`]+)`", page)}
    assert {"crem recipes show mini", "make demo-full"} <= spans
    for span in spans:
        words = shlex.split(span)
        if words[0] == "make":
            check_make(words[1:])
        elif words[0] == "crem":
            parse(cli.group, words[1:])
        else:
            check_module(words[2], words[3:])


def test_a_wrong_command_would_be_noticed() -> None:
    wrong = ("nope", "run --nope", "run --until nope", "run --recipe nope", "run --set sed=3", "--nope run", "")
    for words in map(str.split, wrong):
        with pytest.raises((AssertionError, click.UsageError, ConfigError)):
            parse(cli.group, words)
    for words in (["demo", "NOPE=1"], ["nope"]):
        with pytest.raises(AssertionError):
            check_make(words)


def exists(name: str) -> bool:
    """Whether a file named in a page is there, with the test or function that may stand behind `::`."""
    file, _, inside = name.partition("::")
    path = ROOT / file
    return path.exists() and (not inside or f"def {inside.split('::')[-1]}(" in path.read_text())


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_files_that_a_page_names_exist(page: Path) -> None:
    named = re.findall(rf"`((?:{'|'.join(PACKAGES)})/[\w./-]+(?:::\w+)?)`", page.read_text())
    assert [name for name in named if not exists(name)] == []


def test_where_to_change_things_names_files() -> None:
    rows = table(README, "where do I change ...")
    assert len(rows) >= 10
    for row in rows:
        assert [name for name in re.findall(r"`([\w./]+)`", row["file"]) if not (ROOT / name).is_file()] == []
        assert "`" in row["file"]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_resolve(page: Path) -> None:
    text = page.read_text()
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("https://"):
            continue
        file, _, anchor = target.partition("#")
        linked = (page.parent / file).resolve() if file else page
        assert linked.exists(), f"{target} leads nowhere"
        if anchor:
            titles = re.findall(r"^#+ (.+)$", linked.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}, target


def test_decisions_are_numbered_short_and_tell_their_mutants() -> None:
    numbers = [int(path.name[:3]) for path in DECISIONS]
    assert numbers == sorted(set(numbers)), "a number may be kept for work that has not landed, none stands twice"
    known = {mutant.name for mutant in MUTANTS}
    for path in DECISIONS:
        text = path.read_text()
        assert text.startswith(f"# {path.name[:3]}: ")
        assert len(text.splitlines()) <= 40, f"{path.name} is longer than 40 lines"
        _, said, kept_by = text.partition("## Kept by\n")
        assert said
        assert set(re.findall(r'"([^"]+)"', " ".join(kept_by.split()))) <= known, path.name


def test_the_first_screen_shows_the_demo() -> None:
    first = README.split("\n## ")[0]
    assert list(commands(first)) == [["make", "demo"], ["make", "test"]]
    assert first.splitlines().index("```sh") < 20
    assert [bool(text.strip()) for text in blocks(first, "text")] == [True], "what make demo prints"
    runs = {row["method"].split(" (")[0]: row["runs today"] for row in table(README, "method")}
    assert set(runs) == {"CREM", "CoMa", "Magic-MM-Embedding", "Bottleneck Tokens"}
    for told in runs.values():
        named = set(re.findall(r"`(\w+)`", told))
        assert told.startswith("yes") and named and named <= set(RECIPES)


def test_every_recipe_is_told() -> None:
    told = {name for row in table(USE, "recipe") for name in re.findall(r"`(\w+)`", row["recipe"])}
    ablations = {row.recipe for tables in PAPERS.values() for printed in tables for row in printed.rows if row.recipe}
    assert told <= set(RECIPES)
    assert set(RECIPES) - told == ablations - told, "those that the page does not name are rows of crem recipes list"


def test_stages_and_their_folders() -> None:
    work = Path("somewhere")
    context = Context(work=work, data=work / "toy", recipe=load("tiny"), tracking="nowhere://")
    folders = {stage.name: f"`<work>/{stage.folder.relative_to(work).as_posix()}`" for stage in stages(context, Machine())}
    assert {row["stage"].strip("`"): row["writes"] for row in table(README, "stage")} == folders
