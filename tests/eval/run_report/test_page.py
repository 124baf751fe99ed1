"""The page over several models: escaped, without outside files, every number with its origin; and the same in CSV."""

import base64
import csv
import hashlib
import re
from pathlib import Path

import pytest

from eval.plots import curves, grouped_bars
from eval.run_report.ablations import noted_figures
from eval.run_report.beside import Ours, main_table
from eval.run_report.figures import answer_means
from eval.run_report.measured import Lineage, Measured, Results
from eval.run_report.page import write_report
from eval.run_report.papers import main_tables
from eval.run_report.sections import bars
from pipeline.data.mmeb_registry import META
from tests.eval.run_report.measured_models import FILES, answers, retrieval
from tests.eval.test_report import HOSTILE, Page

OTHER = "c" * 32


def measured(label: str, run_id: str, value: float, recipe: str = "crem_2b") -> Measured:
    results = Results(
        folder=Path("results") / HOSTILE,
        retrieval=retrieval(value, text=HOSTILE),
        questions={
            mode: {name: answers(value - less, name, mode, text=HOSTILE) for name in FILES}
            for mode, less in (("native", 0.0), ("compressed", 0.1), ("swapped", 0.2))
        },
    )
    return Measured(
        label=label,
        lineage=Lineage(run_id=run_id, recipe=recipe, data=HOSTILE, checkpoint="train/step-00000007"),
        results=results,
        fewer={4: Results(folder=Path(), retrieval=retrieval(value - 0.2))},
        tokens=16,
        speed={"train/pairs_per_second": 12.5},
    )


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of two models whose every text is hostile, with one ablation found."""
    folder = tmp_path_factory.mktemp("shown")
    noted = noted_figures({f"eval/trained/hit_at_1/{name}": 0.5 for name in (*META, "overall")})
    found = {"crem_2b_mlp": Ours(label="run", lineage=Lineage(run_id=OTHER, recipe="crem_2b_mlp"), figures=noted)}
    models = [measured(HOSTILE, "a" * 32, 0.7), measured("second $_{model}", "b" * 32, 0.5, recipe="tiny")]
    write_report(models, found, folder, notice=HOSTILE)
    return folder


def test_nothing_is_loaded_and_only_our_script_may_run(out: Path) -> None:
    page = (out / "report.html").read_text()
    parsed = Page(page)
    assert parsed.open == []
    assert [attributes for tag, attributes in parsed.tags if tag == "script"] == [{}]
    assert not {"link", "iframe", "object", "embed", "base", "form"} & {tag for tag, _ in parsed.tags}
    for tag, attributes in parsed.tags:
        assert not any(name.startswith("on") for name in attributes), tag
        assert all(re.match(r"#[\w-]", value or "") for name, value in attributes.items() if name.endswith("href")), tag
    script = re.search(r"<script>(.*?)</script>", page, re.DOTALL)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    policy = next(a["content"] for tag, a in parsed.tags if tag == "meta" and a.get("http-equiv"))
    assert policy is not None and f"script-src 'sha256-{digest}'" in policy and "default-src 'none'" in policy


def test_every_number_leads_to_its_origin(out: Path) -> None:
    parsed = Page((out / "report.html").read_text())
    targets = {attributes["id"] for _, attributes in parsed.tags if "id" in attributes}
    links = {attributes["href"] for tag, attributes in parsed.tags if tag == "a" and "href" in attributes}
    assert {f"#run-{each * 32}" for each in "abc"} <= links
    assert {(link or "").removeprefix("#") for link in links} <= targets
    words = " ".join(parsed.text)
    assert "train/step-00000007" in words and "1" * 12 in words and "2" * 12 in words


def test_the_same_figures_stand_in_csv(out: Path) -> None:
    rows = list(csv.DictReader((out / "figures.csv").open()))
    table_1 = [row for row in rows if "Table 1:" in row["table"] and row["column"] == "Overall"]
    ours = [(row["row"], row["kind"], float(row["value"]), row["run_id"][:1]) for row in table_1 if row["kind"] != "paper"]
    assert ours[0] == (HOSTILE, "ours", 70.0, "a")
    assert ours[1][1:] == ("difference", pytest.approx(3.3), "a")
    assert ours[2] == ("second $_{model}", "ours", 50.0, "b") and len(ours) == 3
    assert {row["run_id"] for row in rows if row["kind"] == "paper"} == {""}
    pooled = [row for row in rows if "Table 9" in row["table"] and row["kind"] == "difference" and row["column"] == "Overall"]
    assert [float(row["value"]) for row in pooled] == [pytest.approx(50.0 - 65.8)] and pooled[0]["run_id"] == OTHER
    origins = list(csv.DictReader((out / "lineage.csv").open()))
    assert {row["run_id"] for row in rows if row["run_id"]} == {row["run_id"] for row in origins}
    assert {row["result"] for row in origins} >= {"retrieval", "MMStar, compressed"}


def test_examples_can_be_filtered_by_set_and_by_what_was_found(out: Path) -> None:
    parsed = Page((out / "report.html").read_text())
    shown = [attributes for _, attributes in parsed.tags if "data-item" in attributes and "data-set" in attributes]
    assert len(shown) == 2 * 2 * len(META)
    assert {each["data-found"] for each in shown} == {"right", "wrong"}
    assert {each["data-set"] for each in shown} == set(META) and {each["data-model"] for each in shown} >= {HOSTILE}
    assert {attributes.get("data-of") for tag, attributes in parsed.tags if tag == "select"} >= {"set", "found", "model", "file"}


def test_hostile_texts_stand_as_text(out: Path) -> None:
    words = "".join(Page((out / "report.html").read_text()).text)
    assert words.count("alert(1)") > 100 and '<script src="https' in words


def test_what_is_left_without_the_picture_is_taken_over_the_same_files() -> None:
    native = {"MMStar": answers(0.8, "MMStar"), "AI2D_TEST": answers(0.2, "AI2D_TEST")}
    compressed = {"MMStar": answers(0.6, "MMStar", "compressed"), "AI2D_TEST": answers(None, "AI2D_TEST", "compressed")}
    results = Results(folder=Path(), questions={"native": native, "compressed": compressed, "swapped": {}})
    assert answer_means(results) == {"native": pytest.approx(80.0), "compressed": pytest.approx(60.0)}
    assert answer_means(Results(folder=Path())) == {}


def test_bars_end_where_the_numbers_say() -> None:
    svg = bars([measured("one", "a" * 32, 0.5)], [main_table(table, []) for table in main_tables()]).body
    assert "paper: CREM, Qwen2-VL 2B" in svg and "paper: 2B CREM" not in svg, "Table 2 has as many columns, of another kind"
    rectangles = re.findall(r'<path d="([^"]+)"[^>]*style="fill: var\(--run-0\)', svg)
    heights = []
    for path in rectangles[:7]:
        ups = [float(y) for _, y in re.findall(r"([\d.]+) ([\d.]+)", path)]
        heights.append(max(ups) - min(ups))
    levels = [float(y) for y in re.findall(r'<use xlink:href="#tasks-m\w+" x="[\d.]+" y="([\d.]+)"', svg)]
    assert len(heights) == 7 and max(heights) == pytest.approx(min(heights))
    assert heights[0] == pytest.approx((max(levels) - min(levels)) / 2, rel=0.01), "50 of 100"


def test_plots_are_the_same_bytes_and_have_the_pages_colours() -> None:
    given = ({"<a> & $b": [(50.0, 40.0, 60.0), None]}, {"paper": [None, 3.0]}, "p")
    first = grouped_bars(["x", "y"], *given)
    assert first == grouped_bars(["x", "y"], *given)
    assert "&lt;a&gt; &amp; $b" in first and "var(--run-0)" in first
    line = curves({"k": [(1, 2.0), (4, 5.0)]}, {"native": 6.0}, ("tokens", "%"), "q")
    for svg in (first, line):
        assert not re.findall(r"#[0-9a-fA-F]{3,6}\b(?=[;\"])", re.sub(r'href="[^"]*"', "", svg))
        assert "<metadata" not in svg and "<!--" not in svg and "http://" not in svg.replace("http://www.w3.org", "")
