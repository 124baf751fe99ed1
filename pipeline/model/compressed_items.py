"""Items read once and kept as their compression tokens: an embedding to search with, and a cache to answer questions from.

Keys and values of SYSTEM are the same for all items, because nothing stands before it, and are stored once; those of
COMPRESSION are stored for every item, with the M-RoPE position at which a question continues (CREM, section 3.3).
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from pipeline.errors import DataError
from pipeline.manifest import write_atomic
from pipeline.model.generation import Memory

_FINGERPRINT, _DIGEST = "fingerprint", "sha256"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CompressedItems:
    """N items of a model of `fingerprint`, on the CPU.

    `embeddings` (N, D) float32 of unit norm; `keys` and `values` (N, layers, H_kv, K, d) of COMPRESSION, `system_keys` and
    `system_values` (layers, H_kv, S, d), all in the model's type; `positions` (N,) int64 of the next token; `names` (N,) int64
    are digests of the contents; `context_tokens` (N,) int64 is how many CONTEXT tokens each item had before they were dropped.
    """

    fingerprint: str
    embeddings: torch.Tensor
    system_keys: torch.Tensor
    system_values: torch.Tensor
    keys: torch.Tensor
    values: torch.Tensor
    positions: torch.Tensor
    names: torch.Tensor
    context_tokens: torch.Tensor

    def __len__(self) -> int:
        return len(self.positions)

    def take(self, places: Sequence[int]) -> "CompressedItems":
        """The items at `places`, in that order; a place may come more than once."""
        chosen = torch.tensor(places, dtype=torch.int64)
        return replace(self, **{name: getattr(self, name)[chosen] for name in _PER_ITEM})

    @property
    def num_kept(self) -> int:
        """Tokens that are kept of an item: SYSTEM and COMPRESSION."""
        return int(self.system_keys.shape[2] + self.keys.shape[3])

    @property
    def bytes_per_item(self) -> int:
        """Bytes of keys and values that each further item adds."""
        return 2 * self.keys[:1].nbytes

    @property
    def kept_share(self) -> float:
        """Compression tokens over the measured mean number of context tokens: the paper's "Cache" (Table 4) on these items."""
        return self.keys.shape[3] / float(self.context_tokens.double().mean())

    def memory(self, device: torch.device) -> Memory:
        """SYSTEM and COMPRESSION of all the items as one batch on `device`."""
        layers = range(self.keys.shape[1])
        seen = torch.ones(len(self), self.system_keys.shape[2] + self.keys.shape[3], dtype=torch.bool, device=device)
        return Memory(
            keys=tuple(self._layer(self.system_keys, self.keys, layer).to(device) for layer in layers),
            values=tuple(self._layer(self.system_values, self.values, layer).to(device) for layer in layers),
            seen=seen,
            position=self.positions.to(device),
        )

    def save(self, path: Path) -> None:
        """Write one safetensors file, whole or not at all, with the model's fingerprint and a digest of the content."""
        tensors = {name: getattr(self, name).contiguous() for name in _TENSORS}
        write_atomic(path, save(tensors, metadata={_FINGERPRINT: self.fingerprint, _DIGEST: _digest(tensors)}))

    @staticmethod
    def load(path: Path, *, fingerprint: str) -> "CompressedItems":
        """Read what `save` wrote for the model of `fingerprint`.

        Raises DataError for a file that is missing, truncated or changed, or that another model wrote.
        """
        try:
            with safe_open(path, framework="pt") as file:
                noted = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.offset_keys()}
        except (OSError, SafetensorError) as error:
            raise DataError(f"{path}: not a whole file of compressed items ({error}); compress the items again") from error
        if set(tensors) != set(_TENSORS) or noted.get(_DIGEST) != _digest(tensors):
            raise DataError(f"{path}: its content is not what was written; compress the items again")
        items = CompressedItems(fingerprint=noted.get(_FINGERPRINT, ""), **tensors)
        items.check(fingerprint, where=str(path))
        return items

    def check(self, fingerprint: str, *, where: str) -> None:
        """Raise DataError, naming `where`, unless a model of `fingerprint` made the items."""
        if self.fingerprint != fingerprint:
            raise DataError(
                f"{where}: made by another model (weights, recipe, tokenizer or number type differ); compress the items again"
            )

    @staticmethod
    def _layer(system: torch.Tensor, own: torch.Tensor, layer: int) -> torch.Tensor:
        """(N, H_kv, S + K, d) of one layer."""
        return torch.cat([system[layer].expand(len(own), -1, -1, -1), own[:, layer]], dim=2)


_TENSORS = tuple(sorted(item.name for item in fields(CompressedItems) if item.name != _FINGERPRINT))
_PER_ITEM = tuple(name for name in _TENSORS if not name.startswith("system"))


def split(memory: Memory, num_system: int) -> dict[str, torch.Tensor]:
    """The tensors of items from their memory, whose rows are `num_system` SYSTEM tokens and then COMPRESSION, unpadded."""
    keys, values = torch.stack(memory.keys, dim=1).cpu(), torch.stack(memory.values, dim=1).cpu()
    return {
        "system_keys": keys[0, :, :, :num_system],
        "system_values": values[0, :, :, :num_system],
        "keys": keys[:, :, :, num_system:],
        "values": values[:, :, :, num_system:],
        "positions": memory.position.cpu(),
    }


def join(parts: Sequence[CompressedItems]) -> CompressedItems:
    """The items of several parts, one after another, made by one model."""
    whole: dict[str, Any] = {name: torch.cat([getattr(part, name) for part in parts]) for name in _PER_ITEM}
    return replace(parts[0], **whole)


def _digest(tensors: Mapping[str, torch.Tensor]) -> str:
    """The sha256 (hex) over names, types, shapes and bytes."""
    digest = hashlib.sha256()
    for part in _parts(tensors):
        digest.update(part)
    return digest.hexdigest()


def _parts(tensors: Mapping[str, torch.Tensor]) -> Iterator[bytes | memoryview]:
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        yield f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode()
        yield tensor.flatten().view(torch.uint8).numpy().data
