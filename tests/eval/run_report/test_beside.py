"""Our figures beside the papers': differences worked by hand, and none where the two do not measure the same."""

from dataclasses import replace
from pathlib import Path

import pytest

from eval.run_report import papers
from eval.run_report.ablations import noted_figures
from eval.run_report.beside import BesideTable, Line, Ours, ablation_table, main_table
from eval.run_report.figures import all_figures, mean_cache_share, retrieval_figures
from eval.run_report.measured import Lineage, Measured, Results
from eval.run_report.papers import PaperTable
from pipeline.data.mmeb_registry import META
from pipeline.errors import DataError
from pipeline.recipes import printed
from tests.eval.run_report.measured_models import FILES, KEPT, answers, retrieval

TABLE_1 = next(each for each in papers.main_tables() if each.table.number == 1)
TABLE_2 = next(each for each in papers.main_tables() if each.table.number == 2)
TABLE_8 = next(each for each in papers.ablation_tables() if each.table.number == 8)


def model(recipe: str = "crem_2b", *, other: str = "", is_toy: bool = False, results: Results | None = None) -> Measured:
    known = Lineage(run_id="a" * 32, recipe=recipe, other=other, is_toy=is_toy)
    return Measured(label=recipe, lineage=known, results=results or Results(folder=Path(), retrieval=retrieval(0.7)))


def line(table: BesideTable, kind: str) -> Line | None:
    return next((each for each in table.lines if each.kind == kind), None)


def test_table_11_has_the_means_that_table_1_prints() -> None:
    by_set = papers.by_set()
    assert set(by_set.columns) == set(META)
    columns = dict(zip(printed.MMEB.columns, range(7), strict=True))
    groups = {"CLS": "classification", "QA": "vqa", "RET": "retrieval", "GD": "grounding", "IND": "IND", "OOD": "OOD"}
    for size in ("2B", "7B"):
        theirs = next(row for row in printed.MMEB.rows if row.label == f"CREM, Qwen2-VL {size}").figures
        row = next(row for row in by_set.rows if row.label == f"CREM {size}")
        figures = dict(zip(by_set.columns, row.figures, strict=True))
        for column, group in {**groups, "Overall": ""}.items():
            members = [figures[name] for name, info in META.items() if group in ("", info.meta_task, info.split)]
            assert sum(members) / len(members) == pytest.approx(theirs[columns[column]], abs=0.051)


def test_a_damaged_table_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("set,CREM 2B\nNIGHTS,high\n")
    with pytest.raises(DataError, match=r"t\.csv"):
        papers.by_set(tmp_path / "t.csv")


def test_a_difference_is_ours_less_theirs_in_points() -> None:
    table = main_table(TABLE_1, [model()])
    ours, apart = line(table, "ours"), line(table, "difference")
    assert ours is not None and apart is not None
    overall, moved = ours.cells[-1], apart.cells[-1]
    assert overall is not None and moved is not None
    # 70.0 (68.0 to 72.0) beside CREM 2B's 66.7
    assert (overall.value, overall.low, overall.high) == pytest.approx((70.0, 68.0, 72.0))
    assert (moved.value, moved.low, moved.high) == pytest.approx((3.3, 1.3, 5.3))
    assert "CREM, Qwen2-VL 2B" in apart.label and ours.run == "a" * 32
    assert [each.kind for each in table.lines].count("paper") == len(printed.MMEB.rows)


@pytest.mark.parametrize(
    ("measured", "said"),
    [
        (model(is_toy=True), "toy world"),
        (model("tiny"), "no row of this table"),
        (model(other="seed"), "other values (seed)"),
        (model(results=Results(folder=Path(), retrieval=retrieval(0.7, queries=100))), "36 sets without their 1,000 queries"),
    ],
)
def test_no_difference_is_taken_where_something_else_was_measured(measured: Measured, said: str) -> None:
    table = main_table(TABLE_1, [measured])
    assert line(table, "ours") is not None and line(table, "difference") is None
    assert any(said in note for note in table.notes)


