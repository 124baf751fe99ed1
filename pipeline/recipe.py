"""A recipe is a value: a layout, components and training phases. A variant is `dataclasses.replace` over another."""

from dataclasses import dataclass, field
from typing import Literal

from pipeline.errors import ConfigError
from pipeline.losses.contrastive import InfoNCE
from pipeline.losses.language import NextToken
from pipeline.model.adapters import Adapter, Full
from pipeline.model.compression import Chorus
from pipeline.model.inputs import PixelLimits
from pipeline.model.pooling import Pooling
from pipeline.roles import Layout, Role

SideName = Literal["query", "positive"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedBackbone:
    """A model folder that the user supplies with `--model-folder`; `name` says which one the recipe expects."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyBackbone:
    """A randomly initialised model of a family's own classes, made on the spot with a tokenizer trained on the corpus."""

    family: Literal["qwen2_vl", "qwen2_5_vl"] = "qwen2_vl"
    hidden: int = 128
    layers: int = 4
    heads: int = 4
    kv_heads: int = 2
    feed_forward: int = 384
    vocab_size: int = 2048
    tower_dim: int = 96
    tower_layers: int = 2
    tower_heads: int = 4
    spread: float = 0.06
    """Standard deviation of the random weights. Three times the usual 0.02, which suits width 2,000, not width 128."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToyWorld:
    """Size of the embedded toy corpus, used where no data folder is given."""

    seed: int = 0
    train_rows: int = 1000
    eval_rows: int = 100
    conversations: int = 4000
    mcq_rows: int = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixture:
    """What a global batch is made of.

    `pairs` retrieval pairs in one-dataset runs of `sub_batch`, and `outside` conversations. `own_sides` are the sides that are
    asked their own question (homogeneous data; empty: none). `native_share` of the conversations have no compression tokens.
    `weights` scale a dataset's share (default 1 a row), `cap` limits the rows that count towards it.
    """

    pairs: int = 1024
    sub_batch: int = 64
    outside: int = 128
    own_sides: tuple[SideName, ...] = ("query", "positive")
    native_share: float = 0.0
    weights: tuple[tuple[str, float], ...] = ()
    cap: int = 100_000

    def __post_init__(self) -> None:
        if self.pairs % self.sub_batch:
            raise ConfigError(f"mixture.sub_batch: {self.sub_batch} does not divide mixture.pairs = {self.pairs}")
        if not 0.0 <= self.native_share <= 1.0:
            raise ConfigError(f"mixture.native_share: {self.native_share} is not between 0 and 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class AdamW:
    """AdamW with a cosine schedule after a linear warm-up; `clip` bounds the gradient's norm (0: off)."""

    learning_rate: float = 5e-5
    warmup_steps: int = 100
    floor: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    clip: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """One training phase.

    `chunk_tokens` bounds a packed micro-batch; `kept_chunks` of a step keep their first-pass graph instead of being replayed.
    """

    name: str
    steps: int
    mixture: Mixture = field(default_factory=Mixture)
    optimizer: AdamW = field(default_factory=AdamW)
    contrastive_weight: float = 1.0
    language_weight: float = 0.5
    zero_stage: int = 2
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    chunk_tokens: int = 16_384
    kept_chunks: int = 0
    evaluate_every: int = 100
    checkpoint_every: int = 100
    keep_checkpoints: int = 2
    held_out: int = 256

    def __post_init__(self) -> None:
        if self.zero_stage not in (0, 1, 2, 3):
            raise ConfigError(f"phase.zero_stage: {self.zero_stage} is not 0, 1, 2 or 3")
        if self.kept_chunks and self.zero_stage == 3:
            raise ConfigError("phase.kept_chunks: ZeRO-3 frees weights between passes; keep no graphs (0) or use stage 2")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that decides what is trained, apart from paths and machines."""

    name: str
    summary: str
    backbone: PublishedBackbone | TinyBackbone
    layout: Layout
    tokens: Chorus
    pooling: Pooling
    contrastive: InfoNCE
    language: NextToken
    phases: tuple[Phase, ...]
    adapter: Adapter = field(default_factory=Full)
    tower: Literal["frozen", "trained"] = "frozen"
    pixels: PixelLimits = field(default_factory=PixelLimits)
    max_length: int = 2048
    seed: int = 0
    toy: ToyWorld = field(default_factory=ToyWorld)

    def __post_init__(self) -> None:
        if self.pooling.role not in self.layout.order:
            raise ConfigError(f"pooling.role: {self.pooling.role.name} is not in layout.order")
        poolable = (Role.CONTEXT, Role.COMPRESSION) if self.pooling.positions.last else (Role.COMPRESSION,)
        if self.pooling.role not in poolable:
            named = " or ".join(role.name for role in poolable)
            raise ConfigError(
                f"pooling.role: {type(self.pooling).__name__} pools {named}, which every row has, not {self.pooling.role.name}"
            )
        self._refuse_unanswerable()
        has_tokens = Role.COMPRESSION in self.layout.order
        if has_tokens and not self.tokens.count:
            raise ConfigError("tokens.count: 0; a layout with COMPRESSION needs at least 1")
        if not has_tokens and self.tokens.count:
            raise ConfigError(f"tokens.count: {self.tokens.count}, and layout.order has no COMPRESSION to hold them; set it to 0")

    def _refuse_unanswerable(self) -> None:
        """Refuse questions in a layout that has no place for them (a plain prompt)."""
        if {Role.QUESTION, Role.ANSWER} <= set(self.layout.order):
            return
        for mixture in (phase.mixture for phase in self.phases):
            if mixture.own_sides:
                raise ConfigError("mixture.own_sides: layout.order has no QUESTION and ANSWER for own questions; set it to none")
            if mixture.outside and mixture.native_share < 1.0:
                raise ConfigError(
                    "mixture.outside: layout.order has no QUESTION and ANSWER for conversations; set 0, or native_share to 1"
                )
