"""The paper's printed rows: every recipe differs from crem_2b in what its row names, and in nothing else."""

import re

import pytest

from pipeline.recipe_diff import differences
from pipeline.recipes import METHODS, load
from pipeline.recipes.printed import TABLES
from tests.conftest import ROOT, require

SEVEN = {"backbone.name": ("Qwen2-VL-2B-Instruct", "Qwen2-VL-7B-Instruct")}
NO_TOKENS = {
    "pooling": ("MeanOver(role=COMPRESSION)", "LastToken(role=CONTEXT)"),
    "tokens.count": ("16", "0"),
    "phases.0.layout.hidden": ("[Hide(keys=[CONTEXT], queries=[QUESTION, ANSWER])]", "[]"),
}
ORDER = "[SYSTEM, CONTEXT, COMPRESSION, QUESTION, ANSWER]"
NO_OWN = {"phases.0.mixture.own_sides": ("[query, positive]", "[]")}
NO_OUTSIDE = {"phases.0.mixture.outside": ("128", "0")}
NO_PAIRS = {"phases.0.mixture.pairs": ("1024", "0")}
GENERATION = NO_TOKENS | NO_PAIRS | {
    "phases.0.layout.order": (ORDER, "[SYSTEM, CONTEXT, QUESTION, ANSWER]"),
    "phases.0.mixture.native_share": ("0.0", "1.0"),
}  # fmt: skip
RETRIEVAL = (
    NO_TOKENS
    | NO_OWN
    | NO_OUTSIDE
    | {"phases.0.layout.order": (ORDER, "[CONTEXT]"), "phases.0.layout.template": ("chat", "plain")}
)
ALPHA_G = {"phases.0.language_weight": ("0.5", "1.0")}
ALPHA_R = {"phases.0.contrastive_weight": ("1.0", "0.5")}


def p(value: str) -> dict[str, tuple[str, str]]:
    return {"phases.0.layout.gate_probability": ("0.5", value)}


def k(count: str) -> dict[str, tuple[str, str]]:
    return {"tokens.count": ("16", count)}


BY_HAND: dict[str, dict[str, tuple[str, str]]] = {
    "crem_2b": {},
    "crem_2b_generation": GENERATION,
    "crem_2b_retrieval": RETRIEVAL,
    "crem_7b": SEVEN,
    "crem_7b_generation": SEVEN | GENERATION,
    "crem_7b_retrieval": SEVEN | RETRIEVAL,
    "crem_2b_no_generation": NO_OWN | NO_OUTSIDE,
    "crem_2b_no_retrieval": NO_PAIRS,
    "crem_2b_added": p("0.0"),
    "crem_2b_k1": k("1"),
    "crem_2b_k4": k("4"),
    "crem_2b_k8": k("8"),
    "crem_2b_k32": k("32"),
    "crem_2b_k64": k("64"),
    "crem_2b_homogeneous": NO_OUTSIDE,
    "crem_2b_heterogeneous": NO_OWN,
    "crem_2b_r1_g1_p1": ALPHA_G | p("1.0"),
    "crem_2b_r1_g1_p05": ALPHA_G,
    "crem_2b_r1_g1_p0": ALPHA_G | p("0.0"),
    "crem_2b_r05_g1_p05": ALPHA_R | ALPHA_G,
    "crem_2b_mlp": {"pooling": ("MeanOver(role=COMPRESSION)", "MLPMean(role=COMPRESSION)")},
    "crem_2b_attention": {"pooling": ("MeanOver(role=COMPRESSION)", "AttentionPool(role=COMPRESSION)")},
}


@pytest.fixture
def crem_paper() -> str:
    """The text of CREM's paper, where it lies beside the repository."""
    found = sorted((ROOT.parent / "shared" / "seeds").glob("001_*.txt"))
    if not found:
        require("seeds", f"the paper's text is not in {ROOT.parent / 'shared' / 'seeds'}")
    return found[0].read_text(encoding="utf-8")


