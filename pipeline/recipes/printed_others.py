"""The figures of CoMa's and Bottleneck Tokens' own models and ablations, and the recipe that each describes.

Nothing here was measured by us. Figures are percent. CoMa's are its paper's; of its two 3B rows, whose parts differ, this is the
one of the main table. Figures over K are read off a chart, to 0.1. Bottleneck Tokens' are those that its abstract states and
arXiv 2607.28751 prints; its ablations are what the mean over 78 sets loses.
"""

from pipeline.recipes.printed import TABLES, PrintedRow, PrintedTable
from pipeline.recipes.printed_magic import MAGIC_TABLES

COMA_MMEB = PrintedTable(
    title="MMEB, P@1 (CLS classification, RET retrieval, GD grounding; IND sets are trained on)",
    columns=("CLS", "QA", "RET", "GD", "IND", "OOD", "Overall"),
    rows=(
        PrintedRow("CoMa, Qwen2.5-VL 3B", "coma_3b", (61.3, 65.1, 70.0, 82.7, 71.3, 61.6, 67.5)),
        PrintedRow("MoCa, 3B", None, (None, None, None, None, None, None, 67.5)),
        PrintedRow("CoMa, Qwen2.5-VL 7B", "coma_7b", (67.4, 70.6, 72.4, 87.6, 75.2, 67.6, 72.2)),
        PrintedRow("MoCa, 7B", None, (None, None, None, None, None, None, 71.5)),
    ),
)
COMA_FORMATS = PrintedTable(
    title="what compression is trained by (3B, 500K pairs in the second phase)",
    columns=("CLS", "QA", "RET", "GD", "Overall"),
    rows=(
        PrintedRow("multi-turn", "coma_3b_multi_turn", (59.2, 63.3, 67.5, 81.2, 65.5)),
        PrintedRow("single-turn", "coma_3b_single_turn", (None, None, None, None, 64.8)),
        PrintedRow("description", "coma_3b_description", (None, None, None, None, 64.9)),
        PrintedRow("caption", "coma_3b_caption", (None, None, None, None, 65.2)),
        PrintedRow("multi-turn, KL", "coma_3b_kl", (None, None, None, None, 64.4)),
    ),
)
COMA_TOKENS = PrintedTable(
    title="number of tokens (3B, 500K pairs; read off a chart)",
    columns=("Overall",),
    rows=(
        PrintedRow("1", "coma_3b_k1", (64.3,)),
        PrintedRow("8", "coma_3b_k8", (64.75,)),
        PrintedRow("16", "coma_3b_k16", (64.9,)),
        PrintedRow("32", "coma_3b_multi_turn", (65.5,)),
        PrintedRow("64", "coma_3b_k64", (64.8,)),
    ),
)
BTOKS_MMEB = PrintedTable(
    title="MMEB-V2, Hit@1, of documents NDCG@5 (trained on video and documents too)",
    columns=("CLS", "QA", "RET", "GD", "Image", "Video", "Docs", "All"),
    rows=(PrintedRow("Bottleneck Tokens, 2B", "btoks_2b", (64.3, 59.8, 68.8, 77.4, 66.0, 39.9, 62.7, 59.0)),),
)
BTOKS_SWITCHES = PrintedTable(
    title="what all 78 sets lose without a part",
    columns=("All",),
    rows=(
        # Whether text is generated without tokens, and from what, is unknown.
        PrintedRow("no tokens", "btoks_2b_k0_no_generation", (-2.9,)),
        PrintedRow("no mask", "btoks_2b_no_mask", (-1.1,)),
        PrintedRow("no generation", "btoks_2b_no_generation", (-1.4,)),
    ),
)
PAPERS: dict[str, tuple[PrintedTable, ...]] = {
    "the CREM paper (arXiv 2602.19091)": TABLES,
    "the CoMa paper (arXiv 2511.08480)": (COMA_MMEB, COMA_FORMATS, COMA_TOKENS),
    "the Bottleneck Tokens paper (arXiv 2604.11095)": (BTOKS_MMEB, BTOKS_SWITCHES),
    "the Magic-MM-Embedding paper (arXiv 2602.05275)": MAGIC_TABLES,
}
"""All printed rows by paper."""
