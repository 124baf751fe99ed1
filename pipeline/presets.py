"""How models that others published read a side: prompt, place of the instruction, pooled token, positions, limits of pictures.

Each is a value with its source. A set's rows become its sides by `query` and `candidate`; `pipeline/preset_prompt.py` writes the
token ids. The state that is pooled is always the last token's, behind the final norm, scaled to length 1.
"""

import re
import unicodedata
from dataclasses import dataclass
from typing import Literal

from pipeline.data.mmeb_registry import META, TEXT_TO_PICTURE
from pipeline.errors import ConfigError
from pipeline.sample import IMAGE_MARKER, Side

Instruction = Literal["text", "system", "system_sentence"]
Positions = Literal["model", "count"]

MARKED_WITHOUT_PICTURE = frozenset({"WebQA", "EDIS"})
"""Sets whose queries have a picture's marker and no picture: VLM2Vec's rows keep it, as one plain token of the picture's kind."""


_MARKER_AND_BREAK = re.compile(IMAGE_MARKER.pattern + r"\n?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """How one published model reads a side.

    `system` is the line of the system turn where a side brings none of its own; empty: no chat tags at all. `instruction` says
    where a query's instruction stands: in its text, or in the system turn (there as a sentence: with a full stop where no
    punctuation ends it), and then candidates have the line `system` and their own words alone. `framed` puts the vision's start
    and end tokens around a picture. `end` is the special token behind everything (empty: the last one of the text is pooled).
    `positions`: the model's own of pictures, or a count of tokens. `min_tokens` and `max_tokens` bound the visual tokens of a
    picture. `families` are the model types that it was published for.
    """

    name: str
    source: str
    families: tuple[str, ...]
    system: str = ""
    instruction: Instruction = "text"
    framed: bool = True
    end: str = ""
    positions: Positions = "model"
    min_tokens: int = 4
    max_tokens: int = 1280

    def query(self, side: Side, dataset: str) -> Side:
        """A query of a set as the model is asked it. With a system turn, `instruction` is that turn's line."""
        if self.instruction != "text":
            line = unmarked(side.instruction)
            line = ended(line) if self.instruction == "system_sentence" else line
            return Side(instruction=line, text=unmarked(side.text), images=side.images)
        words = _words(side)
        if self.framed or dataset not in META:
            return Side(text=words, images=side.images)
        if dataset in MARKED_WITHOUT_PICTURE and not side.images and not IMAGE_MARKER.search(words):
            words = f"<|image_1|>\n{words}"
        return Side(text=words.rstrip("\n") + ("\n\n" if dataset == "VisDial" else "\n"), images=side.images)

    def candidate(self, side: Side, dataset: str) -> Side:
        """A candidate of a set as the model reads it."""
        if self.instruction != "text":
            return Side(text=unmarked(side.text), images=side.images)
        words = _words(side)
        if self.framed or dataset not in META or not side.images:
            return Side(text=words, images=side.images)
        ends = dataset in TEXT_TO_PICTURE or bool(side.text.strip())
        return Side(text=words.rstrip("\n") + "\n" * ends, images=side.images)


def unmarked(text: str) -> str:
    """Words without markers of pictures and white space at the ends, for prompts whose pictures come first."""
    return _MARKER_AND_BREAK.sub("", text).strip()


def ended(line: str) -> str:
    """A line with a full stop behind it, unless it is empty or ends in punctuation (any of Unicode's classes P)."""
    return line if not line or unicodedata.category(line[-1]).startswith("P") else f"{line}."


def _words(side: Side) -> str:
    return side.instruction + side.text


VLM2VEC_V2 = Preset(
    name="vlm2vec_v2",
    source="VLM2Vec 6e1e1d4: src/data/eval_dataset/image_*.py, src/model/processor.py, src/model/model.py",
    families=("qwen2_vl", "qwen2_5_vl"),
    framed=False,
    # Its rows lack the vision's start token, by which the releases that it was trained with look for pictures.
    positions="count",
)

GME = Preset(
    name="gme",
    source="gme_inference.py of the model's folder, as VLM2Vec 6e1e1d4 (baseline_backbone/gme) and mteb 2.26.24 have it",
    families=("qwen2_vl",),
    system="You are a helpful assistant.",
    instruction="system",
    end="<|endoftext|>",
    # The language model is called on ready embeddings without positions, and then counts.
    positions="count",
)

QWEN3_VL_EMBEDDING = Preset(
    name="qwen3_vl_embedding",
    # The report has the end token right behind the user's turn. Their program writes the assistant's header too; the end token
    # behind that comes from the folder's tokenizer.
    source="Qwen3-VL-Embedding 8ce3aab: src/models/qwen3_vl_embedding.py and, of sets, src/evaluation/mmeb_v2/data/datasets",
    families=("qwen3_vl",),
    system="Represent the user's input.",
    instruction="system_sentence",
    end="<|endoftext|>",
    max_tokens=1800,
)

PLAIN = Preset(
    name="plain",
    source="our plain prompt (pipeline/roles.py): the side with its pictures framed at their markers, and the end of a turn",
    families=("qwen2_vl", "qwen2_5_vl", "qwen3_vl"),
    end="<|im_end|>",
)

PRESETS = {preset.name: preset for preset in (VLM2VEC_V2, QWEN3_VL_EMBEDDING, GME, PLAIN)}


def preset_of(name: str) -> Preset:
    """The preset of a name. Raises ConfigError, with the names there are."""
    if name not in PRESETS:
        raise ConfigError(f"--preset {name}: there are {', '.join(PRESETS)}")
    return PRESETS[name]
