"""Templates from files: what a whole one says, and one line about every wrong one."""

from pathlib import Path

import pytest

from pipeline.data.mmeb_registry import ALIASES, META
from pipeline.data.mmeb_train_sets import TRAIN_SETS
from pipeline.errors import ConfigError
from pipeline.template_file import MOST_BYTES, named_templates, read_templates
from pipeline.templates import Instructions, Templates
from tests.pages import ROOT, blocks

WHOLE = """
[template]
query = "{instruction}: {text}"

[default]
query = " find it "
candidate = ""

[meta_task.vqa]
query = "answer"
candidate = "an answer"

[dataset."my set"]
query = "mine"
candidate = "mine too"
"""


def test_a_whole_file_is_its_value(tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_text(WHOLE)
    assert named_templates(str(path)) == Templates(
        query_template="{instruction}: {text}",
        instructions=(
            Instructions(of="default", query="find it", candidate=""),
            Instructions(of="meta_task.vqa", query="answer", candidate="an answer"),
            Instructions(of="dataset.my set", query="mine", candidate="mine too"),
        ),
    )


def test_our_own_file_names_sets_that_there_are() -> None:
    own = named_templates("magic")
    names = {each.of.removeprefix("dataset.") for each in own.instructions if each.of.startswith("dataset.")}
    assert names <= set(META) and own.query_template.startswith("Instruct: ")
    kinds = {name: META[ALIASES.get(name, name)].meta_task for name in TRAIN_SETS}
    assert all(ALIASES.get(name, name) in names or kind in ("vqa", "grounding") for name, kind in kinds.items())
    assert {each.of for each in own.instructions} >= {"default", *(f"meta_task.{kind}" for kind in kinds.values())}


TABLE = '[default]\nquery = "a"\ncandidate = "b"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"has no instructions; give \[default\] or \[dataset.<name>\], with query and candidate"),
        ("[template]\n", "has no instructions"),
        ("[dataset]\n", "has no instructions"),
        ("query = ", r"is not TOML \(Invalid value"),
        ("x = " + "[" * 100_000, "is not TOML"),
        ("x = " + "9" * 5000, "is not TOML"),
        ('[defaults]\nquery = "a"', r"\[defaults\] is not known; there are template, default, meta_task, dataset"),
        ('default = "a"', r"default is no table; write \[default\]"),
        ('[dataset]\nCIRR = "a"', r"\[dataset.CIRR\] is no table of query and candidate"),
        ('[default]\nquery = "a"', r'\[default\] lacks candidate; write candidate = "" for none'),
        (TABLE + 'positive = "c"', r"\[default\] positive: is not known; there are query, candidate"),
        ('[dataset.CIRR]\nquery = 3\ncandidate = ""', r"\[dataset.CIRR\] query: 3 is no text"),
        ('[meta_task.sorting]\nquery = ""\ncandidate = ""', "meta_task.sorting: is not default, dataset"),
        ('[dataset.""]\nquery = ""\ncandidate = ""', "dataset.: is not default"),
        (TABLE + '[template]\nquery = "{instruction}"', r"\[template\] query: does not end with \{text\}"),
        (TABLE + '[template]\nsides = "{instruction}{text}"', r"\[template\] sides: is not known"),
        (TABLE + "[template]\nquery = [1]", r"\[template\] query: \[1\] is no text"),
        ('[default]\nquery = "<|image_1|>"\ncandidate = "b"', r"default, query: <\|image_1\|> is a picture"),
        ('[default]\nquery = "\\u0000"\ncandidate = "b"', "default, query: it holds a NUL"),
    ],
)
def test_wrong_files_are_told_in_one_line_with_file_and_key(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as refused:
        read_templates(path)
    assert str(refused.value).startswith(f"templates {path}: ") and "\n" not in str(refused.value)


def test_what_is_no_such_file_is_told_too(tmp_path: Path) -> None:
    latin, large = tmp_path / "latin.toml", tmp_path / "large.toml"
    latin.write_bytes(b'[default]\nquery = "caf\xe9"\n')
    large.write_text("#" * (MOST_BYTES + 1))
    for path, message in (
        (latin, "is not UTF-8 at byte 22"),
        (large, f"more than {MOST_BYTES} bytes"),
        (tmp_path, "no such file"),
    ):
        with pytest.raises(ConfigError, match=message):
            read_templates(path)
    with pytest.raises(ConfigError, match=r"templates .*nowhere.toml: no such file"):
        named_templates(str(tmp_path / "nowhere.toml"))
    with pytest.raises(ConfigError, match=r"templates '../magic': name a file that ends with .toml, or one of ours: magic"):
        named_templates("../magic")


def test_the_file_of_the_documentation_is_one(tmp_path: Path) -> None:
    (shown,) = (text for text in blocks((ROOT / "docs" / "train.md").read_text(), "toml") if text.startswith("[template]"))
    (tmp_path / "my.toml").write_text(shown)
    found = read_templates(tmp_path / "my.toml")
    assert [each.of for each in found.instructions] == ["default", "meta_task.vqa", "dataset.birds of my own"]
