"""What a rank takes of its machine, by what the ranks on it tell one another."""

from dataclasses import replace

import pytest

from pipeline.train import node
from pipeline.train.node import Node

Seen = list[tuple[str, set[int]]]
ALL = set(range(32))


@pytest.mark.parametrize(
    ("seen", "ranks", "cores", "loaders"),
    [
        ([("here", ALL)], 1, 32, 8),
        ([("here", ALL)] * 8, 8, 32, 3),
        ([("here", set(range(4 * rank, 4 * rank + 4))) for rank in range(8)], 8, 32, 3),  # each bound to four of its own
        ([("here", {3})] * 2, 2, 1, 1),
        ([("here", {3})], 1, 1, 1),
        ([("there", {40, 41})] * 3 + [("here", ALL)] * 4, 4, 32, 7),
        ([("here", set(range(6)))], 1, 6, 5),
    ],
)
def test_cores_are_shared_by_the_ranks_of_a_machine(
    monkeypatch: pytest.MonkeyPatch, seen: Seen, ranks: int, cores: int, loaders: int
) -> None:
    monkeypatch.setattr(node.socket, "gethostname", lambda: "here")
    monkeypatch.setattr(node, "of_all_ranks", lambda own: [(name, set(bound)) for name, bound in seen])
    found = Node.of_this_rank()
    assert (found.name, found.num_ranks, found.cores, found.loaders) == ("here", ranks, cores, loaders)
    assert found.hosts == tuple(name for name, _ in seen)
    assert found.host_bytes > 2**28 and replace(found, cores=10**6).loaders == 8
