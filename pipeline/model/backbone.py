"""A model of one of the families, its tokenizer and its picture settings, from an ordinary folder.

The model is used from outside: embeddings, visual features and chorus rows are put together here and the language model is
called on them. A folder as published (flat config, old key names, tied head) loads by the same path as one we saved.
"""

import inspect
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from transformers import AddedToken, AutoConfig, AutoTokenizer, DynamicCache, PreTrainedTokenizerBase
from transformers.utils.logging import disable_progress_bar

from pipeline.errors import CheckpointError
from pipeline.manifest import file_digest
from pipeline.model.attention import TEXT_ATTENTION, VISION_ATTENTION, SpanPlan
from pipeline.model.families import TITLES, family_of, read_config
from pipeline.model.families.family import Cutter, Family, TowerShape
from pipeline.model.head import Head
from pipeline.model.shrinkers import KEEP_ALL, Shrinker
from pipeline.sequence import Vocabulary
from pipeline.visual_tokens import VisualTokens

disable_progress_bar()

TOKENIZER_FILES = ("tokenizer*.json", "vocab.json", "merges.txt", "added_tokens.json", "special_tokens_map.json")
PICTURE_SETTINGS = "preprocessor_config.json"
READ_FILES = ("*.safetensors", "config.json", PICTURE_SETTINGS, *TOKENIZER_FILES)
"""Patterns of a folder's files that decide what its model computes."""

HEAD = "lm_head.weight"
_REMEMBERED_TEXTS = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """What a model folder holds besides weights."""

    path: Path
    family: Family
    tokenizer: PreTrainedTokenizerBase
    cutter: Cutter
    vocab_size: int

    def vocabulary(self, chorus: tuple[int, ...], shrinker: Shrinker = KEEP_ALL) -> Vocabulary:
        """The template's ids, and the rule of pictures. Plain text is encoded with special tokens switched off."""
        tokenizer = self.tokenizer

        @lru_cache(maxsize=_REMEMBERED_TEXTS)  # template words, instructions and labels come again and again
        def encode(text: str) -> tuple[int, ...]:
            return tuple(tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True))

        ids = {name: special_id(tokenizer, token) for name, token in asdict(self.family.markers).items()}
        visual = VisualTokens(merge=self.cutter.merge, rule=self.family.rule, shrinker=shrinker)
        return Vocabulary(encode=encode, chorus=chorus, visual=visual, **ids)


def special_id(tokenizer: PreTrainedTokenizerBase, token: str) -> int:
    """Id of a special token. Raises CheckpointError when the tokenizer lacks it."""
    found = tokenizer.convert_tokens_to_ids(token)
    if not isinstance(found, int) or found == tokenizer.unk_token_id:
        raise CheckpointError(f"the tokenizer has no {token}; use a model folder of {TITLES}")
    return found


def name_ids(path: Path, ids: Sequence[int], *, out: Path) -> PreTrainedTokenizerBase:
    """Write the folder's tokenizer to `out` with a name for each of `ids`, so that a program that sends text can ask for them.

    The names are special tokens: our own reading of a user's text, and any other that splits special tokens, takes them for
    plain text. Ids between the tokenizer's last one and `ids` get names too, since it counts up. Raises CheckpointError when
    the names do not come out at their ids.
    """
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(path, local_files_only=True)
    behind = range(len(tokenizer), max(ids, default=-1) + 1)
    names = {number: f"<|{'chorus' if number in ids else 'unused'}_{number}|>" for number in behind}
    tokenizer.add_tokens([AddedToken(name, special=True, normalized=False) for name in names.values()], special_tokens=True)
    tokenizer.save_pretrained(out)
    read: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(out, local_files_only=True)
    wrong = [name for number, name in names.items() if read.convert_tokens_to_ids(name) != number]
    if wrong:
        raise CheckpointError(f"{path}: its tokenizer does not take {wrong[0]} for a new token; check its files")
    return read


