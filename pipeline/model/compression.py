"""The compression tokens: K learnable rows (CREM's chorus tokens) that stand in the input table's place at their ids."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from pipeline.errors import ConfigError

Start = Literal["eos", "mean", "random"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chorus:
    """`count` tokens whose rows start as the EOS row, the vocabulary's mean or at random (scaled like the table)."""

    count: int = 16
    start: Start = "mean"

    def ids(self, vocab_size: int, num_known: int) -> tuple[int, ...]:
        """Ids for the tokens: the spare rows after the tokenizer's last id. Raises ConfigError when there are too few.

        Qwen2-VL pads its table to 151,936 rows and its tokenizer knows 151,657: 279 rows are spare.
        """
        if num_known + self.count > vocab_size:
            raise ConfigError(
                f"tokens.count: {self.count} tokens need spare rows, and the table has {vocab_size - num_known} after the last id"
            )
        return tuple(range(num_known, num_known + self.count))

    def rows(self, table: torch.Tensor, eos: int, generator: torch.Generator) -> torch.Tensor:
        """Start values (K, D) float32 from the input table (V, D).

        The mean and EOS starts get a little noise (a tenth of the table's spread): K equal rows would stay equal but for
        their positions.
        """
        spread = table.float().std()
        noise = torch.randn(self.count, table.shape[1], generator=generator) * spread
        centre = {"eos": table[eos].float(), "mean": table.float().mean(0), "random": torch.zeros(table.shape[1])}[self.start]
        return centre + noise * (1.0 if self.start == "random" else 0.1)


class TokenBank(nn.Module):
    """Holds the learnable rows (K, D) and puts them into a packed row's embeddings."""

    def __init__(self, rows: torch.Tensor, first_id: int) -> None:
        super().__init__()
        self.rows = nn.Parameter(rows)
        self.first_id = first_id

    def forward(self, input_ids: torch.Tensor, embeddings: torch.Tensor) -> torch.Tensor:
        """Embeddings (T, D) with the rows of compression tokens replaced."""
        places = input_ids - self.first_id
        mine = (places >= 0) & (places < len(self.rows))
        if not bool(mine.any()):
            # Under ZeRO every rank must touch the same parameters; times zero keeps the graph without moving anything.
            return embeddings + 0.0 * self.rows.sum().to(embeddings.dtype)
        return embeddings.masked_scatter(mine[:, None], self.rows[places[mine]].to(embeddings.dtype))
