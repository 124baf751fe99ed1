"""Roles: the one idea of the library. Every token has a role, and the roles decide attention, labels and pooling.

A `Layout` is the order of roles in a sequence, who may not see whom, and what is scored. CREM's compression-aware attention
(Eq. 2 of the paper) is `Hide((QUESTION, ANSWER), (CONTEXT,))` with `gate_probability=0.5`.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal, get_args

from pipeline.errors import ConfigError

Template = Literal["chat", "plain", "turns", "target"]
Continues = Literal["next", "count"]


SYSTEM_PROMPT = "You are a helpful assistant that can represent and understand multimodal inputs."
REPRESENT_IMAGE = "Represent the given image."
RECONSTRUCT_TEXT = "Reconstruct the represented text"
"""CREM's wordings (section 3.1)."""


class Role(IntEnum):
    """What a token is for. Template tokens take the role of the segment they frame."""

    SYSTEM = 0
    CONTEXT = 1
    COMPRESSION = 2
    QUESTION = 3
    ANSWER = 4


@dataclass(frozen=True, slots=True)
class Hide:
    """Tokens with a role in `queries` may not attend to tokens with a role in `keys`, in a compressed sequence."""

    queries: tuple[Role, ...]
    keys: tuple[Role, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """The order of roles, the hidden pairs, the words of the template, and what is scored.

    `gate_probability` is the chance that a sequence is compressed (z = 1 in the paper): then all hidden pairs hold, else none.
    The coin is drawn once a sequence and travels in the batch, so that every pass sees the same mask.
    `template` "chat" is CREM's prompt (section 3.1), one for retrieval and generation: what is asked goes on in the user's turn.
    "plain" is VLM2Vec's, for retrieval alone: the pictures and the text of a side and the tokenizer's end token, without a system
    line and chat tags, all of it CONTEXT. "turns" is CoMa's: the bare side, the tokens, then turns of a chat, without a system
    line. "target" is Bottleneck Tokens': the bare side, the tokens, then the assistant's header (QUESTION) and a text (ANSWER).
    `system` is the system line, `represent` the instruction under which a conversation's bare pictures are compressed, `cue` a
    line at the end of every CONTEXT.
    `scored` are the roles whose tokens the language loss scores, template tokens included; visual tokens are never among them.
    `continues` says at which position the tokens behind the compression tokens go on: at the "next" one, or at the "count" of the
    tokens before (Bottleneck Tokens), which is further on where pictures take fewer positions than tokens.
    """

    order: tuple[Role, ...]
    hidden: tuple[Hide, ...] = ()
    gate_probability: float = 1.0
    template: Template = "chat"
    system: str = SYSTEM_PROMPT
    represent: str = REPRESENT_IMAGE
    cue: str = ""
    scored: tuple[Role, ...] = (Role.ANSWER,)
    continues: Continues = "next"

    def __post_init__(self) -> None:
        self._check_template()
        self._check_behind_the_tokens()
        if not 0.0 <= self.gate_probability <= 1.0:
            raise ConfigError(f"layout.gate_probability: {self.gate_probability} is not between 0 and 1")
        for hide in self.hidden:
            absent = [role.name for role in (*hide.queries, *hide.keys) if role not in self.order]
            if absent:
                raise ConfigError(f"layout.hidden: {absent[0]} is not in layout.order")
            if set(hide.queries) & set(hide.keys):
                raise ConfigError("layout.hidden: a role must always see itself; take it out of queries or keys")
            self._refuse_leaks(hide)

    def _check_template(self) -> None:
        """Refuse a template with an order that it has no words for."""
        if self.template not in get_args(Template):
            raise ConfigError(f"layout.template: {self.template!r} is not one of {', '.join(get_args(Template))}")
        if self.template == "plain" and self.order != (Role.CONTEXT,):
            named = ", ".join(role.name for role in self.order)
            raise ConfigError(f"layout.template: a plain prompt is CONTEXT alone, and layout.order is {named}; set it to CONTEXT")
        if self.template in ("turns", "target") and Role.SYSTEM in self.order:
            raise ConfigError(f"layout.template: {self.template} has no system line; take SYSTEM out of layout.order")

    def _check_behind_the_tokens(self) -> None:
        """Refuse what is scored, and positions, that the order does not have."""
        if self.continues not in get_args(Continues):
            raise ConfigError(f"layout.continues: {self.continues!r} is not one of {', '.join(get_args(Continues))}")
        if self.continues == "count" and Role.COMPRESSION not in self.order:
            raise ConfigError("layout.continues: nothing is counted without COMPRESSION in layout.order; set it to next")
        if not self.scored or not set(self.scored) <= {Role.QUESTION, Role.ANSWER}:
            raise ConfigError("layout.scored: give ANSWER, or QUESTION and ANSWER")

    def visible(self, role: Role, *, compressed: bool) -> frozenset[Role]:
        """The roles whose earlier tokens a token of `role` may attend to, itself included.

        Roles outside of the order are visible and see everything: native rows have some, and are packed beside the layout's own.
        """
        cut = {key for hide in self.hidden if compressed and role in hide.queries for key in hide.keys}
        return frozenset(Role) - cut

    def _refuse_leaks(self, hide: Hide) -> None:
        """Refuse a layout in which a hidden role still reaches a query role without passing through COMPRESSION."""
        for source in hide.keys:
            reached = reachable(self, source, without=Role.COMPRESSION)
            leaks = reached & set(hide.queries)
            if leaks:
                names = ", ".join(sorted(role.name for role in leaks))
                raise ConfigError(
                    f"layout.hidden: {source.name} still reaches {names} without COMPRESSION; hide it from every role between"
                )


def reachable(layout: Layout, source: Role, *, without: Role) -> frozenset[Role]:
    """Roles that information from `source` reaches, over any number of layers, in a compressed sequence that lacks `without`."""
    reached = {source}
    for _ in layout.order:
        for reader in layout.order:
            if reader != without and reached & layout.visible(reader, compressed=True) and _may_follow(layout, reader, reached):
                reached.add(reader)
    return frozenset(reached)


def _may_follow(layout: Layout, reader: Role, sources: set[Role]) -> bool:
    """Whether attention is causal-possible: some visible source stands at or before a token of the reader."""
    seen = layout.visible(reader, compressed=True)
    return any(source in seen and _place(layout, source) <= _place(layout, reader) for source in sources)


def _place(layout: Layout, role: Role) -> int:
    """Rank of a role in a sequence. QUESTION and ANSWER share the last: in several turns an ANSWER stands before a QUESTION."""
    return layout.order.index(role) if role < Role.QUESTION else len(layout.order)
