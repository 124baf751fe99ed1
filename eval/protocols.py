"""Rules of a retrieval evaluation by name: which candidates are one, and which stand in a query's pool."""

from dataclasses import dataclass
from typing import Literal

from pipeline.data.mmeb_eval import Identity
from pipeline.data.mmeb_registry import TEXT_TO_PICTURE


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """`by_picture` are the sets whose candidates are known by their picture alone (VLM2Vec's second version: where texts look for
    pictures); elsewhere text and picture count.

    `pools`: each query ranks the candidates of its own row, or those of the whole set, of which all but its own are wrong.
    """

    name: str
    by_picture: frozenset[str] = frozenset()
    pools: Literal["row", "set"] = "row"

    def identity(self, dataset: str) -> Identity:
        """What makes two candidates of a set one."""
        return "picture" if dataset in self.by_picture else "text_and_picture"


MMEB_V1 = Protocol(name="mmeb_v1")

PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        MMEB_V1,
        Protocol(name="mmeb_v2", by_picture=TEXT_TO_PICTURE),
        Protocol(name="mmeb_v1_global", pools="set"),
        Protocol(name="mmeb_v2_global", by_picture=TEXT_TO_PICTURE, pools="set"),
    )
}
