"""The rows that CREM's paper prints, with its own figures, and the recipe that each describes. Nothing here was measured by us.

Figures are percent, as printed: Table 2 by benchmark; Nat. and Comp. are the mean of the same six benchmarks answered natively
and from the tokens alone, MMEB is P@1 over its 36 sets; None stands for a dash.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PrintedRow:
    """One row of a table: its label, the recipe that trains it, and the paper's figures in the order of the table's columns."""

    label: str
    recipe: str
    figures: tuple[float | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PrintedTable:
    """A table of the paper; of Table 2, the rows that are trained."""

    number: int
    title: str
    columns: tuple[str, ...]
    rows: tuple[PrintedRow, ...]


COMPREHENSION = PrintedTable(
    number=2,
    title="multimodal comprehension",
    columns=("MMB", "MMVet", "AI2D", "Hallus.", "MMMU", "MMStar", "AVG"),
    rows=(
        PrintedRow("2B CREM_G", "crem_2b_generation", (73.1, 44.5, 72.9, 41.0, 41.2, 46.2, 53.2)),
        PrintedRow("2B CREM_R", "crem_2b_retrieval", (64.3, 17.3, 66.7, 33.6, 34.9, 43.9, 43.4)),
        PrintedRow("2B CREM", "crem_2b", (72.5, 45.1, 72.8, 41.2, 41.4, 45.5, 53.1)),
        PrintedRow("7B CREM_G", "crem_7b_generation", (80.7, 56.8, 81.9, 49.2, 51.7, 59.8, 63.4)),
        PrintedRow("7B CREM_R", "crem_7b_retrieval", (77.3, 41.4, 80.9, 44.5, 47.0, 56.9, 58.0)),
        PrintedRow("7B CREM", "crem_7b", (80.5, 56.7, 81.9, 48.8, 52.1, 59.3, 63.2)),
    ),
)
TASKS = PrintedTable(
    number=3,
    title="retrieval, generation, prompt (CPD) and training strategy (CTS)",
    columns=("Nat.", "Comp.", "MMEB"),
    rows=(
        PrintedRow("Ret.", "crem_2b_retrieval", (43.4, None, 62.3)),
        PrintedRow("Gen.", "crem_2b_generation", (53.2, None, 2.9)),
        PrintedRow("Ret. CPD", "crem_2b_no_generation", (47.2, None, 66.1)),
        PrintedRow("Gen. CPD CTS", "crem_2b_no_retrieval", (53.0, 43.9, 21.1)),
        PrintedRow("Ret. Gen. CPD (CTS)", "crem_2b_added", (52.8, None, 65.5)),
        PrintedRow("Ret. Gen. CPD CTS", "crem_2b", (53.1, 44.2, 66.7)),
    ),
)
TOKENS = PrintedTable(
    number=4,
    title="type and number of chorus tokens",
    columns=("MMEB", "Nat.", "Comp.", "Cache"),
    rows=(
        PrintedRow("EOS", "crem_2b_retrieval", (62.3, 43.4, None, 100.0)),
        PrintedRow("1", "crem_2b_k1", (65.6, 51.9, 38.2, 0.07)),
        PrintedRow("4", "crem_2b_k4", (66.1, 52.3, 41.7, 0.28)),
        PrintedRow("8", "crem_2b_k8", (66.5, 52.5, 43.1, 0.56)),
        PrintedRow("16", "crem_2b", (66.7, 53.1, 44.2, 1.12)),
        PrintedRow("32", "crem_2b_k32", (66.7, 52.9, 44.6, 2.24)),
        PrintedRow("64", "crem_2b_k64", (66.6, 53.1, 46.2, 4.48)),
    ),
)
DATA = PrintedTable(
    number=5,
    title="homogeneous (HMD) and heterogeneous (HTD) generation data",
    columns=("Nat.", "Comp.", "MMEB"),
    rows=(
        PrintedRow("none", "crem_2b_no_generation", (47.2, None, 66.1)),
        PrintedRow("HMD", "crem_2b_homogeneous", (49.8, 42.5, 66.5)),
        PrintedRow("HTD", "crem_2b_heterogeneous", (53.0, 44.0, 66.2)),
        PrintedRow("HMD HTD", "crem_2b", (53.1, 44.2, 66.7)),
    ),
)
WEIGHTS = PrintedTable(
    number=8,
    title="loss weights of retrieval and generation, probability of compression",
    columns=("Nat.", "Comp.", "MMEB"),
    rows=(
        PrintedRow("1, 1, p = 1", "crem_2b_r1_g1_p1", (52.4, 45.3, 66.4)),
        PrintedRow("1, 1, p = 0.5", "crem_2b_r1_g1_p05", (53.1, 44.5, 66.3)),
        PrintedRow("1, 1, p = 0", "crem_2b_r1_g1_p0", (52.9, None, 65.3)),
        PrintedRow("1, 0.5, p = 0.5", "crem_2b", (53.1, 44.2, 66.7)),
        PrintedRow("0.5, 1, p = 0.5", "crem_2b_r05_g1_p05", (53.2, 45.0, 65.5)),
    ),
)
POOLING = PrintedTable(
    number=9,
    title="pooling of the chorus tokens",
    columns=("CLS", "QA", "RET", "GD", "Overall"),
    rows=(
        PrintedRow("MLP", "crem_2b_mlp", (64.6, 60.7, 67.6, 76.0, 65.8)),
        PrintedRow("Attention", "crem_2b_attention", (63.6, 59.4, 67.7, 76.7, 65.3)),
        PrintedRow("Mean", "crem_2b", (65.8, 60.7, 68.3, 78.9, 66.7)),
    ),
)
TABLES = (COMPREHENSION, TASKS, TOKENS, DATA, WEIGHTS, POOLING)
