"""The figures of Magic-MM-Embedding (arXiv 2602.05275), and the recipe that each describes. Nothing here was measured by us.

MMEB is P@1, VisDoc NDCG@5, both in percent. Reranked rows are of two models,
and name none: magic_2b_reranker trains the second.
"""

from pipeline.recipes.printed import CAPTIONS, PrintedRow, PrintedTable

_BOTH = ("MMEB", "VisDoc")

MAGIC_MMEB = PrintedTable(
    title="MMEB, P@1 (RET retrieval, GD grounding; IND sets are trained on), and VisDoc",
    columns=("CLS", "QA", "RET", "GD", "IND", "OOD", "MMEB", "VisDoc"),
    rows=(
        PrintedRow("2B", "magic_2b", (60.9, 63.3, 72.2, 84.6, 74.7, 59.5, 68.0, 72.1)),
        PrintedRow("2B, reranked", None, (61.3, 67.2, 73.5, 89.8, 75.2, 63.9, 70.2, 73.3)),
        PrintedRow("8B", "magic_8b", (64.8, 68.1, 75.0, 88.7, 78.3, 63.6, 71.8, 75.0)),
        PrintedRow("8B, reranked", None, (64.3, 70.9, 75.7, 90.4, 78.4, 65.9, 72.8, 75.8)),
    ),
)
MAGIC_PHASES = PrintedTable(
    title="phases (2B)",
    columns=_BOTH,
    rows=(
        PrintedRow("restore alone", "magic_2b_restore", (1.9, 0.5)),
        PrintedRow("warm-up, mined", "magic_2b_no_restore", (64.7, 69.8)),
        PrintedRow("restore, warm-up", "magic_2b_warm", (62.9, 68.4)),
        PrintedRow("restore, warm-up, mined", "magic_2b_mined", (65.4, 70.7)),
        PrintedRow("restore, judged", "magic_2b_restore_judged", (67.1, 70.9)),
        PrintedRow("all", "magic_2b", (68.0, 72.1)),
    ),
)
MAGIC_RANKS = PrintedTable(
    title="rank of the adapters (2B, warm-up)",
    columns=_BOTH,
    rows=(
        PrintedRow("8", "magic_2b_warm_r8", (62.9, 68.0)),
        PrintedRow("16", "magic_2b_warm", (62.9, 68.4)),
        PrintedRow("32", "magic_2b_warm_r32", (62.6, 67.6)),
    ),
)
MAGIC_TOKENS = PrintedTable(
    title="visual tokens a tile (2B)",
    columns=_BOTH,
    rows=(
        PrintedRow("36", "magic_2b_tile36", (62.6, 66.8)),
        PrintedRow("64", "magic_2b_tile64", (63.2, 67.6)),
        PrintedRow("100", "magic_2b_tile100", (63.3, 68.9)),
        PrintedRow("144", "magic_2b_tile144", (63.1, 69.1)),
        PrintedRow("256", "magic_2b_tile256", (63.7, 68.5)),
    ),
)
MAGIC_SHRINKERS = PrintedTable(
    title="what shrinks (mean score; of which phase, the paper does not say)",
    columns=("mean",),
    rows=(
        PrintedRow("bilinear", "magic_2b_tile64", (61.0,)),
        PrintedRow("adaptive average pooling", "magic_2b_average", (60.6,)),
        PrintedRow("a learnt convolution", None, (17.9,)),
    ),
)
MAGIC_NEGATIVES = PrintedTable(
    title="negatives by rule, and judged ones (2B, third phase)",
    columns=_BOTH,
    rows=(
        PrintedRow("0", "magic_2b_ruled0", (65.5, 70.6)),
        PrintedRow("4 by rule", "magic_2b_ruled4", (65.7, 69.5)),
        PrintedRow("8 by rule", "magic_2b_ruled8", (66.5, 70.6)),
        PrintedRow("12 by rule", "magic_2b_ruled12", (67.0, 70.1)),
        PrintedRow("16 by rule", "magic_2b_ruled16", (65.9, 70.7)),
        PrintedRow("20 by rule", "magic_2b_ruled20", (67.1, 70.5)),
        PrintedRow("4 judged", "magic_2b_judged4", (67.4, 71.7)),
        PrintedRow("8 judged", "magic_2b_judged8", (67.8, 71.9)),
        PrintedRow("12 judged", "magic_2b", (68.0, 72.1)),
        PrintedRow("16 judged", "magic_2b_judged16", (67.9, 72.1)),
        PrintedRow("20 judged", "magic_2b_judged20", (67.6, 71.9)),
    ),
)
MAGIC_CAPTIONS = PrintedTable(
    title=CAPTIONS.title,
    columns=CAPTIONS.columns,
    rows=(
        PrintedRow("2B", None, (84.4, 93.0, 61.4, 75.8, 97.2, 97.3, 98.4, 97.8, 91.6, 82.6, 94.2)),
        PrintedRow("8B", None, (82.9, 93.1, 63.2, 79.3, 98.5, 98.3, 98.5, 98.7, 92.6, 86.9, 95.1)),
    ),
)
MAGIC_TABLES = (MAGIC_MMEB, MAGIC_CAPTIONS, MAGIC_PHASES, MAGIC_RANKS, MAGIC_TOKENS, MAGIC_SHRINKERS, MAGIC_NEGATIVES)
"""All of them."""
