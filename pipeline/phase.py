"""A training phase is a value: what is learnt, from what, of which weights, and how."""

import re
from dataclasses import dataclass, field
from typing import Literal

from pipeline.chunk_budget import AUTO, ChunkBudget, Count, check_chunks
from pipeline.data.qa import QaKind
from pipeline.errors import ConfigError
from pipeline.losses.contrastive import ContrastiveLoss, InfoNCE
from pipeline.losses.language import LanguageLoss, NextToken
from pipeline.losses.weights import Stepwise, changes, check_weight, weight_at
from pipeline.model.adapters import Adapter, Full
from pipeline.negatives import InFile, Negatives
from pipeline.ranges import check_between, check_least, check_once
from pipeline.roles import Layout, Role
from pipeline.targets import OwnQuestions, SideName, Target

Schedule = Literal["cosine", "linear", "constant"]
Features = Literal["device", "host", "recomputed"]
STARTS = ("merged", "continued")

HeldOutFigure = Literal[
    "none",
    "contrastive",
    "precision_at_1",
    "own_language_full",
    "own_language_compressed",
    "outside_language_full",
    "outside_language_compressed",
]
"""A figure of the held-out slice; `none` is no figure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixture:
    """What a global batch is made of.

    `pairs` retrieval pairs in one-dataset runs of `sub_batch` (0: the model only answers), and `outside` conversations (0: none)
    of the datasets `outside_sets` (empty: of all that are there, in which case what is trained depends on the data folder).
    `own_sides` are the sides that are asked the phase's target (empty: none), `negatives` being the phase's hard negatives.
    `native_share` of the conversations have no compression tokens. `weights` scale a dataset's share (default 1 a row), of pairs
    and of conversations; `cap` limits the rows of pairs that count towards it. A training row shows a part of each picture,
    drawn anew at every step, at least `least_view` of its width and height (1: all of it).
    """

    pairs: int = 1024
    sub_batch: int = 64
    outside: int = 128
    own_sides: tuple[SideName, ...] = ("query", "positive")
    native_share: float = 0.0
    weights: tuple[tuple[str, float], ...] = ()
    cap: int = 100_000
    least_view: float = 1.0
    outside_sets: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_least(self, "mixture", pairs=0, outside=0, sub_batch=1, cap=1)
        if not self.pairs and not self.outside:
            raise ConfigError("mixture.pairs, mixture.outside: both are 0, which leaves nothing to train on; raise one")
        for name, weight in self.weights:
            check_weight(f"mixture.weights, {name}", weight)
        check_once("mixture.weights", [name for name, _ in self.weights])
        check_once("mixture.outside_sets", self.outside_sets)
        if self.pairs % self.sub_batch:
            raise ConfigError(f"mixture.sub_batch: {self.sub_batch} does not divide mixture.pairs = {self.pairs}")
        check_between("mixture.native_share", self.native_share, 0, 1)
        check_between("mixture.least_view", self.least_view, 0.1, 1)

    def reads(self, conversations: str) -> bool:
        """Whether a dataset of conversations is one that `outside` draws from."""
        return not self.outside_sets or conversations in self.outside_sets

    @property
    def asks_pairs(self) -> bool:
        """Whether pairs are asked questions of their own."""
        return self.pairs > 0 and len(self.own_sides) > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AdamW:
    """AdamW with a schedule after a linear warm-up; `clip` bounds the gradient's norm (0: off).

    The warm-up lasts `warmup_steps`, or `warmup_share` of the phase's steps, rounded up. After it the rate stays ("constant") or
    falls along half a cosine or a line, as transformers' schedules of these names do, and not below `floor` times its peak.
    """

    learning_rate: float = 5e-5
    schedule: Schedule = "cosine"
    warmup_steps: int = 100
    warmup_share: float = 0.0
    floor: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    clip: float = 1.0

    def __post_init__(self) -> None:
        check_least(self, "optimizer", learning_rate=0, warmup_steps=0, eps=0, weight_decay=0, clip=0)
        check_between("optimizer.floor", self.floor, 0, 1)
        check_between("optimizer.warmup_share", self.warmup_share, 0, 1)
        if self.warmup_steps and self.warmup_share:
            raise ConfigError(
                f"optimizer.warmup_steps, optimizer.warmup_share: {self.warmup_steps} steps and {self.warmup_share} of all steps "
                "are both set; set one of them to 0"
            )
        for beta in self.betas:
            check_between("optimizer.betas", beta, 0, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """One training phase: what is learnt (`layout`, `target`, the losses and their weights), from what (`mixture`,
    `negatives`), of which weights (`adapter`, `tower`), how, and what moves memory and time only.

    `start` says how it goes on from the phase before: with that one's adapters merged into the weights, or with its trained
    weights as they are, adapters included ("continued": both must train the same ones); the name of an earlier phase instead
    says that it begins where that one ended, merged. The first phase begins at the backbone. Negatives are searched for by the
    model of the phase before, wherever the weights begin.
    The weights of the two losses are numbers or change at named steps; a loss whose weight is 0 costs nothing at that step.
    `chunk_tokens` bounds a packed micro-batch; `kept_chunks` of a step keep their first-pass graph instead of being replayed;
    `auto` is what the memory allows, chosen when the run starts.
    `features` says where a frozen tower's features wait for the replay; `gradient_checkpointing` runs each layer again in the
    backward pass instead of keeping what it computed. ZeRO 1 keeps whole gradients in float32 and reduces them once a step; 2 and
    3 keep a rank's part and reduce each chunk's. In bfloat16, ZeRO 0 runs as 1: DeepSpeed's own would add up in bfloat16.
    Of the checkpoints, one every `checkpoint_every` steps, the last `keep_checkpoints` stay, those of every `keep_every`-th step
    (0: none), and the one that is best by the held-out figure `keep_best`. A step whose loss or gradient is not finite is
    skipped; `skips_in_a_row` of them stop the run. A row that cannot be read is left out; more than the share `max_unreadable` of
    the corpus's rows stop it too.
    """

    name: str
    steps: int
    layout: Layout
    adapter: Adapter = field(default_factory=Full)
    tower: Literal["frozen", "trained"] = "frozen"
    start: str = "merged"
    mixture: Mixture = field(default_factory=Mixture)
    negatives: Negatives = field(default_factory=InFile)
    target: Target = field(default_factory=OwnQuestions)
    contrastive: ContrastiveLoss = field(default_factory=InfoNCE)
    language: LanguageLoss = field(default_factory=NextToken)
    optimizer: AdamW = field(default_factory=AdamW)
    contrastive_weight: float | Stepwise = 1.0
    language_weight: float | Stepwise = 0.5
    zero_stage: int = 1
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    chunk_tokens: Count = AUTO
    kept_chunks: Count = AUTO
    features: Features = "device"
    gradient_checkpointing: bool = False
    evaluate_every: int = 100
    checkpoint_every: int = 100
    keep_checkpoints: int = 2
    keep_every: int = 0
    keep_best: HeldOutFigure = "none"
    skips_in_a_row: int = 10
    max_unreadable: float = 0.01
    held_out: int = 256

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9_]+", self.name):
            raise ConfigError(f"phase.name: {self.name!r} names a folder too; use a-z, 0-9 and _")
        check_least(self, "phase", steps=1, held_out=0)
        check_least(self, "phase", evaluate_every=1, checkpoint_every=1, keep_checkpoints=1, keep_every=0, skips_in_a_row=1)
        check_between("phase.max_unreadable", self.max_unreadable, 0, 1)
        if self.zero_stage not in (0, 1, 2, 3):
            raise ConfigError(f"phase.zero_stage: {self.zero_stage} is not 0, 1, 2 or 3")
        check_chunks(self.chunk_tokens, self.kept_chunks, self.zero_stage)
        check_weight("phase.contrastive_weight", self.contrastive_weight)
        check_weight("phase.language_weight", self.language_weight)
        self._refuse_idle_steps()
        self._check_best()
        self._check_order()
        self._check_questions()
        self._refuse_idle_tokens()
        self._check_asked_negatives()

    @property
    def budget(self) -> ChunkBudget:
        """`chunk_tokens` and `kept_chunks` as numbers; no `auto` may be left."""
        return ChunkBudget.of(self.chunk_tokens, self.kept_chunks)

    @property
    def needs(self) -> QaKind | None:
        """The kind of synthesized turns that pairs are asked; None where they are asked nothing that is synthesized."""
        return (self.target.needs or None) if self.mixture.asks_pairs else None

    @property
    def embeds(self) -> bool:
        """Whether sides have embeddings that are trained, at some step at least."""
        weight = self.contrastive_weight
        return self.mixture.pairs > 0 and any(weight_at(weight, step) for step in changes(weight))

    def answers(self, step: int) -> bool:
        """Whether questions are asked at a step."""
        return bool(weight_at(self.language_weight, step) and (self.mixture.outside or self.mixture.asks_pairs))

    def _check_best(self) -> None:
        """Refuse to choose by a figure that the held-out slice of this phase does not have."""
        needs = {
            "contrastive": self.mixture.pairs > 0,
            "precision_at_1": self.mixture.pairs > 0,
            "own": self.mixture.asks_pairs,
            "outside": self.mixture.outside > 0,
            "none": True,
        }
        figure = self.keep_best if self.keep_best in needs else self.keep_best.partition("_")[0]
        if not needs[figure] or (figure != "none" and not self.held_out):
            raise ConfigError(f"phase.keep_best: the held-out slice has no {self.keep_best}; choose another or none")

    def _refuse_idle_steps(self) -> None:
        """Refuse a phase some of whose steps would train nothing."""
        for step in sorted({*changes(self.contrastive_weight), *changes(self.language_weight)}):
            if not (self.mixture.pairs and weight_at(self.contrastive_weight, step)) and not self.answers(step):
                raise ConfigError(
                    f"phase.contrastive_weight, phase.language_weight: neither loss has anything to train on from step {step} on"
                )

    def _check_order(self) -> None:
        """Refuse an order that no sequence has: tokens read the context before them, and questions follow both."""
        order = self.layout.order
        if Role.CONTEXT not in order or list(order) != sorted(set(order)):
            names = ", ".join(role.name for role in order)
            raise ConfigError(
                f"layout.order: {names or 'nothing'}; take CONTEXT and others of {', '.join(Role.__members__)}, in this order"
            )

    def _check_questions(self) -> None:
        """Questions need a layout with a place for them; native conversations have a layout of their own."""
        if {Role.QUESTION, Role.ANSWER} <= set(self.layout.order):
            return
        asks = any(self.answers(step) for step in changes(self.language_weight))
        if asks and (self.mixture.asks_pairs or self.mixture.native_share < 1.0):
            raise ConfigError(
                f"layout.order: has no QUESTION and ANSWER, but phase {self.name!r} asks; empty mixture.own_sides and "
                "mixture.outside, or set native_share to 1"
            )

    def _refuse_idle_tokens(self) -> None:
        """Refuse answers that learn nothing of the context, a reference that is the model itself, and, where answers alone teach,
        tokens that no answer needs.

        Beside a contrastive loss an open mask is a method's own switch (CREM's Table 8, Bottleneck Tokens' ablation).
        """
        layout = self.layout
        hides = layout.gate_probability > 0 and Role.CONTEXT not in layout.visible(Role.ANSWER, compressed=True)
        if hides and Role.ANSWER in layout.order and Role.COMPRESSION not in layout.order:
            raise ConfigError(
                "layout.hidden: without COMPRESSION in layout.order nothing of CONTEXT reaches ANSWER; hide nothing"
            )
        if self.language.has_reference and not hides:
            raise ConfigError(
                f"language: {type(self.language).__name__} compares with the model that sees CONTEXT, and ANSWER sees it: "
                "nothing is learnt; hide CONTEXT from QUESTION and ANSWER in layout.hidden, with layout.gate_probability over 0"
            )
        if self.embeds or hides or not {Role.COMPRESSION, Role.ANSWER} <= set(layout.order):
            return
        if self.mixture.asks_pairs or (self.mixture.outside and self.mixture.native_share < 1.0):
            raise ConfigError(
                f"layout.hidden: phase {self.name!r} only answers, and its answers see CONTEXT, so COMPRESSION learns nothing; "
                "hide CONTEXT from QUESTION and ANSWER, with layout.gate_probability over 0, or take COMPRESSION away"
            )

    def _check_asked_negatives(self) -> None:
        """Refuse to ask hard negatives that the phase does not take, or what is made for no hard negative."""
        if not self.mixture.asks_pairs or "negatives" not in self.mixture.own_sides:
            return
        if not self.negatives.most:
            raise ConfigError("mixture.own_sides: asks the negatives, and negatives.most is 0; raise it, or take negatives out")
        if not self.target.tells_negatives:
            raise ConfigError(
                f"mixture.own_sides: {type(self.target).__name__} has nothing to say about negatives; take Dialogue, Caption or "
                "Description as target, or take negatives out"
            )
