"""Where the conversations of a data folder lie: the three files of ShareGPT-4V with pictures by source, or a file of one's own.

`<data>/ShareGPT4V/` holds the json files under their public names and, beside them, the pictures as rows name them: `coco/`,
`sam/`, `llava/`, `gqa/`, `ocr_vqa/`, `textvqa/`, `vg/`, `share_textvqa/`, `web-celebrity/`, `web-landmark/`, `wikiart/`, each a
folder or a zip in its place. `<data>/conversations/train.json` (or `train.jsonl`) with `images.zip` or `images/` is a file of
one's own.
"""

from dataclasses import dataclass
from pathlib import Path

from pipeline.data.release_files import visible
from pipeline.errors import DataError

CONVERSATIONS = "conversations"
"""Dataset of a file of one's own."""

OWN_FILES = ("train.json", "train.jsonl")
"""Its names: a list, or one row a line."""

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


def find_conversations(data: Path) -> list[ConversationFile]:
    """The files that a data folder has, in a fixed order. Raises DataError where one's own file is there in both forms."""
    folder, own = data / FOLDER, data / CONVERSATIONS
    images = own / "images.zip" if (own / "images.zip").is_file() else own / "images"
    mine = [ConversationFile(dataset=CONVERSATIONS, path=own / name, images=images) for name in OWN_FILES]
    found = [ConversationFile(dataset=name, path=folder / file, images=folder) for file, name in FILES.items()]
    there = [item for item in (*mine, *found) if item.path.is_file()]
    if len({item.dataset for item in there}) < len(there):
        raise DataError(f"{own}: has both {' and '.join(OWN_FILES)}; keep the one that is meant")
    return there


def unread_files(data: Path) -> list[Path]:
    """Json files that lie where conversations do and have none of the names that are read."""
    read = {found.path for found in find_conversations(data)}
    files = (path for name in FOLDERS for path in sorted(visible(data / name, "*.json*")))
    return [path for path in files if path.is_file() and path not in read]
