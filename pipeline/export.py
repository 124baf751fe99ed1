"""Writes a trained model as a folder that other programs read: an ordinary Hugging Face model, or a PEFT adapter.

`embedding.json` beside it says how an embedding is made: the prompt's literal pieces, the ids of the compression tokens and
what is pooled. docs/export.md has the lines that read it.
"""

import json
import shutil
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors.torch import save_file

from pipeline.errors import CheckpointError, ConfigError
from pipeline.inference import Dtype, EmbeddingModel, load_model
from pipeline.manifest import folder_aside
from pipeline.model.adapters import Full, merge
from pipeline.model.backbone import PICTURE_SETTINGS, TOKENIZER_FILES, open_folder
from pipeline.recipe import Recipe
from pipeline.roles import Role
from pipeline.sample import Side
from pipeline.train.build import DTYPES

Form = Literal["merged", "adapter"]

SETTINGS, ROWS, POOLING = "embedding.json", "chorus.safetensors", "pooling.safetensors"
_COPIED = (*TOKENIZER_FILES, "chat_template*", "video_preprocessor_config.json")


def export(path: Path, out: Path, *, form: Form, recipe: Recipe | None = None, dtype: Dtype = "float32") -> None:
    """Write the model of a checkpoint (or, with a recipe, of a bare model folder) to the new folder `out`.

    "merged" is a whole model in `dtype`, the compression rows in its table; "adapter" holds the low-rank adapters and the
    compression rows, for the model folder that they were trained on. Raises ConfigError when `out` is there already or the
    recipe cannot be said in the form, CheckpointError for a model that does not load.
    """
    if out.exists():
        raise ConfigError(f"{out}: is there already; name a new folder")
    model = load_model(path, recipe=recipe)
    settings = _settings(model, base=str(model.folder.resolve()) if form == "adapter" else "")
    if form == "adapter":
        _check_adapter(model)
    with folder_aside(out) as aside:
        if form == "adapter":
            _write_adapter(model, aside)
        else:
            _write_merged(model, aside, DTYPES[dtype])
        _write_beside(model, aside)
        (aside / SETTINGS).write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")


def _settings(model: EmbeddingModel, *, base: str) -> dict[str, object]:
    """What a reader must know: the row is `before`, the side's words and pictures, `after_ids`; its last states are pooled.

    They are read off a row of one word, so that they are what the model is given, whatever the recipe's template.
    """
    pooling, vocabulary = model.recipe.pooling, model.builder.vocabulary
    if pooling.role is Role.CONTEXT and not pooling.positions.last:
        raise ConfigError("pooling.role: a mean over CONTEXT has no fixed number of tokens, so it cannot be exported")
    word = list(vocabulary.encode("word"))
    row = model.builder.build(Side(text="word"), np.zeros((0, 3))).until(pooling.role)
    ids, start = row.input_ids.tolist(), row.roles.tolist().index(Role.CONTEXT)
    assert ids[start : start + len(word)] == word, "the side's words come first in CONTEXT"
    return {
        "recipe": model.recipe.name,
        "fingerprint": model.fingerprint,
        "base": base,
        "before": _text(model, ids[:start]),
        "after_ids": ids[start + len(word) :],
        "chorus_ids": list(vocabulary.chorus),
        "pooling": type(pooling).__name__,
        "pooled": len(pooling.positions(row.roles)),
    }


def _text(model: EmbeddingModel, ids: list[int]) -> str:
    """Template tokens as text. Raises CheckpointError when the tokenizer does not read it back as the same tokens."""
    tokenizer = open_folder(model.folder).tokenizer
    text = str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))
    if tokenizer.encode(text, add_special_tokens=False) != ids:
        raise CheckpointError(f"{model.folder}: its tokenizer reads its own prompt {text!r} as other tokens; check its files")
    return text


def _rows(model: EmbeddingModel) -> torch.Tensor:
    """The compression rows (K, D) float32, as the model puts them in."""
    ids = torch.tensor(model.builder.vocabulary.chorus, dtype=torch.int64)
    with torch.no_grad():
        rows: torch.Tensor = model.embedder.bank(ids, torch.zeros(len(ids), model.embedder.width))
    return rows


def _check_adapter(model: EmbeddingModel) -> None:
    """Refuse a recipe of which more is trained than an adapter folder can hold."""
    if isinstance(model.recipe.adapter, Full):
        raise ConfigError(f"--form adapter: recipe {model.recipe.name} trains all weights (adapter: Full); take --form merged")
    ours = ("bank.", "pooling.")
    trained = [name for name, weight in model.embedder.named_parameters() if weight.requires_grad]
    others = [name for name in trained if ".lora_" not in name and not name.startswith(ours)]
    chorus = model.builder.vocabulary.chorus
    if others or (chorus and chorus[-1] >= len(model.embedder.backbone.text.embed_tokens.weight)):
        what = f"also trains {others[0]}" if others else "puts its tokens behind the table's last row"
        raise ConfigError(f"--form adapter: recipe {model.recipe.name} {what}, which no adapter holds; take --form merged")


def _write_adapter(model: EmbeddingModel, folder: Path) -> None:
    assert not isinstance(model.recipe.adapter, Full), "_check_adapter refused"
    model.recipe.adapter.save(model.embedder.backbone.text, folder, base=model.folder.resolve())
    save_file({"rows": _rows(model).contiguous()}, folder / ROWS)


def _write_merged(model: EmbeddingModel, folder: Path, dtype: torch.dtype) -> None:
    """A whole model. Its compression ids may not be generated: with a tied head, their rows are rows of the head as well."""
    whole, chorus = model.embedder.backbone.model, list(model.builder.vocabulary.chorus)
    merge(model.embedder.backbone.text)
    table = whole.get_input_embeddings().weight
    if chorus and chorus[-1] >= len(table):
        table = whole.resize_token_embeddings(chorus[-1] + 1, mean_resizing=False).weight
    with torch.no_grad():
        table[chorus] = _rows(model)
    generation = whole.generation_config
    generation.suppress_tokens = sorted({*(generation.suppress_tokens or ()), *chorus})
    whole.to(dtype).save_pretrained(folder)


def _write_beside(model: EmbeddingModel, folder: Path) -> None:
    """Tokenizer, chat template, picture settings with the recipe's limits, weights of the pooling where it has any."""
    for pattern in _COPIED:
        for file in model.folder.glob(pattern):
            shutil.copyfile(file, folder / file.name)
    (folder / PICTURE_SETTINGS).write_text(json.dumps(_picture_settings(model), indent=1) + "\n", encoding="utf-8")
    pooling = {
        name.removeprefix("pooling."): weight.contiguous()
        for name, weight in model.embedder.state_dict().items()
        if name.startswith("pooling.")
    }
    if pooling:
        save_file(pooling, folder / POOLING)


def _picture_settings(model: EmbeddingModel) -> dict[str, Any]:
    """The model folder's picture settings, as this model uses them, with the recipe's limits under their old and new names."""
    limits, cutter = model.recipe.pixels, model.embedder.cutter
    least, most = (tokens * limits.factor**2 for tokens in (limits.min_tokens, limits.max_tokens))
    file = model.folder / PICTURE_SETTINGS
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    used = {
        "image_mean": list(cutter.mean),
        "image_std": list(cutter.std),
        "patch_size": cutter.patch,
        "merge_size": cutter.merge,
        "temporal_patch_size": cutter.temporal,
        "min_pixels": least,
        "max_pixels": most,
        "size": {"shortest_edge": least, "longest_edge": most},
    }
    return {"image_processor_type": "Qwen2VLImageProcessor", **found, **used}
