"""grape.testing itself: the in-memory network and its clock."""

from __future__ import annotations

from grape.testing import HeapClock, MemoryNetwork, make_grapes


def test_calls_happen_in_time_order_and_ties_in_order_of_arrival() -> None:
    clock = HeapClock()
    seen: list[str] = []
    clock.callLater(2, seen.append, "late")
    clock.callLater(1, seen.append, "first")
    clock.callLater(1, seen.append, "second")
    clock.callLater(1, seen.append, "never").cancel()
    clock.advance(1.5)
    assert seen == ["first", "second"]
    clock.advance(1)
    assert seen == ["first", "second", "late"]


def test_three_grapes_announce_and_look_up() -> None:
    network = MemoryNetwork(seed=1)
    grapes = make_grapes(network, 3)
    assert network.result(grapes[0].announce("rest:util:net", 1337)) == 2
    for grape in grapes:
        assert network.result(grape.lookup("rest:util:net")) == ["10.0.0.1:1337"]


def test_the_same_seed_gives_the_same_datagrams() -> None:
    def trace(seed: int) -> list[tuple[object, ...]]:
        network = MemoryNetwork(seed, latency=lambda dice: dice.uniform(0.001, 0.1), loss=0.1)
        datagrams: list[tuple[object, ...]] = []
        network.sent = lambda *datagram: datagrams.append(datagram)
        grapes = make_grapes(network, 10)
        network.clock.advance(10)
        network.result(grapes[3].announce("a", 1))
        network.result(grapes[7].lookup("a"))
        return datagrams

    assert trace(7) == trace(7)
    assert trace(7) != trace(8)
