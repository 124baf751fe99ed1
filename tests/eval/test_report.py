"""The page: self-contained, escaped, the same bytes every time, whatever of its files is there."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from eval import mmeb, vlm
from eval.metrics import score
from eval.reconstruct import ReconstructionExample, ReconstructResult
from eval.report import ReportInputs, build_report, read_curves
from eval.report_markup import picture
from eval.results import Provenance, read_result, write_result
from pipeline.errors import DataError
from tests.eval.fakes import FakeModel, png, write_eval, write_pictures
from tests.eval.test_tsv import coded, write

HOSTILE = """</td><script src="https://evil.example/x.js">alert(1)</script><img src=http://evil.example/i onerror='x'>"""


class Page(HTMLParser):
    """Collects tags and checks that they are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> ReportInputs:
    """Results of a small evaluation whose every text is hostile."""
    root = tmp_path_factory.mktemp("report")
    write_pictures(root, {"naming/a.png": png((200, 30, 30)), "naming/b.png": png((30, 30, 200))})
    rows = [(f"<|image_1|>\n{HOSTILE}\n", f"naming/{name}.png", [HOSTILE, "plain"], ["", ""]) for name in "ab"]
    write_eval(root, "naming", rows)
    results = {
        "trained": mmeb.evaluate(FakeModel(fingerprint="1" * 64), root),
        "untrained": mmeb.evaluate(FakeModel(fingerprint="2" * 64), root),
        "blank": mmeb.evaluate(FakeModel(fingerprint="1" * 64), root, blank=True),
    }
    for name, result in results.items():
        write_result(result, root / f"{name}.json")
    tsv_rows = [[str(n), HOSTILE, HOSTILE, "other", "", "A", HOSTILE, coded(png((n, n, n)))] for n in range(4)]
    tsv = write(root / "Hostile.tsv", tsv_rows)
    questions = []
    for mode in ("native", "compressed", "swapped"):
        answer = vlm.evaluate(FakeModel(answer_one=lambda context, question, compressed: HOSTILE), tsv, mode=mode, out=root)
        write_result(answer, root / f"Hostile-{mode}.json")
        questions.append(root / f"Hostile-{mode}.json")
    examples = (ReconstructionExample(text=HOSTILE, own=HOSTILE, swapped=HOSTILE, is_seen=False),)
    rebuilt = ReconstructResult(
        provenance=Provenance(model="1" * 64, data="3" * 64, settings={}),
        num_texts=4,
        mean_words=9.0,
        unseen=1.0,
        own=score([1.0, 1.0, 0.0, 1.0], chance=0.0, seed=0),
        own_unseen=None,
        swapped=score([0.0] * 4, chance=0.0, seed=0),
        examples=examples,
    )
    write_result(rebuilt, root / "rebuilt.json")
    lines = [{"step": step, "train/loss": 4.0 / (step + 1), HOSTILE: step} for step in range(20)]
    (root / "curves.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (root / "recipe.json").write_text(json.dumps({"name": "tiny", "summary": HOSTILE}))
    return ReportInputs(
        title=f"Report {HOSTILE}",
        notice="toy world: not comparable with MMEB",
        trained=root / "trained.json",
        untrained=root / "untrained.json",
        blank=root / "blank.json",
        questions=tuple(questions),
        reconstruction=root / "rebuilt.json",
        curves=root / "curves.jsonl",
        recipe=root / "recipe.json",
        links={"data": "toy/", "address": "https://example.org/run", "run": "javascript:alert(1)", HOSTILE: HOSTILE},
    )


@pytest.fixture(scope="module")
def page(inputs: ReportInputs, tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("page") / "report.html"
    build_report(inputs, out)
    return out.read_text(encoding="utf-8")


def test_tags_are_closed_in_order(page: str) -> None:
    assert Page(page).open == []


def test_nothing_is_loaded_from_anywhere(page: str) -> None:
    parsed = Page(page)
    assert [attributes for tag, attributes in parsed.tags if tag == "script"] == [{}], "ours alone, which the page's policy names"
    assert not {"link", "iframe", "object", "embed", "base", "form"} & {tag for tag, _ in parsed.tags}
    for tag, attributes in parsed.tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in ("src", "srcset", "data", "poster", "action", "background"):
                assert (value or "").startswith("data:image/"), (tag, value)
            if name in ("href", "xlink:href"):
                assert re.fullmatch(r"#[a-z]+|toy/", value or ""), (tag, value)
    styles = "".join(re.findall(r"<style>(.*?)</style>", page, re.DOTALL))
    assert "url(" not in styles
    assert "@import" not in styles


def test_hostile_texts_stand_as_text(page: str) -> None:
    words = "".join(Page(page).text)
    assert words.count("alert(1)") > 10
    assert '<script src="https' in words


def test_a_file_without_splits_shows_no_split(page: str) -> None:
    words = Page(page).text
    assert "accuracy: Overall" in words and not [word for word in words if word.startswith("none: ")]


def test_the_chart_scrolls_where_the_page_is_narrow(page: str) -> None:
    """Drawn to the width of a telephone its words cannot be read."""
    (box,) = [named for tag, named in Page(page).tags if tag == "div" and named.get("class") == "scroll chart"]
    assert box["tabindex"] == "0"


def test_every_section_is_there_and_linked(page: str) -> None:
    parsed = Page(page)
    sections = {attributes["id"] for tag, attributes in parsed.tags if tag == "section"}
    assert sections == {"retrieval", "questions", "reconstruction", "found", "answers", "training", "recipe", "provenance"}
    assert {f"#{name}" for name in sections} <= {attributes.get("href") for tag, attributes in parsed.tags if tag == "a"}
    words = "".join(parsed.text)
    for word in (
        "toy world: not comparable with MMEB",
        "untrained",
        "blank pictures",
        "majority",
        "another picture's tokens",
        "75.0",
    ):
        assert word in words


def test_pictures_lie_in_the_page(page: str) -> None:
    uris = [attributes["src"] or "" for tag, attributes in Page(page).tags if tag == "img"]
    assert len(uris) >= 4
    assert all(uri.startswith("data:image/png;base64,") for uri in uris)


def test_the_same_files_make_the_same_page(inputs: ReportInputs, page: str, tmp_path: Path) -> None:
    build_report(inputs, tmp_path / "again.html")
    assert (tmp_path / "again.html").read_text(encoding="utf-8") == page


def test_what_was_not_measured_is_said(tmp_path: Path) -> None:
    build_report(ReportInputs(title="Empty"), tmp_path / "report.html")
    parsed = Page((tmp_path / "report.html").read_text())
    sections = [attributes["id"] for tag, attributes in parsed.tags if tag == "section"]
    assert sections == ["retrieval", "questions", "reconstruction"]
    assert [text.split(".")[0] for text in parsed.text if "measured" in text] == ["Not measured"] * 3


def test_a_mean_over_a_part_of_the_sets_says_so(inputs: ReportInputs, tmp_path: Path) -> None:
    assert inputs.trained is not None
    whole = read_result(mmeb.MmebResult, inputs.trained)
    part = replace(whole, num_sets=dict.fromkeys(whole.num_sets, 36))
    write_result(part, tmp_path / "part.json")
    build_report(ReportInputs(title="Part", trained=tmp_path / "part.json"), tmp_path / "report.html")
    assert "1 of 36 sets" in Page((tmp_path / "report.html").read_text()).text


def test_missing_and_foreign_files_are_named(inputs: ReportInputs, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.json"):
        build_report(ReportInputs(title="x", trained=tmp_path / "none.json"), tmp_path / "report.html")
    assert inputs.trained is not None
    with pytest.raises(DataError, match="not a VlmResult"):
        build_report(ReportInputs(title="x", questions=(inputs.trained,)), tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize("line", ["nonsense", '{"loss": 1}', '{"step": 1, "loss": "high"}', "[1]"])
def test_bad_curves_name_the_line(tmp_path: Path, line: str) -> None:
    path = tmp_path / "curves.jsonl"
    path.write_text(f'{{"step": 0, "loss": 2}}\n{line}\n')
    with pytest.raises(DataError, match="line 2"):
        read_curves(path)


@pytest.mark.parametrize(
    "uri", ["https://x.example/a.png", "data:text/html;base64,AAAA", 'data:image/png;base64,AA" onload="x', ""]
)
def test_only_pictures_in_the_page_are_shown(uri: str) -> None:
    assert picture(uri) == ""
