"""grape.dht.lookup: single steps, and whole lookups in networks that are simulated by function calls."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grape.dht.candidates import Candidate, Found
from grape.dht.compact import Address
from grape.dht.lookup import ALPHA, MAX_CANDIDATES, MAX_QUERIES, Lookup
from grape.dht.nodeid import ID_BYTES, distance, position
from grape.dht.routing import K, RoutingTable

KEY = bytes(20)
OWN = b"\xff" * 20


def node(far: int) -> tuple[bytes, Address]:
    """Returns the node at this distance from KEY."""
    return far.to_bytes(20, "big"), (f"10.{far >> 16 & 255}.{far >> 8 & 255}.{far & 255}", 20_001)


def lookup_of(fars: Iterable[int], k: int = K, alpha: int = ALPHA) -> Lookup:
    lookup = Lookup(KEY, OWN, k, alpha)
    for far in fars:
        lookup.add(*node(far))
    return lookup


def fars(candidates: Iterable[Candidate]) -> list[int]:
    return [candidate.distance for candidate in candidates]


def answer(lookup: Lookup, candidates: Iterable[Candidate]) -> None:
    for candidate in candidates:
        lookup.heard(candidate, candidate.node_id, b"token")


class IdealNetwork:
    """Simulates nodes that were all told of each other, in random order, and answer at once unless they are dead."""

    def __init__(self, size: int, seed: int) -> None:
        self.dice = random.Random(seed)
        self.ids = {
            (f"10.1.{n >> 8}.{n & 255}", 20_001): self.dice.randbytes(ID_BYTES) for n in range(size)
        }  # fmt: skip
        self.dead: set[Address] = set()
        self.rounds = 0
        self._tables: dict[Address, RoutingTable] = {}

    def table(self, address: Address) -> RoutingTable:
        table = self._tables.get(address)
        if table is None:
            table = self._tables[address] = RoutingTable(self.ids[address])
            for other in self.dice.sample(list(self.ids), len(self.ids)):
                table.heard(self.ids[other], other, 0.0)
        return table

    def look_up(self, key: bytes) -> Found:
        """Runs a lookup from a random live node; all nodes queried together answer together, which is a round."""
        start = self.dice.choice([address for address in self.ids if address not in self.dead])
        lookup = Lookup(key, self.ids[start])
        for contact in self.table(start).closest(position(key)):
            lookup.add(contact.id, contact.address)
        self.rounds = 0
        while True:
            asked = lookup.ask()
            if lookup.finished:
                return lookup.found()
            assert asked, "neither finished nor anything to ask"
            self.rounds += 1
            for candidate in asked:
                if candidate.address in self.dead:
                    lookup.failed(candidate)
                    continue
                lookup.heard(candidate, candidate.node_id, b"token")
                for contact in self.table(candidate.address).closest(position(key)):
                    lookup.add(contact.id, contact.address)

    def closest(self, key: bytes, count: int = K) -> list[Address]:
        """Returns the live nodes that a lookup should find."""
        live = [address for address in self.ids if address not in self.dead]
        return sorted(live, key=lambda address: distance(self.ids[address], key))[:count]


@pytest.mark.parametrize(("size", "rounds"), [(100, 4), (300, 4), (1_000, 5)])
def test_lookup_finds_the_true_closest_in_few_rounds(size: int, rounds: int) -> None:
    network = IdealNetwork(size, seed=size)
    for n in range(10):
        key = network.dice.randbytes(20) if n else b"rest:util:net"
        found = network.look_up(key)
        nodes = [candidate.address for candidate in found.closest]
        true = network.closest(key, K + 1)
        # The node that looks up does not find itself.
        assert nodes in (true[:K], [address for address in true if address in nodes][:K])
        assert len(nodes) == K
        assert found.complete
        assert network.rounds <= rounds
        assert found.asked <= 4 * K


def test_lookup_succeeds_with_a_third_of_the_nodes_dead() -> None:
    network = IdealNetwork(300, seed=3)
    network.dead = set(network.dice.sample(list(network.ids), 100))
    for _ in range(10):
        key = network.dice.randbytes(20)
        found = network.look_up(key)
        nodes = [candidate.address for candidate in found.closest]
        # Dead nodes take places in responses, so no response may name the farthest of the closest.
        true = network.closest(key, K // 2 + 1)
        assert nodes[: K // 2] == [address for address in true if address in nodes][: K // 2]
        assert len(nodes) >= K * 3 // 4
        assert found.failed > 0
        assert found.asked == found.answered + found.failed


def test_lookup_finds_all_of_a_network_smaller_than_k() -> None:
    network = IdealNetwork(7, seed=7)
    found = network.look_up(b"key")
    assert len(found.closest) == found.answered == 6
    assert found.complete


# Single steps


def test_ask_returns_the_nearest_first_and_at_most_alpha() -> None:
    lookup = lookup_of([5, 3, 9, 1, 7], alpha=2)
    asked = lookup.ask()
    assert fars(asked) == [1, 3]
    assert lookup.ask() == []
    answer(lookup, asked[1:])
    assert fars(lookup.ask()) == [5]


def test_ask_stops_at_the_k_closest() -> None:
    lookup = lookup_of(range(1, 50), k=3)
    answer(lookup, lookup.ask())
    assert lookup.ask() == []
    assert lookup.finished
    assert fars(lookup.found().closest) == [1, 2, 3]
    assert [candidate.token for candidate in lookup.found().closest] == [b"token"] * 3


def test_lookup_without_candidates_is_finished() -> None:
    lookup = Lookup(KEY, OWN)
    assert lookup.ask() == []
    assert lookup.finished
    assert lookup.found() == Found(True, (), 0, 0, 0)


def test_add_skips_known_addresses_and_our_own_id() -> None:
    lookup = Lookup(KEY, OWN)
    lookup.add(*node(1))
    lookup.add(node(2)[0], node(1)[1])
    lookup.add(OWN, ("10.0.0.9", 1))
    assert fars(lookup.ask()) == [1]


def test_failed_candidate_is_replaced_by_the_next() -> None:
    lookup = lookup_of([1, 2, 3, 4], k=2)
    first, second = lookup.ask()
    lookup.failed(first)
    third = lookup.ask()
    assert fars(third) == [3]
    answer(lookup, [second, *third])
    assert lookup.ask() == []
    assert lookup.finished
    found = lookup.found()
    assert fars(found.closest) == [2, 3]
    assert (found.complete, found.asked, found.answered, found.failed) == (True, 3, 2, 1)


def test_slow_candidate_is_replaced_and_does_not_delay_the_end() -> None:
    lookup = lookup_of([1, 2, 3, 4], k=2, alpha=2)
    first, second = lookup.ask()
    lookup.slow(first)
    third = lookup.ask()
    assert fars(third) == [3]
    answer(lookup, [second, *third])
    assert lookup.ask() == []
    assert lookup.finished
    assert fars(lookup.found().closest) == [2, 3]


def test_slow_candidate_that_answers_counts() -> None:
    lookup = lookup_of([1, 2, 3], k=2)
    first, second = lookup.ask()
    lookup.slow(first)
    third = lookup.ask()
    lookup.heard(first, first.node_id, None)
    answer(lookup, [second])
    assert lookup.ask() == []
    assert lookup.finished
    answer(lookup, third)
    assert fars(lookup.found().closest) == [1, 2]


def test_lookup_waits_for_slow_candidates_while_none_answered() -> None:
    lookup = lookup_of([1, 2])
    first, second = lookup.ask()
    lookup.slow(first)
    lookup.failed(second)
    assert lookup.ask() == []
    assert not lookup.finished
    lookup.failed(first)
    assert lookup.finished
    assert lookup.found().closest == ()


def test_doubtful_candidates_are_queried_last_and_only_for_lack_of_others() -> None:
    lookup = Lookup(KEY, OWN, k=2)
    lookup.add(*node(1), doubtful=True)
    for far in (5, 6):
        lookup.add(*node(far))
    asked = lookup.ask()
    assert fars(asked) == [5, 6]
    answer(lookup, asked)
    assert lookup.ask() == []
    assert lookup.finished
    lonely = Lookup(KEY, OWN, k=2)
    lonely.add(*node(1), doubtful=True)
    lonely.add(*node(5))
    asked = lonely.ask()
    assert fars(asked) == [5]
    assert lonely.ask() == []
    answer(lonely, asked)
    assert fars(lonely.ask()) == [1]
    assert lonely.finished


def test_lookup_waits_for_doubtful_candidates_if_there_are_no_others() -> None:
    lookup = Lookup(KEY, OWN, k=2)
    lookup.add(*node(1), doubtful=True)
    (only,) = lookup.ask()
    assert not lookup.finished
    answer(lookup, [only])
    assert lookup.finished
    assert fars(lookup.found().closest) == [1]


def test_heard_moves_a_candidate_to_the_id_that_it_answered_with() -> None:
    lookup = lookup_of([1, 5, 6], k=2)
    first, second = lookup.ask()
    lookup.heard(first, node(9)[0], None)
    answer(lookup, [second])
    third = lookup.ask()
    assert fars(third) == [6]
    answer(lookup, third)
    assert fars(lookup.found().closest) == [5, 6]


def test_stopped_lookup_queries_no_more_and_is_not_complete() -> None:
    lookup = lookup_of(range(1, 10), alpha=2)
    answer(lookup, lookup.ask())
    lookup.stop()
    assert lookup.ask() == []
    assert lookup.finished
    assert not lookup.found().complete
    assert fars(lookup.found().closest) == [1, 2]


def test_lookup_queries_closer_nodes_that_a_late_response_names() -> None:
    lookup = lookup_of([1_000, 1_001, 1_002], k=2, alpha=1)
    (first,) = lookup.ask()
    lookup.heard(first, first.node_id, None)
    (late,) = lookup.ask()
    lookup.slow(late)
    (pending,) = lookup.ask()
    for far in (1, 2):
        lookup.add(*node(far))
    lookup.heard(late, late.node_id, None)
    assert lookup.ask() == []
    assert not lookup.finished
    lookup.failed(pending)
    for far in (1, 2):
        (closer,) = lookup.ask()
        assert closer.address == node(far)[1]
        lookup.heard(closer, closer.node_id, None)
    assert lookup.ask() == []
    assert lookup.finished
    assert fars(lookup.found().closest) == [1, 2]


# Attacks


@pytest.mark.parametrize("invented", [1, 8, 64])
@pytest.mark.parametrize("lives", [True, False], ids=["all answer", "half of them answer"])
def test_lookup_limits_queries_to_liars_that_invent_ever_closer_nodes(invented: int, lives: bool) -> None:
    dice = random.Random(invented)
    lookup = Lookup(KEY, OWN)
    lookup.add(*node(2**150))
    nearest, rounds = 2**150, 0
    while asked := lookup.ask():
        rounds += 1
        for candidate in asked:
            if not lives and rounds > 1 and dice.random() < 0.5:
                lookup.failed(candidate)
                continue
            answer(lookup, [candidate])
            for _ in range(invented):
                nearest -= dice.randrange(1, 2**100)
                address = (f"10.{dice.randrange(256)}.{dice.randrange(256)}.{dice.randrange(256)}", 1)
                lookup.add(nearest.to_bytes(20, "big"), address)
    assert lookup.finished
    found = lookup.found()
    assert found.asked == found.answered + found.failed <= MAX_QUERIES


def test_full_lookup_drops_the_farthest_candidate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grape.dht.lookup.MAX_CANDIDATES", 10)
    lookup = lookup_of(range(100, 110), alpha=100)
    lookup.add(*node(200))
    lookup.add(*node(1))
    lookup.add(*node(105_000))
    assert fars(lookup.ask()) == [1, *range(100, 109)]


def test_full_lookup_adds_a_closer_candidate_after_a_flood() -> None:
    far = 2**159
    lookup = lookup_of([far])
    answer(lookup, lookup.ask())
    # 256 invented nodes, nearer than the first node and farther than the real ones near the key.
    for n in range(MAX_CANDIDATES):
        lookup.add((2**158 + n).to_bytes(20, "big"), (f"10.66.{n >> 8}.{n & 255}", 1))
    lookup.add(*node(1))
    assert fars(lookup.ask())[0] == 1


@given(st.data())
def test_lookup_ends_whatever_happens(data: st.DataObject) -> None:
    k, alpha = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 4))
    lookup = Lookup(KEY, OWN, k, alpha, one_per_network=data.draw(st.booleans()))
    places = st.integers(1, 400)
    for far in data.draw(st.lists(places, max_size=8)):
        lookup.add(*node(far), doubtful=data.draw(st.booleans()))
    in_flight: list[Candidate] = []
    slow: list[Candidate] = []
    for _ in range(2_000):
        in_flight += lookup.ask()
        waiting = in_flight + slow
        if lookup.finished or not waiting:
            break
        candidate = waiting[data.draw(st.integers(0, len(waiting) - 1))]
        kind = data.draw(st.sampled_from(["heard", "moved", "failed"] + ["slow"] * (candidate in in_flight)))
        (in_flight if candidate in in_flight else slow).remove(candidate)
        if kind == "slow":
            slow.append(candidate)
            lookup.slow(candidate)
        elif kind == "failed":
            lookup.failed(candidate)
        else:
            for far in data.draw(st.lists(places, max_size=3)):
                lookup.add(*node(far))
            lookup.heard(candidate, candidate.node_id if kind == "heard" else node(data.draw(places))[0], None)
    assert lookup.finished
    found = lookup.found()
    assert fars(found.closest) == sorted(fars(found.closest))
    assert found.asked <= MAX_QUERIES


def test_dropped_candidate_can_be_added_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grape.dht.lookup.MAX_CANDIDATES", 10)
    lookup = lookup_of(range(100, 110), alpha=100)
    lookup.add(*node(1))
    # 109 was dropped. If it could not be added again, invented nodes could hide any node not yet queried.
    monkeypatch.setattr("grape.dht.lookup.MAX_CANDIDATES", 11)
    lookup.add(*node(109))
    assert fars(lookup.ask()) == [1, *range(100, 110)]


def test_add_takes_the_nearer_of_two_ids_for_an_address() -> None:
    lookup = lookup_of(range(10, 40))
    lookup.add(node(99)[0], node(1)[1])
    lookup.add(*node(1))
    lookup.add(node(99)[0], node(1)[1])
    assert fars(lookup.ask())[0] == 1
