"""The rows that CREM's paper prints (arXiv 2602.19091), with its own figures, and the recipe that each describes.

Nothing here was measured by us. Figures are percent, as printed: Table 1 is P@1 of MMEB by meta-task and distribution, Table 2
goes by benchmark, Table 7 is recall at 1; Nat. and Comp. are the mean of Table 2's six benchmarks answered natively and from the
tokens alone, MMEB is P@1 over its 36 sets; None stands for a dash. Tables 6, 10 and 11 print no row that is a training.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PrintedRow:
    """One row of a table: its label, the recipe that trains it, and the paper's figures in the order of the table's columns.

    `recipe` is None for a model of others, which the paper prints beside its own.
    """

    label: str
    recipe: str | None
    figures: tuple[float | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PrintedTable:
    """A table of a paper, with all of its rows; `number` is the paper's, where we know it."""

    number: int | None = None
    title: str
    columns: tuple[str, ...]
    rows: tuple[PrintedRow, ...]


MMEB = PrintedTable(
    number=1,
    title="MMEB, P@1 (CLS classification, RET retrieval, GD grounding; IND sets are trained on)",
    columns=("CLS", "QA", "RET", "GD", "IND", "OOD", "Overall"),
    rows=(
        PrintedRow("CLIP 0.4B", None, (55.2, 19.7, 53.2, 62.2, 47.6, 42.8, 45.4)),
        PrintedRow("OpenCLIP 0.4B", None, (56.0, 21.9, 55.4, 64.1, 50.5, 43.1, 47.2)),
        PrintedRow("VLM2Vec, Qwen2-VL 2B", None, (59.0, 49.4, 65.4, 73.4, 66.0, 52.6, 59.3)),
        PrintedRow("VLM2Vec-V2, Qwen2-VL 2B", None, (62.9, 56.3, 69.5, 77.3, 68.7, 60.1, 64.9)),
        PrintedRow("GME, Qwen2-VL 2B", None, (54.4, 29.9, 66.9, 55.5, None, None, 51.9)),
        PrintedRow("UNITE, Qwen2-VL 2B", None, (63.2, 55.9, 65.4, 75.6, 65.8, 60.1, 63.3)),
        PrintedRow("LLaVE, Aquila-VL 2B", None, (62.1, 60.2, 65.2, 84.9, 69.4, 59.8, 65.2)),
        PrintedRow("CAFe, LLaVA-OV 1B", None, (59.1, 49.1, 61.0, 83.0, 64.3, 53.7, 59.6)),
        PrintedRow("CREM, Qwen2-VL 2B", "crem_2b", (65.8, 60.7, 68.3, 78.9, 70.8, 61.5, 66.7)),
        PrintedRow("E5-V, LLaVA-1.6 7B", None, (39.7, 10.8, 39.4, 60.2, 34.2, 33.9, 33.9)),
        PrintedRow("MMRet, LLaVA-1.6 7B", None, (56.0, 57.4, 69.9, 83.6, 68.0, 59.1, 65.8)),
        PrintedRow("VLM2Vec, Qwen2-VL 7B", None, (62.6, 57.8, 69.9, 81.7, 72.2, 57.8, 65.8)),
        PrintedRow("UniME, LLaVA-OV 7B", None, (66.8, 66.6, 70.5, 90.9, None, None, 70.7)),
        PrintedRow("UNITE, Qwen2-VL 7B", None, (68.3, 65.1, 71.6, 84.8, 73.6, 66.3, 70.3)),
        PrintedRow("mmE5, Llama-3.2-Vision 11B", None, (67.6, 62.8, 70.9, 89.7, 72.3, 66.7, 69.8)),
        PrintedRow("CAFe, LLaVA-OV 7B", None, (65.2, 65.6, 70.0, 91.2, 75.8, 62.4, 69.8)),
        PrintedRow("CREM, Qwen2-VL 7B", "crem_7b", (68.3, 69.4, 72.9, 86.1, 75.6, 67.8, 72.1)),
    ),
)
COMPREHENSION = PrintedTable(
    number=2,
    title="multimodal comprehension",
    columns=("MMB", "MMVet", "AI2D", "Hallus.", "MMMU", "MMStar", "AVG"),
    rows=(
        PrintedRow("2B Qwen2-VL", None, (72.3, 45.7, 73.8, 41.9, 41.1, 46.1, 53.5)),
        PrintedRow("2B CREM_G", "crem_2b_generation", (73.1, 44.5, 72.9, 41.0, 41.2, 46.2, 53.2)),
        PrintedRow("2B CREM_R", "crem_2b_retrieval", (64.3, 17.3, 66.7, 33.6, 34.9, 43.9, 43.4)),
        PrintedRow("2B CREM", "crem_2b", (72.5, 45.1, 72.8, 41.2, 41.4, 45.5, 53.1)),
        PrintedRow("7B Qwen2-VL", None, (80.9, 58.0, 82.2, 50.9, 53.7, 59.5, 64.2)),
        PrintedRow("7B CREM_G", "crem_7b_generation", (80.7, 56.8, 81.9, 49.2, 51.7, 59.8, 63.4)),
        PrintedRow("7B CREM_R", "crem_7b_retrieval", (77.3, 41.4, 80.9, 44.5, 47.0, 56.9, 58.0)),
        PrintedRow("7B CREM", "crem_7b", (80.5, 56.7, 81.9, 48.8, 52.1, 59.3, 63.2)),
    ),
)
TASKS = PrintedTable(
    number=3,
    title="retrieval, generation, prompt (CPD), strategy (CTS; in brackets: the text says without)",
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
CAPTIONS = PrintedTable(
    number=7,
    title="zero-shot R@1 (F Flickr30K, C COCO, S ShareGPT4V, U Urban1K; SugarCrepe's three parts)",
    columns=("F.t2i", "F.i2t", "C.t2i", "C.i2t", "S.t2i", "S.i2t", "U.t2i", "U.i2t", "Repl.", "Swap", "Add"),
    rows=(
        PrintedRow("VLM2Vec", None, (76.0, 90.6, 46.8, 66.6, 85.8, 90.7, 84.7, 90.8, 85.8, 66.3, 86.5)),
        PrintedRow("UniME", None, (83.3, 94.4, 54.8, 74.0, 93.9, 89.3, 94.3, 95.5, 80.5, 65.5, 82.2)),
        PrintedRow("CREM 2B", "crem_2b", (81.4, 91.9, 55.8, 71.6, 90.3, 89.4, 94.0, 94.3, 87.9, 66.1, 91.5)),
        PrintedRow("CREM 7B", "crem_7b", (82.9, 95.5, 56.4, 76.1, 90.7, 90.8, 97.6, 98.0, 88.7, 74.0, 91.7)),
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
TABLES = (MMEB, COMPREHENSION, TASKS, TOKENS, DATA, CAPTIONS, WEIGHTS, POOLING)
