"""The files of the known benchmarks: how many rows each has and its md5, so that a cut or changed one is told by name.

From VLMEvalKit's own list and the counts of its files, read in August 2026.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from eval.tsv import TsvTable


@dataclass(frozen=True, slots=True)
class KnownFile:
    """Rows and md5 of a file; None and empty where they could not be learnt."""

    rows: int | None
    md5: str = ""


KNOWN: Mapping[str, KnownFile] = {
    "MMBench_DEV_EN": KnownFile(4329, "b6caf1133a01c6bb705cf753bb527ed8"),
    "MMBench_DEV_EN_V11": KnownFile(None, "30c05be8f2f347a50be25aa067248184"),
    "AI2D_TEST": KnownFile(3088, "0f593e0d1c7df9a3d69bf1f947e71975"),
    "MMStar": KnownFile(1500, "e1ecd2140806c1b1bbf54b43372efb9e"),
    "MMMU_DEV_VAL": KnownFile(1050, "585e8ad75e73f75dcad265dfd0417d64"),
    "HallusionBench": KnownFile(951, "0c23ac0dc9ef46832d7a24504f2a0c7c"),
    "MMVet": KnownFile(218, "748aa6d4aa9d4de798306a63718455e3"),
}


def change_of(table: TsvTable) -> str:
    """In words, how a file with the name of a known one differs from it; empty where it does not, or is none."""
    known = KNOWN.get(table.name)
    if known is None or known.md5 == table.md5:
        return ""
    if known.rows is not None and known.rows != len(table.rows):
        return f"it has {len(table.rows)} rows and the published {table.name} has {known.rows}"
    return f"its md5 is {table.md5} and that of the published {table.name} is {known.md5}"
