"""The worked example of docs/own_corpus.md runs as printed, and what users get wrong is one line."""

import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from data_prep.convert import Conversion, convert
from data_prep.own_corpus import find_corpus
from launchers.cli import group
from pipeline.data.reject import Reject
from pipeline.data.row_ranges import EVERY_ROW, RowRanges
from pipeline.data.shards import ShardIndex
from pipeline.errors import ConfigError, DataError
from pipeline.sample import Sample, Side, Turn
from tests.pages import ROOT, blocks
from tests.pipeline.data.releases import picture, train_row, write_table, write_train

PAGE = (ROOT / "docs" / "own_corpus.md").read_text()
CODE, CALL = blocks(PAGE, "python")
HEAD = "from pipeline.sample import Sample, Side, Turn\nfrom pipeline.data.reject import RowError\n"


def write_corpus(folder: Path, body: str) -> str:
    (folder / "mine.py").write_text(f"{HEAD}def mine():\n    {body}\n")
    return f"{folder / 'mine.py'}:mine"


@pytest.fixture
def groceries(tmp_path: Path) -> Path:
    """The folder of the page's example."""
    data = tmp_path / "my_data"
    data.mkdir()
    (data / "groceries.py").write_text(CODE)
    (data / "groceries.csv").write_text(blocks(PAGE, "csv")[0])
    for seed, name in enumerate(("apple.jpg", "milk.jpg")):
        (data / name).write_bytes(picture(seed))
    return data


def test_the_worked_example_runs_as_printed(groceries: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(groceries.parent)
    found: dict[str, dict[str, int]] = {}
    exec(CALL, found)
    assert (found["counts"]["read"], found["counts"]["converted"], found["counts"]["rejected"]) == (3, 2, 1)
    index = ShardIndex.open(groceries.parent / "my_work" / "shards")
    wording = "<|image_1|>\nIdentify the grocery item shown in the image\n"
    assert [index.read(row) for row in index.datasets["groceries"]] == [
        Sample(
            key=f"groceries-{row:08d}",
            dataset="groceries",
            query=Side(instruction=wording, images=(picture(row),)),
            positive=Side(text=name),
            negatives=(Side(text=f"something else of {aisle}"),),
        )
        for row, (name, aisle) in enumerate([("Granny Smith", "fruit"), ("Oat milk", "dairy")])
    ]
    assert index.kind("groceries") == "pairs"
    rejects = (groceries.parent / "my_work/shards/groceries/rejects.jsonl").read_text()
    assert '"row": 2' in rejects
    assert "no photo lost.jpg" in rejects


def test_the_command_is_as_printed(groceries: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(groceries.parent)
    write_train(groceries, "Toy", [train_row("q", "", "p")])
    words = shlex.split(blocks(PAGE, "sh")[0])
    done = CliRunner().invoke(group, [*words[1:], "--recipe", "tiny"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    index = ShardIndex.open(groceries.parent / "my_work" / "shards")
    assert list(index.datasets) == ["Toy", "groceries"]


def test_own_corpora_stand_beside_others(groceries: Path, tmp_path: Path) -> None:
    write_train(groceries, "Toy", [train_row("q", "", "p")])
    talks = write_corpus(tmp_path, 'yield Sample(key="", dataset="", query=Side(turns=(Turn(question="q", answer="a"),)))')
    corpora = (f"{groceries / 'groceries.py'}:groceries", talks)
    convert(Conversion(data=groceries, out=tmp_path / "out", corpora=corpora))
    index = ShardIndex.open(tmp_path / "out")
    assert {name: index.kind(name) for name in index.datasets} == {"Toy": "pairs", "groceries": "pairs", "mine": "conversations"}
    assert index.read(index.datasets["mine"][0]).query.turns == (Turn(question="q", answer="a"),)


def test_only_the_asked_rows_come(groceries: Path) -> None:
    corpus = find_corpus(f"{groceries / 'groceries.py'}:groceries")
    prepared: list[bytes] = []

    def prepare(encoded: bytes) -> bytes:
        prepared.append(encoded)
        return encoded

    items = list(corpus.read(prepare, None, RowRanges.of([range(1, 2)])))  # type: ignore[arg-type]
    assert [item.key for item in items] == ["groceries-00000001"]
    assert prepared == [picture(1)]
    assert corpus.count() == 3


BAD_ROWS = {
    "yield Sample(key='', dataset='', query=Side(), positive=Side(text='p'))": "a side has neither text nor picture",
    "yield Sample(key='', dataset='', query=Side(text='q\\0'), positive=Side(text='p'))": "a text holds a NUL character",
    "yield Sample(key='', dataset='', query=Side(text='q'))": "pairs and conversations in one corpus",
    "yield RowError('too dull')": "too dull",
}


@pytest.mark.parametrize("body", BAD_ROWS)
def test_a_bad_row_is_a_reject(body: str, tmp_path: Path) -> None:
    first = "yield Sample(key='', dataset='', query=Side(text='q'), positive=Side(text='p'))\n    "
    corpus = find_corpus(write_corpus(tmp_path, first + body))
    good, bad = corpus.read(lambda encoded: encoded, None, EVERY_ROW)  # type: ignore[arg-type]
    assert isinstance(good, Sample)
    assert isinstance(bad, Reject)
    assert (bad.source, bad.row, bad.key) == ("mine.py", 1, "mine-00000001")
    assert BAD_ROWS[body] in bad.reason


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ("yield 'text'", "mine.py:mine: TypeError: it yields str, not Sample or RowError"),
        ("yield 1 / 0", "mine.py:mine: ZeroDivisionError: division by zero; mend the file"),
        ("raise SystemExit(0)", "mine.py:mine: SystemExit: 0; mend the file"),
        ("return None", "mine.py:mine: TypeError: 'NoneType' object is not iterable"),
        ("yield from ()", "mine.py:mine: yields no sample"),
    ],
)
def test_a_function_that_fails_is_one_line(body: str, complaint: str, tmp_path: Path) -> None:
    corpus = find_corpus(write_corpus(tmp_path, body))
    with pytest.raises(DataError) as caught:
        _ = corpus.kind
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_corpus_is_refused_before_any_work(tmp_path: Path) -> None:
    write_corpus(tmp_path, "yield")
    (tmp_path / "broken.py").write_text("def mine(:")
    for source, complaint in {
        "mine": "is not of the form",
        "mine.py": "is not of the form",
        f"{tmp_path}/mine.py:": "is not of the form",
        f"{tmp_path}/none.py:mine": "no file",
        f"{tmp_path}/mine.py:yours": "has no function yours",
        f"{tmp_path}/broken.py:mine": "SyntaxError",
    }.items():
        with pytest.raises(ConfigError, match=complaint):
            find_corpus(source)


def test_another_split_of_the_pairs_is_converted_anew(tmp_path: Path) -> None:
    write_train(tmp_path, "Toy", [train_row("one wording", "", "p")])
    write_table(tmp_path / "MMEB-train" / "Toy" / "diverse_instruction-00000-of-00001.parquet", [train_row("another", "", "p")])
    for split, words in (("original", "one wording"), ("diverse_instruction", "another"), ("original", "one wording")):
        convert(Conversion(data=tmp_path, out=tmp_path / "out", split=split))
        assert ShardIndex.open(tmp_path / "out").read(0).query.text == words
