"""The lookup machine when a slow candidate answers after all."""

from __future__ import annotations

from grape.dht.lookup import Lookup

KEY = bytes(20)


def node(distance: int) -> tuple[bytes, tuple[str, int]]:
    return distance.to_bytes(20, "big"), ("127.0.0.1", distance)


def test_closer_nodes_that_a_late_answer_names_are_asked_before_the_end() -> None:
    lookup = Lookup(KEY, own_id=b"\xff" * 20, k=2, alpha=1)
    for distance in (1_000, 1_001, 1_002):
        lookup.add(*node(distance))
    (first,) = lookup.ask()
    lookup.heard(first, first.node_id, None)
    (late,) = lookup.ask()
    lookup.slow(late)
    (pending,) = lookup.ask()
    for distance in (1, 2):
        lookup.add(*node(distance))
    lookup.heard(late, late.node_id, None)
    assert lookup.ask() == []
    assert not lookup.finished
    lookup.failed(pending)
    for distance in (1, 2):
        (closer,) = lookup.ask()
        assert closer.address == node(distance)[1]
        lookup.heard(closer, closer.node_id, None)
    assert lookup.ask() == []
    assert lookup.finished
    assert [candidate.address for candidate in lookup.found().closest] == [node(1)[1], node(2)[1]]