def test_a_mean_over_a_part_is_compared_only_where_it_is_whole() -> None:
    names = {name: info for name, info in META.items() if name != "NIGHTS"}
    found = retrieval_figures(retrieval(0.7, names))
    assert found["Overall"].note == "35 of 36 sets" and found["RET"].note == "11 of 12 sets" and found["IND"].note
    assert not found["CLS"].note and not found["OOD"].note
    table = main_table(TABLE_1, [model(results=Results(folder=Path(), retrieval=retrieval(0.7, names)))])
    apart = line(table, "difference")
    assert apart is not None and [cell is not None for cell in apart.cells] == [True, True, False, True, False, True, False]


def test_the_kept_share_is_over_the_mean_context_of_all_questions() -> None:
    compressed = {name: answers(0.4, name, "compressed") for name in FILES}
    assert all_figures(Results(folder=Path(), questions={"compressed": compressed}))["Cache"].value == pytest.approx(4.0)
    longer = replace(compressed["MMVet"], hits=(1.0,) * 3, conditions={**KEPT, "mean_context_tokens": 1200.0})
    share = mean_cache_share({**compressed, "MMVet": longer})
    assert share == pytest.approx(16 / ((5 * 400 + 3 * 1200) / 8)), "each question counts once"
    assert mean_cache_share({**compressed, "MMVet": replace(longer, conditions={})}) is None, "an older result does not tell"


def test_the_mean_of_six_needs_all_six() -> None:
    native = {name: answers(0.1 * (number + 1), name) for number, name in enumerate(FILES)}
    whole = all_figures(Results(folder=Path(), questions={"native": native, "compressed": native}))
    assert whole["AVG"].value == whole["Nat."].value == whole["Comp."].value == pytest.approx(35.0)
    assert whole["MMVet"].value == pytest.approx(20.0) and not whole["AVG"].note
    native["MMVet"] = answers(None, "MMVet")
    part = all_figures(Results(folder=Path(), questions={"native": native}))
    assert "AVG" not in part and "Nat." not in part and "MMVet" not in part and "AI2D" in part
    table = main_table(TABLE_2, [model(results=Results(folder=Path(), questions={"native": native}))])
    apart = line(table, "difference")
    assert apart is not None and apart.cells[-1] is None and apart.cells[1] is None and apart.cells[0] is not None
    assert apart.cells[0].value == pytest.approx(10.0 - 72.5)


def test_ablations_stand_below_the_row_of_their_recipe() -> None:
    metrics = {f"eval/trained/hit_at_1/{name}": 0.5 for name in (*META, "overall")}
    ours = Ours(label="run", lineage=Lineage(run_id="b", recipe="crem_2b_r1_g1_p1"), figures=noted_figures(metrics))
    table = ablation_table(TABLE_8, {"crem_2b_r1_g1_p1": ours})
    assert [each.kind for each in table.lines] == ["paper", "ours", "difference", "paper", "paper", "paper", "paper"]
    cells = table.lines[2].cells
    assert cells[0] is None and cells[2] is not None and cells[2].value == pytest.approx(50.0 - 66.4)
    assert cells[2].low is None, "a run notes no interval"


def test_what_a_run_noted_of_other_sets_is_not_compared() -> None:
    found = noted_figures({"eval/trained/hit_at_1/NIGHTS": 0.5, "eval/trained/hit_at_1/overall": 0.5})
    assert found["MMEB"].note == "1 of 36 sets"
    native = {f"eval/trained/accuracy/native/{name}": 0.5 for name in FILES}
    assert noted_figures(native)["Nat."].value == 50.0 and not noted_figures(native)["Nat."].note
    assert "Nat." not in noted_figures({name: value for name, value in native.items() if "MMVet" not in name})
    assert noted_figures(native, "toy world")["Nat."].note == "toy world"


def test_every_printed_table_can_stand_beside_ours() -> None:
    everything = Results(
        folder=Path(),
        retrieval=retrieval(0.7),
        retrieval_v2=retrieval(0.6),
        questions={"native": {name: answers(0.5, name) for name in FILES}},
    )
    tables: list[PaperTable] = papers.main_tables()
    empty = [table for table in tables if not main_table(table, [model(results=everything)]).has_ours]
    assert [table.table.title for table in empty] == [printed.CAPTIONS.title] * 2, "captions were not measured"
    btoks = next(each for each in tables if "MMEB-V2" in each.name)
    ours = line(main_table(btoks, [model(results=everything)]), "ours")
    assert ours is not None and ours.cells[4] is not None and ours.cells[4].value == pytest.approx(60.0), "by MMEB-V2's rules"
