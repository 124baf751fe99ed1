"""A recipe is a value. A Recipe says what the model is; a Phase says what is learnt, from what, starting where.

A variant is `dataclasses.replace` over another.
"""

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pipeline.data.sampler import seed_of
from pipeline.errors import ConfigError
from pipeline.model.compression import Chorus
from pipeline.model.inputs import PixelLimits
from pipeline.model.pooling import Pooling
from pipeline.model.shrinkers import KeepAll, Shrinker
from pipeline.model.tiles import Tiles
from pipeline.phase import STARTS, Phase
from pipeline.ranges import check_least, check_once
from pipeline.roles import Role
from pipeline.templates import Templates


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedBackbone:
    """A model folder that the user supplies with `--model-folder`; `name` says which one the recipe expects."""

    name: str


Family = Literal["qwen2_vl", "qwen2_5_vl", "qwen3_vl", "internvl"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyBackbone:
    """A randomly initialised model of a family's own classes, made on the spot with a tokenizer trained on the corpus."""

    family: Family = "qwen2_vl"
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

    def __post_init__(self) -> None:
        sizes = {"hidden", "layers", "heads", "kv_heads", "feed_forward", "tower_dim", "tower_layers", "tower_heads"}
        # Every byte and the template's special tokens have an id of their own.
        check_least(self, "backbone", **dict.fromkeys(sizes, 1), vocab_size=300, spread=0)
        for whole, part in (("hidden", "heads"), ("heads", "kv_heads"), ("tower_dim", "tower_heads")):
            if getattr(self, whole) % getattr(self, part):
                raise ConfigError(
                    f"backbone.{part}: {getattr(self, part)} does not divide backbone.{whole} = {getattr(self, whole)}"
                )
        # Rotary positions turn numbers in twos: of text each of time, height and width needs two, of a picture's patch two axes.
        for whole, part, multiple, least in (("hidden", "heads", 2, 6), ("tower_dim", "tower_heads", 4, 4)):
            width = getattr(self, whole) // getattr(self, part)
            if width % multiple or width < least:
                raise ConfigError(
                    f"backbone.{whole}: {getattr(self, whole)} is {width} for each of {getattr(self, part)} heads, and rotary "
                    f"positions need a multiple of {multiple}, at least {least}: set backbone.{whole} or backbone.{part}"
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class ToyWorld:
    """Size of the embedded toy corpus, used where no data folder is given."""

    seed: int = 0
    train_rows: int = 1000
    eval_rows: int = 100
    conversations: int = 4000
    mcq_rows: int = 200

    def __post_init__(self) -> None:
        check_least(self, "toy", seed=0, train_rows=1, eval_rows=1, conversations=1, mcq_rows=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that decides what is trained, apart from paths and machines."""

    name: str
    summary: str
    backbone: PublishedBackbone | TinyBackbone
    tokens: Chorus
    pooling: Pooling
    phases: tuple[Phase, ...]
    pixels: PixelLimits | Tiles = field(default_factory=PixelLimits)
    vision: Shrinker = field(default_factory=KeepAll)
    templates: Templates = field(default_factory=Templates)
    max_length: int = 2048
    seed: int = 0
    toy: ToyWorld = field(default_factory=ToyWorld)

    def __post_init__(self) -> None:
        check_least(self, "", max_length=1, seed=0)
        if not self.phases:
            raise ConfigError("phases: none; a recipe has one or more")
        check_once("phases, name", [phase.name for phase in self.phases])
        for number, phase in enumerate(self.phases):
            self._check_start(number)
            self._check_pooling(phase)
            self._check_tokens(phase)

    @property
    def phase(self) -> Phase:
        """The last phase: the one that a training trains, and whose layout a trained model is used with."""
        return self.phases[-1]

    @property
    def begins_at(self) -> str | None:
        """The phase whose end the last phase's weights begin at; None where that is no phase."""
        if len(self.phases) == 1:
            return None
        return self.phases[-2].name if self.phase.start in STARTS else self.phase.start

    @property
    def phase_path(self) -> str:
        """How `--set` names the last phase."""
        return f"phases.{len(self.phases) - 1}"

    @property
    def order_seed(self) -> int:
        """What the order of the last phase's data is drawn from: later phases draw anew."""
        return self.seed if len(self.phases) == 1 else seed_of("phase", self.seed, len(self.phases))

    def until(self, name: str) -> "Recipe":
        """The recipe whose last phase is the one of that name. Raises ConfigError, with the names, where there is none."""
        names = [phase.name for phase in self.phases]
        if name not in names:
            raise ConfigError(f"--phase {name}: recipe {self.name} has {', '.join(names)}")
        return replace(self, phases=self.phases[: names.index(name) + 1])

    def with_phase(self, **fields: Any) -> "Recipe":
        """The recipe with fields of its last phase replaced."""
        return replace(self, phases=(*self.phases[:-1], replace(self.phase, **fields)))

    def _check_start(self, number: int) -> None:
        """Refuse a phase that begins at no earlier one."""
        start, earlier = self.phases[number].start, [phase.name for phase in self.phases[:number]]
        if start not in (*STARTS, *earlier):
            named = ", ".join((*STARTS, *earlier))
            raise ConfigError(f"phases.{number}.start: {start!r} is not one of {named} (earlier phases)")

    def _check_pooling(self, phase: Phase) -> None:
        """Refuse to pool tokens that rows lack or have in different numbers."""
        pooled = self.pooling.positions
        if pooled.role not in phase.layout.order:
            raise ConfigError(f"pooling.role: {pooled.role.name} is not in layout.order")
        poolable = (Role.CONTEXT, Role.COMPRESSION) if pooled.last else (Role.COMPRESSION,)
        if pooled.role not in poolable:
            named = " or ".join(role.name for role in poolable)
            raise ConfigError(
                f"pooling.role: {type(self.pooling).__name__} pools {named}, which every row has, not {pooled.role.name}"
            )
        if self.tokens.elastic and (pooled.last or pooled.role is not Role.COMPRESSION):
            raise ConfigError(
                f"tokens.elastic: {type(self.pooling).__name__} does not pool all compression tokens, so the first have no "
                "embedding; take MeanOver, or leave tokens.elastic empty"
            )

    def _check_tokens(self, phase: Phase) -> None:
        """Compression tokens and their role come together."""
        has_tokens = Role.COMPRESSION in phase.layout.order
        if has_tokens and not self.tokens.count:
            raise ConfigError("tokens.count: 0; a layout with COMPRESSION needs at least 1")
        if not has_tokens and self.tokens.count:
            raise ConfigError(f"tokens.count: {self.tokens.count}, and layout.order has no COMPRESSION to hold them; set it to 0")
