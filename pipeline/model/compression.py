"""The compression tokens: K learnable rows (CREM's chorus tokens) that stand in the input table's place at their ids."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import nn

from pipeline.errors import ConfigError
from pipeline.ranges import check_least

Start = Literal["eos", "mean", "random", "spare"]
Trained = Literal["rows", "table", "none"]
Place = Literal["spare", "new"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chorus:
    """`count` tokens, the same on both sides of a pair; 0 only in a layout without COMPRESSION.

    `start`: the rows begin as the EOS row, the vocabulary's mean, at random (scaled like the table), or as what the table has in
    the spare rows at their ids. To all but "random" comes `noise` times the table's spread: K equal rows would stay equal but for
    their positions (0: exact copies, as Bottleneck Tokens has them).
    `trained`: "rows" trains the K rows beside what the adapter trains; "table" the whole input table too, which LoRA would leave
    frozen (where the head is tied to the table, the head moves with it); "none" leaves the rows as they start.
    `place`: "spare" takes ids of the rows that the table has after the tokenizer's last id, so that an export resizes nothing;
    "new" takes ids after the table's last row, for tables without spare rows.

    `elastic` are numbers of tokens, the last of them `count`: a row is embedded at each, from its first k tokens alone. These
    never see the later ones, so one pass holds them all, and the model is one of k tokens for every k (empty: of `count` alone).

    The rows are in a `TokenBank`, not in the table: with a tied head, training them moves no output. Their ids are never scored
    and never chosen in decoding.
    """

    count: int = 16
    start: Start = "mean"
    trained: Trained = "rows"
    place: Place = "spare"
    noise: float = 0.1
    elastic: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name, allowed in (("start", Start), ("trained", Trained), ("place", Place)):
            value = getattr(self, name)
            if value not in get_args(allowed):
                raise ConfigError(f"tokens.{name}: {value!r} is not one of {', '.join(get_args(allowed))}")
        if self.count < 0:
            raise ConfigError(f"tokens.count: {self.count} is negative")
        check_least(self, "tokens", noise=0)
        if self.start == "spare" and self.place != "spare":
            raise ConfigError('tokens.start: new rows are no spare ones; set tokens.place to "spare", or another start')
        if self.elastic and (list(self.elastic) != sorted({0, *self.elastic})[1:] or self.elastic[-1] != self.count):
            raise ConfigError(f"tokens.elastic: {list(self.elastic)}; give growing numbers from 1 to tokens.count = {self.count}")

    def ids(self, vocab_size: int, num_known: int) -> tuple[int, ...]:
        """Ids for the tokens, of a table of `vocab_size` rows and a tokenizer of `num_known` ids.

        Qwen2-VL pads its table to 151,936 rows and its tokenizer knows 151,657: 279 rows are spare. Raises ConfigError when
        there are too few.
        """
        if self.place == "new":
            return tuple(range(vocab_size, vocab_size + self.count))
        if num_known + self.count > vocab_size:
            raise ConfigError(
                f"tokens.count: {self.count} tokens need spare rows, and the table has {vocab_size - num_known} after the last"
                ' id; take fewer, or tokens.place "new"'
            )
        return tuple(range(num_known, num_known + self.count))

    @torch.no_grad()
    def rows(self, table: torch.Tensor, ids: Sequence[int], eos: int, generator: torch.Generator) -> torch.Tensor:
        """Start values (K, D) float32 of the tokens at `ids`, from the input table (V, D)."""
        spread = table.float().std()
        noise = torch.randn(self.count, table.shape[1], generator=generator) * spread
        if self.start == "random":
            return noise
        centre = {"eos": lambda: table[eos], "mean": lambda: table.float().mean(0), "spare": lambda: table[list(ids)]}[
            self.start
        ]()
        return centre.float() + noise * self.noise

    def mark(self, bank: nn.Module, table: nn.Parameter) -> None:
        """Mark the weights to train, after the adapter has marked its own."""
        bank.requires_grad_(self.trained != "none")
        if self.trained == "table":
            table.requires_grad_(True)


class TokenBank(nn.Module):
    """Holds the learnable rows (K, D) and puts them into a packed row's embeddings."""

    def __init__(self, rows: torch.Tensor, first_id: int) -> None:
        super().__init__()
        self.rows = nn.Parameter(rows)
        self.ids = range(first_id, first_id + len(rows))

    def table_ids(self, input_ids: torch.Tensor) -> torch.Tensor:
        """The ids (T,) to look up in the table: 0 where the bank has the row, whose id may lie outside of the table."""
        return input_ids.masked_fill(self._mine(input_ids), 0)

    def forward(self, input_ids: torch.Tensor, embeddings: torch.Tensor) -> torch.Tensor:
        """Embeddings (T, D) with the rows of compression tokens replaced."""
        mine = self._mine(input_ids)
        if not bool(mine.any()):
            # Under ZeRO every rank must touch the same parameters; times zero keeps the graph without moving anything.
            return embeddings + 0.0 * self.rows.sum().to(embeddings.dtype)
        return embeddings.masked_scatter(mine[:, None], self.rows[input_ids[mine] - self.ids.start].to(embeddings.dtype))

    def first(self, count: int) -> "TokenBank":
        """The bank of the first `count` rows."""
        return TokenBank(self.rows.detach()[:count], self.ids.start)

    def _mine(self, input_ids: torch.Tensor) -> torch.Tensor:
        return (input_ids >= self.ids.start) & (input_ids < self.ids.stop)


class NoTokens(nn.Module):
    """The bank of a layout without COMPRESSION: nothing to hold, every id is the table's."""

    def table_ids(self, input_ids: torch.Tensor) -> torch.Tensor:
        """The ids as they are."""
        return input_ids

    def forward(self, input_ids: torch.Tensor, embeddings: torch.Tensor) -> torch.Tensor:
        """The embeddings (T, D) as they are."""
        return embeddings


Bank = TokenBank | NoTokens


def make_bank(rows: torch.Tensor, ids: Sequence[int]) -> Bank:
    """The bank of rows (K, D) that stand at neighbouring ids."""
    return TokenBank(rows, ids[0]) if ids else NoTokens()
