"""Where the conversations of a data folder lie: the three files of ShareGPT-4V with pictures by source, or a file of one's own.

`<data>/ShareGPT4V/` holds the json files under their public names and, beside them, the pictures as rows name them: `coco/`,
`sam/`, `llava/`, `gqa/`, `ocr_vqa/`, `textvqa/`, `vg/`, `share_textvqa/`, `web-celebrity/`, `web-landmark/`, `wikiart/`, each a
folder or a zip in its place. `<data>/conversations/train.json` with `images.zip` or `images/` is a file of one's own.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from pipeline.data.json_array import read_array
from pipeline.data.pictures import find_pictures

CONVERSATIONS = "conversations"
"""Dataset of a file of one's own."""

FOLDER = "ShareGPT4V"
MIX = "ShareGPT4V-mix665k"
"""Dataset of the mix for tuning: the file that CREM's Table 6 counts (665K rows)."""

FILES = {
    "sharegpt4v_instruct_gpt4-vision_cap100k.json": "ShareGPT4V-cap100k",
    "share-captioner_coco_lcs_sam_1246k_1107.json": "ShareGPT4V-captions1246k",
    "sharegpt4v_mix665k_cap23k_coco-ap9k_lcs3k_sam9k_div2k.json": MIX,
}
"""Datasets by the public names of their files: 100K captions by GPT-4V, 1.2M by the captioner, the 665K mix for tuning."""

FOLDERS = (FOLDER, CONVERSATIONS)
"""Where conversations and their pictures lie in a data folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationFile:
    """A json file of conversations; `images` is the zip or the folder of its pictures."""

    dataset: str
    path: Path
    images: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureCount:
    """Rows that name a picture of a source (the first folder of its path), and how many of those pictures are missing."""

    source: str
    named: int
    missing: int


def find_conversations(data: Path) -> list[ConversationFile]:
    """The files that a data folder has, in a fixed order."""
    folder, own = data / FOLDER, data / CONVERSATIONS / "train.json"
    found = [ConversationFile(dataset=name, path=folder / file, images=folder) for file, name in FILES.items()]
    images = own.with_name("images.zip")
    mine = ConversationFile(dataset=CONVERSATIONS, path=own, images=images if images.is_file() else own.with_name("images"))
    return [item for item in (mine, *found) if item.path.is_file()]


def count_pictures(talks: ConversationFile) -> list[PictureCount]:
    """Named and missing pictures by source, sorted: one pass over the file, no picture is opened.

    Raises DataError for a file that is no JSON list or a zip that is none.
    """
    named, missing = Counter[str](), Counter[str]()
    has = find_pictures(talks.images).has if talks.images.exists() else _has_nothing
    for row in read_array(talks.path):
        path = row.get("image") if isinstance(row, dict) else None
        if isinstance(path, str) and path:
            source = path.removeprefix("images/").partition("/")[0]
            named[source] += 1
            missing[source] += not has(path)
    return [PictureCount(source=source, named=named[source], missing=missing[source]) for source in sorted(named)]


def _has_nothing(path: str) -> bool:
    return False
