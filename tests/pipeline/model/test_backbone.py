"""A folder in the published layout loads by the same path as our own; what is not a whole model is refused in one line."""

import json
import shutil
from pathlib import Path
from unittest import mock

import pytest
import torch
from safetensors.torch import load_file, save_file

from pipeline.errors import CheckpointError
from pipeline.model.backbone import Backbone, load_weights, open_folder


@pytest.fixture
def published(model_folder: Path, tmp_path: Path) -> Path:
    """The tiny model as its family was published: flat config, `rope_scaling` of type mrope, bf16, old keys, no head."""
    folder = tmp_path / "published"
    shutil.copytree(model_folder, folder)
    config = json.loads((folder / "config.json").read_text())
    text = config.pop("text_config")
    rope = text.pop("rope_parameters")
    flat = {
        **text,
        **config,
        "rope_theta": rope["rope_theta"],
        "rope_scaling": {"type": "mrope", "mrope_section": rope["mrope_section"]},
    }
    flat |= {"torch_dtype": "bfloat16", "model_type": config["model_type"], "tie_word_embeddings": True}
    flat.pop("dtype", None)
    (folder / "config.json").write_text(json.dumps(flat))
    tensors = load_file(folder / "model.safetensors")
    old = {
        name.replace("model.language_model.", "model.").replace("model.visual.", "visual."): t.bfloat16()
        for name, t in tensors.items()
    }
    assert any(name.startswith("visual.") for name in old) and "lm_head.weight" not in old
    save_file(old, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_the_published_layout_loads_with_nothing_missing_or_unexpected(published: Path, model_folder: Path) -> None:
    found, own = (load_weights(folder, dtype=torch.float32) for folder in (published, model_folder))
    expected = own.state_dict()
    assert set(found.state_dict()) == set(expected)
    for name, tensor in found.state_dict().items():
        torch.testing.assert_close(tensor, expected[name].bfloat16().float(), atol=0, rtol=0)
    assert found.lm_head.weight is found.model.language_model.embed_tokens.weight
    assert load_weights(published, dtype=torch.bfloat16).lm_head.weight.dtype == torch.bfloat16


def test_a_missing_weight_is_refused_by_name(published: Path) -> None:
    tensors = load_file(published / "model.safetensors")
    tensors.pop("model.layers.1.mlp.up_proj.weight")
    save_file(tensors, published / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"1 missing or unexpected weights.*layers\.1\.mlp\.up_proj"):
        load_weights(published, dtype=torch.float32)


def test_only_a_model_that_writes_needs_a_head(untied_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(untied_folder, tmp_path / "embedder")
    tensors = load_file(folder / "model.safetensors")
    tensors.pop("lm_head.weight")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"1 missing or unexpected weights, first lm_head\.weight"):
        load_weights(folder, dtype=torch.float32)
    own, found = (load_weights(each, dtype=torch.float32, needs_head=False).model for each in (untied_folder, folder))
    for name, tensor in own.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], tensor, atol=0, rtol=0)


def test_what_is_no_model_folder_is_refused(tmp_path: Path, published: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        open_folder(tmp_path)
    config = json.loads((published / "config.json").read_text())
    (published / "config.json").write_text(json.dumps({**config, "model_type": "llama"}))
    with pytest.raises(CheckpointError, match="'llama' is not one of"):
        open_folder(published)
    (published / "config.json").write_text(json.dumps({**config, "layer_types": ["full_attention", "sliding_attention"]}))
    with pytest.raises(CheckpointError, match="sliding-window layers"):
        open_folder(published)


class New(torch.nn.Module):
    def forward(self, inputs_embeds: torch.Tensor, cache: object = None, **others: object) -> None: ...


class Old(torch.nn.Module):
    def forward(self, inputs_embeds: torch.Tensor, past_key_values: object = None, **others: object) -> None: ...


@pytest.mark.parametrize(("text", "name"), [(New(), "cache"), (Old(), "past_key_values")])
def test_the_cache_goes_by_the_name_that_the_model_knows(text: torch.nn.Module, name: str) -> None:
    """transformers renamed it in 5.24; a name that a model does not know would be taken among the others, and dropped."""
    assert Backbone._cache_argument.fget(mock.Mock(text=text)) == name  # type: ignore[attr-defined]