@pytest.mark.parametrize("name", BY_HAND)
def test_a_recipe_differs_from_crem_2b_in_what_its_row_names(name: str) -> None:
    found = {difference.path: (difference.old, difference.new) for difference in differences(load("crem_2b"), load(name))}
    assert found == BY_HAND[name]


def test_every_printed_row_has_a_recipe_and_every_recipe_a_row() -> None:
    rows = {row.recipe for table in TABLES for row in table.rows if row.recipe}
    assert rows == set(BY_HAND)
    assert rows == set(METHODS["CREM (arXiv 2602.19091)"])


def test_the_paper_prints_so_many_rows() -> None:
    assert {table.number: len(table.rows) for table in TABLES} == {1: 17, 2: 8, 3: 6, 4: 7, 5: 4, 7: 4, 8: 5, 9: 3}
    assert all(len(row.figures) == len(table.columns) for table in TABLES for row in table.rows)


def test_figures_of_one_recipe_agree_from_table_to_table() -> None:
    """Rows share a recipe only where the paper prints the same figures: a slip in a figure or a wrong sharing shows here."""
    same = {"AVG": "Nat.", "Overall": "MMEB"}
    seen: dict[tuple[str, str], float | None] = {}
    for table in TABLES:
        for row in table.rows:
            for column, figure in zip(table.columns, row.figures, strict=True):
                key = row.recipe or row.label, same.get(column, column)
                assert seen.setdefault(key, figure) == figure, key


def test_sums_of_the_paper_come_out() -> None:
    """Table 2's average is the mean of six benchmarks, Table 4's cache k of some 1,428 positions (to its rounding)."""
    tables = {table.number: table for table in TABLES}
    for row in tables[2].rows:
        *benchmarks, average = (float(figure or 0) for figure in row.figures)
        assert abs(sum(benchmarks) / 6 - average) < 0.06
    for row in tables[4].rows[1:]:
        assert float(row.figures[3] or 0) == pytest.approx(0.07 * int(row.label), abs=0.001)
    # Of the models of others, VLM2Vec 2B's parts give 60.1 where 59.3 is printed: as in the paper.
    for row in (row for number in (1, 9) for row in tables[number].rows if row.recipe):
        figures = [float(figure or 0) for figure in row.figures]
        parts, overall = figures[:4], figures[-1]
        assert abs(sum(score * sets for score, sets in zip(parts, (10, 10, 12, 4), strict=True)) / 36 - overall) < 0.06


def test_the_figures_are_those_of_the_papers_text(crem_paper: str) -> None:
    """Every table of the text that prints trained models, row by row in its order; the marks of best figures are left away."""
    plain = re.sub(r"</?[biu]>|\\*\\*|\$", "", crem_paper)
    for table in TABLES:
        block = plain.split(f"\nTable {table.number}. ", 1)[1].split("\n\n", 2)[1]
        printed = []
        for name, *cells in (line.split("\t") for line in block.split("\n")):
            figures = [_figure(cell) for cell in cells[-len(table.columns) :]]
            if len(figures) == len(table.columns) and any(isinstance(figure, float) for figure in figures):
                printed.append((re.split(r" [\[(]", name)[0], tuple(figures)))
        printed = [row for row in printed if not row[0].startswith("# of")]
        assert [figures for _, figures in printed] == [row.figures for row in table.rows], table.number
        if table.number in (1, 2, 7):
            assert all(name in row.label for (name, _), row in zip(printed, table.rows, strict=True))


def _figure(cell: str) -> float | str | None:
    number = cell.strip().removesuffix("%")
    return None if number == "-" else float(number) if re.fullmatch(r"[\d.]+", number) else number


def test_table_8_names_its_recipes_by_their_values() -> None:
    """The label of a row says the weights and the probability, and the recipe has them."""
    (table,) = (table for table in TABLES if table.number == 8)
    for row in table.rows:
        assert row.recipe
        retrieval, generation, probability = map(float, re.findall(r"[\d.]+", row.label))
        recipe = load(row.recipe)
        phase = recipe.phase
        assert (phase.contrastive_weight, phase.language_weight) == (retrieval, generation)
        assert recipe.phase.layout.gate_probability == probability
