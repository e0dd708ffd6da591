"""A ring on one LAN with one member that is far away, in virtual time: nobody waits for it without need."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from twisted.internet.defer import Deferred

from grape import Grape
from grape.dht.items import immutable
from grape.encoding import text_to_bytes
from grape.testing import MemoryNetwork, host_name, make_grapes
from tests.simulation import PORT, Key, Traffic

LAN_SECONDS = 0.0005
FAR = host_name(6), PORT
NEAR = [host_name(number) for number in range(1, 6)]
each_distance = pytest.mark.parametrize("far_seconds", [0.08, 0.4, 0.9])

T = TypeVar("T")


def about(seconds: float) -> Any:
    """Equals a time that is at most a round trip on the LAN away."""
    return pytest.approx(seconds, abs=LAN_SECONDS + 0.0001)


class Ring:
    """Five grapes half a millisecond apart, and a sixth that is ``far_seconds`` away, there and back."""

    def __init__(self, far_seconds: float = 0.4) -> None:
        self.network = MemoryNetwork(6, latency=lambda dice: LAN_SECONDS / 2)
        self.network.delays[FAR[0]] = (far_seconds - LAN_SECONDS) / 2
        self.grapes = make_grapes(self.network, 6, dht_port=PORT)
        self.near, self.far = self.grapes[:5], self.grapes[5]
        self.network.clock.advance(30)
        for number in range(3):
            # All query each other: then each knows who is far away.
            for grape in self.grapes:
                self.network.result(grape.lookup(f"nobody {number}"))
        self.network.clock.advance(3)

    def timed(self, call: Callable[..., Deferred[T]], *arguments: object) -> tuple[T, float]:
        """Returns the result of a call, and how many seconds it took."""
        began = self.network.clock.seconds()
        result = self.network.result(call(*arguments))
        return result, self.network.clock.seconds() - began

    def holds(self, grape: Grape, name: str) -> list[tuple[str, int]]:
        """Returns the peers that a grape itself stores for others."""
        return grape.node._peer_store.peers(text_to_bytes(name), self.network.clock.seconds())


@pytest.fixture
def ring() -> Ring:
    return Ring()


@each_distance
def test_lookup_of_a_held_name_does_not_wait_for_a_far_member(far_seconds: float) -> None:
    ring = Ring(far_seconds)
    ring.network.result(ring.near[0].announce("held", 1337))
    ring.network.clock.advance(3)
    traffic = Traffic(ring.network)
    for host, grape in zip(NEAR, ring.near, strict=True):
        peers, seconds = ring.timed(grape.lookup, "held")
        assert peers == ["10.0.0.1:1337"]
        assert seconds == about(LAN_SECONDS)
        ring.network.clock.advance(3)
        # It is asked, too, and once alone.
        assert len(traffic.queries(b"get_peers", source=(host, PORT), to=FAR)) == 1


@each_distance
def test_lookup_of_a_name_that_this_grape_stores_does_not_wait_for_a_far_member(far_seconds: float) -> None:
    ring = Ring(far_seconds)
    grape = ring.near[0]
    grape.node._peer_store.announce(b"own", ("10.7.7.7", 1), ring.network.clock.seconds())
    assert ring.timed(grape.lookup, "own") == (["10.7.7.7:1"], about(LAN_SECONDS))


@each_distance
def test_lookup_finds_peers_that_a_far_member_alone_has(far_seconds: float) -> None:
    ring = Ring(far_seconds)
    for number in range(50):
        ring.far.node._peer_store.announce(
            f"far {number}".encode(), ("10.7.7.7", number + 1), ring.network.clock.seconds()
        )
    for number in range(50):
        peers, seconds = ring.timed(ring.near[number % 5].lookup, f"far {number}")
        assert peers == [f"10.7.7.7:{number + 1}"]
        assert seconds == about(far_seconds)


@each_distance
def test_get_finds_items_that_a_far_member_alone_has(far_seconds: float) -> None:
    ring = Ring(far_seconds)
    for number in range(50):
        item = immutable(b"x" * (number + 1))
        ring.far.node._item_store.put(item)
        got, seconds = ring.timed(ring.near[number % 5].get, item.target.hex())
        assert got is not None
        assert got.item == item
        assert seconds == about(far_seconds)


def test_get_of_an_immutable_item_does_not_wait_for_a_far_member() -> None:
    ring = Ring()
    item = immutable(b"hello")
    ring.near[1].node._item_store.put(item)
    got, seconds = ring.timed(ring.near[0].get, item.target.hex())
    assert got is not None
    assert seconds == about(LAN_SECONDS)


@pytest.mark.parametrize("far_seq", [1, 2])
@pytest.mark.parametrize("is_held", [True, False])
def test_get_of_a_mutable_item_waits_for_a_far_member(far_seq: int, is_held: bool) -> None:
    ring = Ring()
    key = Key()
    for grape in ring.near if is_held else ring.near[1:]:
        grape.node._item_store.put(key.item(b"3:old", 1))
    newest = key.item(b"3:new" if far_seq == 2 else b"3:old", far_seq)
    ring.far.node._item_store.put(newest)
    got, seconds = ring.timed(ring.near[0].get, newest.target.hex())
    assert got is not None
    assert got.item == newest
    assert seconds == about(0.4)


@each_distance
def test_empty_lookup_waits_for_a_far_member_no_longer_than_it_takes(far_seconds: float) -> None:
    ring = Ring(far_seconds)
    assert ring.timed(ring.near[0].lookup, "nobody") == ([], about(far_seconds))


@each_distance
def test_empty_lookup_after_the_death_of_a_far_member_waits_for_twice_its_round_trip(
    far_seconds: float,
) -> None:
    ring = Ring(far_seconds)
    ring.network.kill(FAR[0])
    longest = min(2 * far_seconds, 1.0)
    assert ring.timed(ring.near[0].lookup, "nobody") == ([], about(longest))
    # Since then it is known to have failed, or is being found out.
    ring.network.clock.advance(2)
    assert ring.timed(ring.near[0].lookup, "nobody") == ([], about(LAN_SECONDS))


def test_lookups_of_a_held_name_do_not_notice_the_death_of_a_far_member() -> None:
    ring = Ring()
    ring.network.result(ring.near[0].announce("held", 1337))
    ring.network.kill(FAR[0])
    for _ in range(300):
        assert ring.timed(ring.near[1].lookup, "held") == (["10.0.0.1:1337"], about(LAN_SECONDS))
        ring.network.clock.advance(0.05)


def test_host_that_was_slow_at_first_is_not_waited_for_when_it_is_switched_off_again() -> None:
    """Its first packets wait in the kernel for the answer to ARP: its first round trips are half a second."""
    ring = Ring()
    ring.network.delays.clear()
    for number in range(3):
        ring.network.result(ring.near[0].lookup(f"now near {number}"))
    ring.network.result(ring.near[0].announce("held", 1337))
    ring.network.kill(FAR[0])
    for _ in range(5):
        peers, seconds = ring.timed(ring.near[1].lookup, "held")
        assert peers == ["10.0.0.1:1337"]
        assert seconds < 0.05


# Writes


@each_distance
def test_announce_does_not_wait_for_a_far_member_which_gets_it_all_the_same(far_seconds: float) -> None:
    ring = Ring(far_seconds)
    for number in range(50):
        name = f"name {number}"
        grape = ring.near[number % 5]
        accepted, seconds = ring.timed(grape.announce, name, 1337)
        assert (accepted, seconds) == (4, about(2 * LAN_SECONDS))
        ring.network.clock.advance(2 * far_seconds)
        assert ring.holds(ring.far, name) == [(NEAR[number % 5], 1337)]


def test_announce_after_a_lookup_that_did_not_wait_for_a_far_member_reaches_it(ring: Ring) -> None:
    ring.network.result(ring.near[0].announce("name", 1))
    ring.network.clock.advance(3)
    for wait in (0.0, 0.1, 3.0):
        ring.network.result(ring.near[1].lookup("name"))
        ring.network.clock.advance(wait)
        port = 1337 + round(wait * 10)
        accepted, seconds = ring.timed(ring.near[1].announce, "name", port)
        assert accepted >= 4
        assert seconds <= 0.0011
        ring.network.clock.advance(1)
        assert (NEAR[1], port) in ring.holds(ring.far, "name")


def test_repeated_announce_is_written_to_a_far_member_with_the_token_that_came_late(ring: Ring) -> None:
    traffic = Traffic(ring.network)
    for expected in ([1, 1], [0, 1]):
        traffic.clear()
        _, seconds = ring.timed(ring.near[0].announce, "name", 1337)
        assert seconds < 0.0011
        ring.network.clock.advance(3)
        assert [len(traffic.queries(method, to=FAR)) for method in (b"get_peers", b"announce_peer")] == expected


def test_put_does_not_wait_for_a_far_member_which_gets_it_all_the_same(ring: Ring) -> None:
    for number in range(50):
        hash, seconds = ring.timed(ring.near[0].put, f"value {number}")
        assert seconds == about(2 * LAN_SECONDS)
        ring.network.clock.advance(1)
        assert ring.far.node._item_store.peek(bytes.fromhex(hash)) is not None


def test_announce_reaches_a_member_that_was_busy_when_it_was_made(ring: Ring) -> None:
    ring.network.delays = {NEAR[4]: 0.05, FAR[0]: 0.2}
    accepted, seconds = ring.timed(ring.near[0].announce, "name", 1337)
    assert accepted == 3
    assert seconds < 0.05
    assert not ring.holds(ring.near[4], "name")
    ring.network.clock.advance(0.2)
    assert ring.holds(ring.near[4], "name") == [(NEAR[0], 1337)]


def test_announce_is_not_renewed_because_a_far_member_is_slow(ring: Ring) -> None:
    ring.network.result(ring.near[0].announce("name", 1337))
    ring.near[0].node._services.reannouncer.contacts_changed()
    ring.network.clock.advance(120)
    assert ring.near[0].node.counters.renewed == 0


def test_stop_ends_what_waits_for_a_late_token(ring: Ring) -> None:
    ring.network.result(ring.near[0].announce("name", 1337))
    traffic = Traffic(ring.network)
    ring.network.result(ring.near[0].stopService())
    ring.network.clock.advance(3)
    assert not traffic.queries(source=(NEAR[0], PORT))
    assert not ring.holds(ring.far, "name")


def test_late_token_is_not_written_to_while_too_many_queries_are_in_flight(
    ring: Ring, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring.network.result(ring.near[0].announce("name", 1337))
    protocol = ring.near[0].node._protocol
    assert protocol is not None
    monkeypatch.setattr(protocol.queries, "_busy_from", 0)
    ring.network.clock.advance(3)
    assert not ring.holds(ring.far, "name")


def test_cancelled_announce_writes_to_nobody_when_a_late_token_comes(ring: Ring) -> None:
    protocol = ring.near[0].node._protocol
    assert protocol is not None
    done: list[object] = []
    operation = protocol.announce(b"name", 1337, done.append)
    # The near nodes have answered, and were sent the announce.
    ring.network.clock.advance(1.5 * LAN_SECONDS)
    operation.cancel()
    ring.network.clock.advance(3)
    assert not done
    assert ring.holds(ring.near[1], "name")
    assert not ring.holds(ring.far, "name")


def test_only_the_first_lookup_waits_for_a_host_that_is_switched_off() -> None:
    network = MemoryNetwork(6, latency=lambda dice: LAN_SECONDS / 2)
    asker, off, _ = make_grapes(network, 3, dht_port=PORT)
    network.clock.advance(5)
    address = off.dht_address
    assert address is not None
    network.kill(address[0])
    # Of names that nobody announced: such a lookup waits for a second answer.
    times = []
    for number in range(20):
        began = network.clock.seconds()
        assert network.result(asker.lookup(f"unknown {number}")) == []
        times.append(network.clock.seconds() - began)
    assert times[0] > 0.2
    assert times[1:] == [about(LAN_SECONDS)] * 19
    # It counts again as soon as it answers.
    contact = asker.node._table.at(address)
    assert contact is not None
    assert contact.is_silent
    asker.node._table.heard(contact.id, address, network.clock.seconds(), 0.001)
    assert not contact.is_silent
