"""Writes a trained model as a folder that other programs read: an ordinary Hugging Face model, or a PEFT adapter.

`embedding.json` (pipeline/embedding_json.py) says how an embedding is made. sentence-transformers makes it by the module that is
copied into the folder (pipeline/chorus_input.py); docs/export.md has the lines for plain transformers.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file

from pipeline.embedding_json import SHRUNK_BY_OTHERS, Prompt, Settings
from pipeline.errors import CheckpointError, ConfigError
from pipeline.exported import DECISIVE, POOLING, ROWS
from pipeline.inference import EmbeddingModel, load_model
from pipeline.manifest import atomic_folder, canonical_json
from pipeline.model.adapters import Full, LoRA, merge
from pipeline.model.backbone import PICTURE_SETTINGS, folder_digests, name_ids
from pipeline.model.device import Dtype
from pipeline.recipe import Recipe
from pipeline.train import checkpoint
from pipeline.train.build import DTYPES

Form = Literal["merged", "adapter"]

_COPIED = ("chat_template*", "video_preprocessor_config.json")
_MODULE = ("chorus_input.py", "chorus_vision.py", "rgb.py")
_MODULES = [{"idx": 0, "name": "0", "path": "", "type": "chorus_input.ChorusInput"}]
_OTHER_LIBRARY = {
    "model_type": "SentenceTransformer",
    "prompts": {},
    "similarity_fn_name": "cosine",
    "requirements": {
        "sentence-transformers": {"specifier": ">=6.2", "reason": "Older versions have no place for a model's own input module."},
        "transformers": {"specifier": ">=5.23", "reason": "Older versions find the places of pictures in another way."},
    },
}
"""What sentence-transformers reads before any weight: with these, it makes our vectors or stops."""


def export(
    path: Path, out: Path, *, form: Form, recipe: Recipe | None = None, dtype: Dtype = "float32", tokens: int | None = None
) -> None:
    """Write the model of a checkpoint or export (or, with a recipe, of a bare model folder) to the new folder `out`.

    "merged" is a whole model in `dtype`, the compression rows in its table; "adapter" holds the low-rank adapters and the
    compression rows, for the model folder that they were trained on. `tokens` writes the model of the first so many compression
    tokens. Raises ConfigError when `out` is there already or the
    recipe cannot be said in the form, CheckpointError for a model that does not load.
    """
    if out.exists():
        raise ConfigError(f"{out}: is there already; name a new folder")
    model = load_model(path, recipe=recipe, tokens=tokens)
    prompt = Prompt.of(model.builder, model.recipe)
    if type(model.recipe.vision).__name__ not in SHRUNK_BY_OTHERS:
        raise ConfigError(
            f"vision: {type(model.recipe.vision).__name__} is of your own, and an exported folder is read by programs that know "
            f"{', '.join(SHRUNK_BY_OTHERS)} alone; use the checkpoint"
        )
    if form == "adapter":
        _check_adapter(model)
    with atomic_folder(out) as aside:
        if form == "adapter":
            _write_adapter(model, aside)
        else:
            _write_merged(model, aside, DTYPES[dtype])
        _write_beside(model, aside)
        tokenizer = name_ids(model.folder, prompt.chorus_ids, out=aside)
        _settings(model, prompt, tokenizer, aside, base=model.folder.resolve() if form == "adapter" else None).write(aside)


def _settings(model: EmbeddingModel, prompt: Prompt, tokenizer: Any, folder: Path, *, base: Path | None) -> Settings:
    """What stands in `embedding.json` of an otherwise finished folder."""
    before, after = (
        str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))
        for ids in (prompt.before_ids, prompt.after_ids)
    )
    for text, ids in ((before, prompt.before_ids), (after, prompt.after_ids)):
        if tokenizer.encode(text, add_special_tokens=False) != ids:
            raise CheckpointError(f"{model.folder}: its tokenizer reads its own prompt {text!r} as other tokens; check its files")
    return Settings(
        recipe=model.recipe.name,
        fingerprint=model.fingerprint,
        base=str(base or ""),
        base_beside=os.path.relpath(base, folder.resolve()) if base else "",
        base_files=folder_digests(base) if base else {},
        before=before,
        after=after,
        chorus_tokens=list(tokenizer.convert_ids_to_tokens(prompt.chorus_ids)),
        prompt=prompt,
        files=folder_digests(folder, DECISIVE),
        vision=type(model.recipe.vision).__name__,
        factor=getattr(model.recipe.vision, "factor", 1.0),
    )


def _rows(model: EmbeddingModel) -> torch.Tensor:
    """The compression rows (K, D) float32, as the model puts them in."""
    ids = torch.tensor(model.builder.vocabulary.chorus, dtype=torch.int64)
    with torch.no_grad():
        rows: torch.Tensor = model.embedder.bank(ids, torch.zeros(len(ids), model.embedder.width))
    return rows


def _check_adapter(model: EmbeddingModel) -> None:
    """Refuse a recipe of which more is trained than an adapter folder can hold."""
    adapter = model.recipe.phase.adapter
    if not isinstance(adapter, LoRA):
        what = "all weights" if isinstance(adapter, Full) else "other weights than LoRA's"
        raise ConfigError(
            f"--form adapter: recipe {model.recipe.name} trains {what} (adapter: {type(adapter).__name__}); take --form merged"
        )
    weights = dict(model.embedder.named_parameters())
    if not any(".lora_" in name for name in weights):
        raise ConfigError(f"--form adapter: the adapters of {model.folder} are merged already; take --form merged")
    ours = ("bank.", "pooling.")
    others = [name for name in weights if weights[name].requires_grad and ".lora_" not in name and not name.startswith(ours)]
    chorus = model.builder.vocabulary.chorus
    if others or (chorus and chorus[-1] >= len(model.embedder.backbone.text.embed_tokens.weight)):
        what = f"also trains {others[0]}" if others else "puts its tokens behind the table's last row"
        raise ConfigError(f"--form adapter: recipe {model.recipe.name} {what}, which no adapter holds; take --form merged")


def _write_adapter(model: EmbeddingModel, folder: Path) -> None:
    assert isinstance(model.recipe.phase.adapter, LoRA), "_check_adapter refused others"
    model.recipe.phase.adapter.save(model.embedder.backbone.text, folder, base=model.folder.resolve())
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
    """Recipe, chat templates, picture settings with the recipe's limits, weights of the pooling, sentence-transformers' files."""
    for pattern in _COPIED:
        for file in model.folder.glob(pattern):
            shutil.copyfile(file, folder / file.name)
    for name in _MODULE:
        shutil.copyfile(Path(__file__).with_name(name), folder / name)
    written = {
        PICTURE_SETTINGS: _picture_settings(model),
        "modules.json": _MODULES,
        "config_sentence_transformers.json": {**_OTHER_LIBRARY, "prompts": model.templates.prompts()},
    }
    for name, content in written.items():
        (folder / name).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    (folder / checkpoint.RECIPE).write_text(canonical_json(model.recipe), encoding="utf-8")
    state = model.embedder.state_dict()
    pooling = {name.removeprefix("pooling."): state[name].contiguous() for name in state if name.startswith("pooling.")}
    if pooling:
        save_file(pooling, folder / POOLING)


def _picture_settings(model: EmbeddingModel) -> dict[str, Any]:
    """The model folder's picture settings, as this model uses them, with the recipe's limits under their old and new names."""
    file = model.folder / PICTURE_SETTINGS
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    used = model.embedder.backbone.family.exported_settings(model.embedder.cutter, model.recipe.pixels)
    return {**used, **found, **{name: value for name, value in used.items() if name != "image_processor_type"}}