def open_folder(path: Path) -> Folder:
    """Read tokenizer and picture settings of a model folder. Raises CheckpointError, naming what is missing."""
    config = read_config(path)
    if not (path / "tokenizer_config.json").is_file():
        raise CheckpointError(f"{path}: no tokenizer_config.json; give a Hugging Face folder of a {TITLES} model")
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
    except (ValueError, OSError) as error:
        raise CheckpointError(f"{path}: {str(error).splitlines()[0]}") from error
    family_of(config).check(config, path)
    if "sliding_attention" in (getattr(config.get_text_config(), "layer_types", None) or ()):
        raise CheckpointError(f"{path}: its language model has sliding-window layers, and packed rows have none; take another")
    if getattr(config.get_text_config(), "attention_dropout", 0.0):
        raise CheckpointError(
            f"{path}: attention_dropout is not 0, and its masks would not be replayed; set it to 0 in config.json"
        )
    file, family = path / PICTURE_SETTINGS, family_of(config)
    settings: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {}
    vocab_size = config.get_text_config().vocab_size
    return Folder(path=path, family=family, tokenizer=tokenizer, cutter=family.cutter(settings, config), vocab_size=vocab_size)


def folder_digests(path: Path, patterns: Sequence[str] = READ_FILES) -> dict[str, str]:
    """The sha256 (hex) of every file that decides what a folder's model computes, by name: weights, settings, tokenizer.

    Raises CheckpointError where there is none: folders that are gone would all be equal.
    """
    files = {file for pattern in patterns for file in path.glob(pattern)}
    if not files:
        raise CheckpointError(f"{path}: there is no file of a model; put the model folder back, or name the right one")
    return {file.name: file_digest(file) for file in sorted(files)}


def load_weights(path: Path, *, dtype: torch.dtype, needs_head: bool = True) -> Any:
    """The model of a folder in `dtype`, with our attention functions. Raises CheckpointError for missing or foreign weights.

    A published embedder may come without a head: where none is needed, what stands in its place is random.
    """
    model_class = family_of(AutoConfig.from_pretrained(path, local_files_only=True)).model_class
    try:
        model, report = model_class.from_pretrained(path, dtype=dtype, local_files_only=True, output_loading_info=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path}: weights do not load ({str(error).splitlines()[0]})") from error
    missing = set(report["missing_keys"]) - (set() if needs_head else {HEAD})
    wrong = sorted(missing) + sorted(report["unexpected_keys"])
    if wrong:
        raise CheckpointError(
            f"{path}: {len(wrong)} missing or unexpected weights, first {wrong[0]}; the folder is not a whole model"
        )
    family_of(model.config).use_attention(model, text=TEXT_ATTENTION, vision=VISION_ATTENTION)
    return model


class Inputs(NamedTuple):
    """What enters the language model: `embeddings` (T, D), and further `levels` of visual features, (V, D) each.

    Level n is added behind layer n to the states at `places` (V,), ascending (Qwen3-VL's deepstack).
    """

    embeddings: torch.Tensor
    places: torch.Tensor | None = None
    levels: tuple[torch.Tensor, ...] = ()

    def detached(self) -> "Inputs":
        """The same without a graph."""
        return Inputs(self.embeddings.detach(), self.places, tuple(level.detach() for level in self.levels))


