"""The input module of an exported folder: with it, sentence-transformers makes the vectors of the model that was exported.

`crem export` copies this file into the folder, and rgb.py and chorus_vision.py beside it; all else that it needs stands there as
data. The rules (what is stripped, where a picture stands, how it is turned and laid on white) are those of training.
"""

import hashlib
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file
from sentence_transformers.base.modality import infer_modality
from sentence_transformers.base.modules import InputModule
from torch.nn.functional import gelu, normalize
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer

from .chorus_vision import model_inputs, picture_ids
from .rgb import rgb, upright

MARKER = re.compile(r"<\|image_(\d+)\|>")
PICTURES = "{pictures}"
_IN_PEFT = "base_model.model."

Row = tuple[torch.Tensor, dict[str, torch.Tensor]]
"""Token ids (T,), and the pictures' patches and grids as the image processor names them (empty without pictures)."""


class ChorusInput(InputModule):  # type: ignore[misc]
    """A text, a picture, or a dict of `text` and `image` (one or a list) -> a vector of unit norm, pooled as in training.

    `<|image_1|>` in a text is its first picture's place; without markers pictures come first. A prompt stands before the text;
    `{pictures}` in it is the place of pictures that the text has no markers of, a line break behind each.
    """

    def __init__(self, folder: Path, **model_options: Any) -> None:
        """Raises OSError, naming the folder, for a file that is missing or is not what was exported."""
        super().__init__()
        self.settings = json.loads((folder / "embedding.json").read_text(encoding="utf-8"))
        _refuse_changes(folder, self.settings["files"])
        base = _base(folder, self.settings) if self.settings["base"] else folder
        self.vision, self.factor = self.settings.get("vision", "KeepAll"), float(self.settings.get("factor", 1.0))
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
        self.model = AutoModelForImageTextToText.from_pretrained(base, **{"dtype": "auto", **model_options}).eval()
        if base != folder:
            _add_adapters(self.model, folder, self.settings["chorus_ids"])
        pooling = folder / "pooling.safetensors"
        for name, weight in (load_file(pooling) if pooling.is_file() else {}).items():
            self.register_buffer(f"learnt_{name.replace('.', '_')}", weight)

    @classmethod
    def load(
        cls, model_name_or_path: str, subfolder: str = "", model_kwargs: dict[str, Any] | None = None, **where: Any
    ) -> "ChorusInput":
        """Called by sentence-transformers with the folder, or with a repository's name and how to fetch it."""
        fetch = {name: where[name] for name in ("token", "cache_folder", "revision", "local_files_only") if name in where}
        return cls(Path(cls.load_dir_path(model_name_or_path, subfolder, **fetch)), **(model_kwargs or {}))

    def save(self, output_path: str, *_: Any, **__: Any) -> None:
        """Refuse: what was trained elsewhere would be lost without a word, and the folder itself is the file to copy."""
        raise NotImplementedError(f"{output_path}: an exported folder is not written again by this library; copy the folder")

    @property
    def modalities(self) -> list[Any]:
        """With "message" in the list a batch may mix texts and pictures; messages themselves are refused."""
        return ["text", "image", ("text", "image"), "message"]

    def get_embedding_dimension(self) -> int:
        """Size D of a vector."""
        return int(self.model.config.get_text_config().hidden_size)

    def preprocess(self, inputs: Sequence[Any], prompt: str | None = None, **_: Any) -> dict[str, torch.Tensor]:
        """Ids (B, T) padded on the right, and the pictures of all rows. Raises ValueError for what is no text and no picture."""
        rows = [self._row(prompt or "", *_parts(sample)) for sample in inputs]
        ids = [row[0] for row in rows]
        padded = pad_sequence(ids, batch_first=True)
        mask = torch.arange(padded.shape[1]) < torch.tensor([len(row) for row in ids])[:, None]
        seen = [pictures for _, pictures in rows if pictures]
        together = {name: torch.cat([pictures[name] for pictures in seen]) for name in (seen[0] if seen else ())}
        kinds = (padded == self.model.config.image_token_id) & mask
        return {"input_ids": padded, "attention_mask": mask.long(), "mm_token_type_ids": kinds.int(), **together}

    def _row(self, prompt: str, words: str, pictures: list[Image.Image]) -> Row:
        markers = "" if MARKER.search(words) else "".join(f"<|image_{number + 1}|>\n" for number in range(len(pictures)))
        pieces = MARKER.split((prompt.replace(PICTURES, markers) + words).strip())
        numbers = [int(number) for number in pieces[1::2]]
        if numbers and numbers != list(range(1, len(pictures) + 1)):
            raise ValueError(f"{len(pictures)} pictures but markers {numbers} in a text; number them from 1, or leave them out")
        shown = [rgb(upright(picture)) for picture in pictures]
        seen = dict(self.processor(shown, return_tensors="pt")) if shown else {}
        texts = pieces[0::2] if numbers else [*[""] * len(pictures), *pieces]
        ids = list(self.settings["before_ids"])
        for number, text in enumerate(texts):
            if number:
                ids += picture_ids(seen, number - 1, self.model.config, self.tokenizer, self.factor)
            # A user's text cannot smuggle in a token of the prompt, nor the name of a compression token.
            ids += self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
        return torch.tensor([*ids, *self.settings["after_ids"]]), seen

    def forward(self, features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """`sentence_embedding` (B, D) float32 of unit norm beside the features."""
        inputs = model_inputs(self.model, features, self.vision, self.factor)
        states = self.model.model(**inputs, use_cache=False).last_hidden_state
        ends, count = features["attention_mask"].sum(dim=1), self.settings["pooled"]
        places = ends[:, None] + torch.arange(-count, 0, device=ends.device)
        pooled = self._pool(states[torch.arange(len(states), device=ends.device)[:, None], places].float())
        return {**features, "sentence_embedding": normalize(pooled, dim=-1)}

    def _pool(self, states: torch.Tensor) -> torch.Tensor:
        """(B, K, D) of the last tokens -> (B, D)."""
        learnt = {name: weight.float() for name, weight in self.named_buffers(recurse=False)}
        if self.settings["pooling"] == "AttentionPool":
            weights = (states @ learnt["learnt_query"] / states.shape[-1] ** 0.5).softmax(dim=1)
            weighted: torch.Tensor = (weights[..., None] * states).sum(dim=1)
            return weighted
        if self.settings["pooling"] == "MLPMean":
            inner = gelu(states @ learnt["learnt_inner_weight"].T + learnt["learnt_inner_bias"])
            states = inner @ learnt["learnt_outer_weight"].T + learnt["learnt_outer_bias"]
        mean: torch.Tensor = states.mean(dim=1)
        return mean


def _parts(sample: Any) -> tuple[str, list[Image.Image]]:
    """Words and pictures of an input. Raises ValueError for a kind that the model was not trained on."""
    if isinstance(sample, dict) and sample and set(sample) <= {"text", "image"}:
        words, images = sample.get("text", ""), sample.get("image", [])
        if not isinstance(words, str):
            raise ValueError("the text of an input is one string")
        return words, [_picture(image) for image in (images if isinstance(images, list | tuple) else [images])]
    kind = infer_modality(sample)
    if kind == "text" and isinstance(sample, str):
        return sample, []
    if kind == "image":
        return "", [_picture(sample)]
    raise ValueError(
        f"an input of kind {kind!r}: give a text, a picture, or a dict of text and image (its prompt is the model's own)"
    )


def _picture(image: Any) -> Image.Image:
    if isinstance(image, Image.Image):
        return image
    if isinstance(image, str) and os.path.isfile(image):
        return Image.open(image)
    raise ValueError(
        f"a picture is a PIL image or the path of a file, and not {str(image)[:100]!r}; put a text under the key text"
    )


def _refuse_changes(folder: Path, files: dict[str, str]) -> None:
    for name, digest in files.items():
        if not (folder / name).is_file() or _digest(folder / name) != digest:
            raise OSError(f"{folder}: {name} is missing or not what was exported; copy the folder again")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _base(folder: Path, settings: dict[str, Any]) -> Path:
    """The adapter's model folder: where it was, or where it lies from the folder that was moved with it."""
    places = [Path(settings["base"]), Path(os.path.normpath(folder.resolve() / settings["base_beside"]))]
    for place in (place for place in places if place.is_dir()):
        _refuse_changes(place, settings["base_files"])
        return place
    raise OSError(f"{folder}: an adapter of the model folder {places[0]}, which is not there; put it back, or at {places[1]}")


def _add_adapters(model: Any, folder: Path, chorus: list[int]) -> None:
    """W + alpha / r * B A for every adapted W, with DoRA's lengths of rows, and the compression rows into the table."""
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    adapters = load_file(folder / "adapter_model.safetensors")
    with torch.no_grad():
        for name in (name for name in adapters if ".lora_A." in name):
            weight = model.get_submodule(name.removeprefix(_IN_PEFT).partition(".lora_A.")[0]).weight
            up, down = adapters[name.replace(".lora_A.", ".lora_B.")].float(), adapters[name].float()
            moved = weight.float() + config["lora_alpha"] / config["r"] * (up @ down)
            lengths = adapters.get(name.replace(".lora_A.weight", ".lora_magnitude_vector"))
            weight.copy_(moved if lengths is None else normalize(moved, dim=1) * lengths.float()[:, None])
        if chorus:
            model.get_input_embeddings().weight[chorus] = load_file(folder / "chorus.safetensors")["rows"].to(model.dtype)
