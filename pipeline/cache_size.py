"""How much of a context answers from compression tokens keep: CREM's "Cache" (Table 4), and the same with SYSTEM counted."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.errors import DataError
from pipeline.roles import Role
from pipeline.sample import Side
from pipeline.sequence import conversation_context

if TYPE_CHECKING:
    from pipeline.inference import EmbeddingModel


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSize:
    """Tokens of an answered context: SYSTEM and COMPRESSION, whose keys and values stay, and CONTEXT, measured, in the mean."""

    system: int
    compression: int
    context: float

    @property
    def share(self) -> float:
        """Compression tokens over the mean number of context tokens, as the paper has it."""
        return self.compression / self.context

    @property
    def share_with_system(self) -> float:
        """All that is kept over all that a native answer keeps of the same."""
        return (self.system + self.compression) / (self.system + self.context)


def cache_size(model: "EmbeddingModel", contexts: Sequence[Side]) -> CacheSize:
    """The tokens of contexts that are asked about, one for each question; pictures are not decoded.

    Raises DataError where there is none, or a picture is no JPEG or PNG.
    """
    if not contexts:
        raise DataError("cache size: no contexts are given")
    known = {side: model.reader.roles(conversation_context(side, model.builder.layout)) for side in dict.fromkeys(contexts)}
    first = known[contexts[0]]
    return CacheSize(
        system=int((first == Role.SYSTEM).sum()),
        compression=int((first == Role.COMPRESSION).sum()),
        context=sum(int((known[side] == Role.CONTEXT).sum()) for side in contexts) / len(contexts),
    )
