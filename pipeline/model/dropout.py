"""Dropout that both passes of gradient caching draw alike.

A mask that comes from a random stream depends on what else the stream is asked, so a first pass over shortened rows in other
chunks draws other masks than the replay, and the cached gradient belongs to other embeddings. Here a mask is a function: a hash
of the token's number, which the sampler draws from (seed, step, row, position), of the module and of the feature. Chunks, ranks,
packing and order do not enter.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import nn

_FIRST, _SECOND = 0x85EBCA6B - 2**32, 0xC2B2AE35 - 2**32
"""Multipliers of the 32-bit finaliser of MurmurHash3, as signed numbers."""

_GOLDEN = 0x9E3779B9 - 2**32
"""2^32 over the golden ratio: neighbouring numbers are far apart after a product with it."""


class TokenNoise:
    """Where a model's dropout modules find the numbers (T,) int64 of the tokens that are passing through it."""

    def __init__(self) -> None:
        self.numbers: torch.Tensor | None = None

    @contextmanager
    def of(self, numbers: torch.Tensor | None) -> Iterator[None]:
        """Inside of the block, a forward pass is about these tokens."""
        before, self.numbers = self.numbers, numbers
        try:
            yield
        finally:
            self.numbers = before

    def recomputed(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        """For torch's checkpoint: a layer that runs again in the backward pass finds the tokens of its first run."""
        return nullcontext(), self.of(self.numbers)


class TokenDropout(nn.Module):
    """Sets a share of the features of (..., T, F) to zero and scales the others up, in training alone."""

    words: torch.Tensor

    def __init__(self, probability: float, width: int, module: int) -> None:
        super().__init__()
        self.probability, self.module = probability, module
        self.noise = TokenNoise()
        features = torch.arange(width, dtype=torch.int32).mul_(_GOLDEN).add_(module)
        self.register_buffer("words", mixed(features), persistent=False)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """States (..., T, F) of the tokens that the model's noise names."""
        if not self.training:
            return states
        assert self.noise.numbers is not None, "a training pass says which tokens it is about"
        return states.masked_fill(self.dropped(self.noise.numbers), 0.0) / (1.0 - self.probability)

    def dropped(self, numbers: torch.Tensor) -> torch.Tensor:
        """Which features of the tokens `numbers` (T,) int64 are dropped, (T, F) bool."""
        high, low = (numbers >> 32).int(), numbers.bitwise_and(0xFFFFFFFF).sub(2**31).int()
        tokens = mixed(mixed(high.add_(self.module)).bitwise_xor_(low))
        return mixed(tokens[:, None] ^ self.words) < round(self.probability * 2**32) - 2**31


def mixed(words: torch.Tensor) -> torch.Tensor:
    """Scatter int32 numbers evenly over int32, in place: the finaliser of MurmurHash3. Products wrap around."""
    for multiplier, shift in ((_FIRST, 16), (_SECOND, 13), (1, 16)):
        words ^= (words >> shift) & ((1 << (32 - shift)) - 1)
        words *= multiplier
    return words