class Backbone(nn.Module):
    """A model seen as three calls: visual features, hidden states of a packed row, and the head."""

    def __init__(self, model: Any, shrinker: Shrinker = KEEP_ALL) -> None:
        super().__init__()
        self.model: Any = model
        self.family, self.shrinker = family_of(model.config), shrinker
        model.lm_head = Head.over(model.lm_head)

    @property
    def tower(self) -> Any:
        """Vision tower and what leads from it to the language model."""
        return self.family.tower(self.model)

    @property
    def tower_shape(self) -> TowerShape:
        """How the tower's layers see."""
        return self.family.shape(self.tower)

    def release_tower(self) -> Any:
        """Take the vision tower out of the module and return it; what embeds pictures then brings their features."""
        return self.family.take_tower(self.model)

    @property
    def text(self) -> Any:
        """The language model without its head."""
        return self.model.model.language_model

    @property
    def _cache_argument(self) -> str:
        """What the language model calls its cache: `cache` from transformers 5.24 on, which drops the older name in 5.40."""
        known = inspect.signature(type(self.text).forward).parameters
        return "cache" if "cache" in known else "past_key_values"

    @property
    def width(self) -> int:
        """Size D of a hidden state."""
        return int(self.text.config.hidden_size)

    @property
    def vocab_size(self) -> int:
        """Number of ids that the input table and the head know."""
        return int(self.text.config.vocab_size)

    def features(self, inputs: torch.Tensor, grid_thw: torch.Tensor) -> torch.Tensor:
        """Visual tokens (V, levels * D) of the tower's inputs, in its type, of pictures with the given grids (I, 3)."""
        return self.family.features(self.tower, inputs, grid_thw, self.shrinker)

    def embed_tokens(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Rows of the input table, (T, D)."""
        rows: torch.Tensor = self.text.embed_tokens(input_ids)
        return rows

    def hidden(self, inputs: Inputs, position_ids: torch.Tensor, plan: SpanPlan) -> torch.Tensor:
        """Hidden states (T, D) after the final norm of one packed row with positions (axes, T)."""
        output = self.text(**self._packed(inputs, position_ids), use_cache=False, plan=plan)
        states: torch.Tensor = output.last_hidden_state[0]
        return states

    def remember(self, inputs: Inputs, position_ids: torch.Tensor, plan: SpanPlan) -> tuple[torch.Tensor, DynamicCache]:
        """`hidden` together with the keys and values (1, H_kv, T, d) of every layer."""
        cache = DynamicCache()
        given = {**self._packed(inputs, position_ids), self._cache_argument: cache}
        output = self.text(**given, use_cache=True, plan=plan)
        return output.last_hidden_state[0], cache

    def proceed(
        self, input_ids: torch.Tensor, positions: torch.Tensor, visible: torch.Tensor, cache: DynamicCache
    ) -> torch.Tensor:
        """Hidden states (B, n, D) of tokens (B, n) that continue a cache, which grows by them.

        `positions` (B, n) are text positions (equal on all axes), `visible` (B, 1, n, L + n) the keys each token sees.
        """
        output = self.text(
            inputs_embeds=self.embed_tokens(input_ids),
            position_ids=self._positions(positions[None]),
            attention_mask={"full_attention": None},
            **{self._cache_argument: cache},
            use_cache=True,
            visible=visible,
        )
        states: torch.Tensor = output.last_hidden_state
        return states

    def _packed(self, inputs: Inputs, position_ids: torch.Tensor) -> dict[str, Any]:
        """Arguments of the language model for one packed row."""
        deeper = self.family.deeper(len(inputs.embeddings), inputs.places, inputs.levels) if inputs.places is not None else {}
        return {
            "inputs_embeds": inputs.embeddings[None],
            "position_ids": self._positions(position_ids[:, None]),
            "attention_mask": {"full_attention": None},
            **deeper,
        }

    def _positions(self, positions: torch.Tensor) -> torch.Tensor:
        """Positions (axes or 1, B, T) as the language model takes them: on three axes, or (B, T)."""
        return positions.expand(3, -1, -1) if self.family.rule == "mrope" else positions[0]

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits (S, V) of hidden states (S, D)."""
        logits: torch.Tensor = self.model.lm_head(hidden)
        return logits

    def token_losses(self, hidden: torch.Tensor, targets: torch.Tensor, reference: torch.Tensor | None = None) -> torch.Tensor:
        """Negative log likelihoods (S,) float32 of targets (S,) int64 after hidden states (S, D), or, with those of a `reference`
        (S, D), KL divergences from it (pipeline/model/head.py)."""
        losses: torch.Tensor = self.model.lm_head(hidden, targets, reference)
        return losses
