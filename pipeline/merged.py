"""A model to evaluate, its adapters merged into its weights: each decoded token would pay for them again."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.inference import EmbeddingModel, load_model
from pipeline.model.adapters import merge


def load_merged(path: Path, **settings: Any) -> EmbeddingModel:
    """`load_model` with the adapters added to the weights; a model without adapters as it is.

    What it computes is the same up to rounding in the model's type, so its fingerprint says that it is merged.
    """
    model = load_model(path, **settings)
    if not hasattr(model.embedder.backbone.text, "peft_config"):
        return model
    merge(model.embedder.backbone.text)
    encoder = f"merged {model.encoder_fingerprint}"
    return replace(model, fingerprint=f"merged {model.fingerprint}", encoder_fingerprint=encoder)
