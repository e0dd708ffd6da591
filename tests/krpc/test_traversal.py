"""grape.krpc.traversal: lookups and writes over dead, slow, lossy and lying nodes, in virtual time."""

from __future__ import annotations

import itertools
import random
from hashlib import sha1

import pytest

from grape.dht.bencoding import BValue
from grape.dht.compact import encode_nodes, encode_peer
from grape.dht.items import Item
from grape.dht.messages import Query
from grape.dht.rtt import FIRST_SOFT_SECONDS
from grape.testing import MemoryNetwork, make_grapes
from tests.simulation import Bare, Remote, Reply, Traffic, friendly, lone_grape, refusing, silent

KEY = b"rest:util:net"
PEER = ("10.7.7.7", 1337)


def telling(*peers: tuple[str, int], nodes: tuple[Remote, ...] = ()) -> Reply:
    """The reply of a node that knows peers and other nodes."""
    values: list[BValue] = [encode_peer(peer) for peer in peers]
    told: dict[bytes, BValue] = {b"values": values, b"nodes": encode_nodes((n.id, n.address) for n in nodes)}
    return lambda query: {**friendly(query), **told}


@pytest.mark.parametrize("dead", [1, 20, 200])
def test_lookup_over_dead_nodes_alone_ends_within_two_seconds(network: MemoryNetwork, dead: int) -> None:
    bare = Bare(network)
    bare.knows(*(Remote(network, f"10.0.{n}.1", silent) for n in range(dead)))
    found = network.result(bare.protocol.get_peers(KEY))
    assert network.clock.seconds() <= 2.0 + 1e-9
    assert (set(found.peers), found.lookup.answered, found.lookup.closest) == (set(), 0, ())


@pytest.mark.parametrize("dead", [1, 10, 19])
def test_lookup_does_not_wait_for_dead_nodes_once_others_answered(network: MemoryNetwork, dead: int) -> None:
    bare = Bare(network)
    bare.knows(*(Remote(network, f"10.0.{n}.1", silent) for n in range(dead)))
    bare.knows(Remote(network, "10.0.99.1", telling(PEER)))
    found = network.result(bare.protocol.get_peers(KEY))
    assert set(found.peers) == {PEER}
    assert network.clock.seconds() < 0.6


def test_lookup_waits_for_slow_nodes_while_no_other_answers(network: MemoryNetwork) -> None:
    bare = Bare(network)
    bare.knows(Remote(network, "10.0.0.1", telling(PEER), delay=1.5), Remote(network, "10.0.0.2", silent))
    found = network.result(bare.protocol.get_peers(KEY))
    assert set(found.peers) == {PEER}
    assert network.clock.seconds() == pytest.approx(1.502)


def test_lookup_that_found_nothing_waits_for_the_slow_node_that_has_it(network: MemoryNetwork) -> None:
    bare = Bare(network)
    bare.knows(Remote(network, "10.0.0.1", telling(PEER), delay=0.4), Remote(network, "10.0.0.2"))
    assert set(network.result(bare.protocol.get_peers(KEY)).peers) == {PEER}
    assert network.clock.seconds() == pytest.approx(0.402)


def test_lookup_that_found_nothing_waits_for_slow_nodes_until_the_second_query_is_slow(network: MemoryNetwork) -> None:
    bare = Bare(network)
    bare.knows(Remote(network, "10.0.0.1", silent), Remote(network, "10.0.0.2"))
    assert not network.result(bare.protocol.get_peers(KEY)).peers
    assert network.clock.seconds() == pytest.approx(2 * FIRST_SOFT_SECONDS, abs=0.05)


def test_lookup_that_found_nothing_does_not_wait_for_a_node_whose_last_query_failed(network: MemoryNetwork) -> None:
    bare = Bare(network)
    bare.knows(Remote(network, "10.0.0.1", silent), Remote(network, "10.0.0.2"))
    network.result(bare.protocol.get_peers(KEY))
    network.clock.advance(3)
    start = network.clock.seconds()
    assert not network.result(bare.protocol.get_peers(KEY)).peers
    assert network.clock.seconds() - start < 0.3


def test_get_that_found_nothing_waits_for_the_slow_node_that_has_it(network: MemoryNetwork) -> None:
    item = Item(b"5:hello")
    slow = Remote(network, "10.0.0.1", lambda query: {**friendly(query), b"v": b"hello"}, delay=0.4)
    bare = Bare(network)
    bare.knows(slow, Remote(network, "10.0.0.2"))
    assert network.result(bare.protocol.get(item.target)).item == item
    assert network.clock.seconds() == pytest.approx(0.402)


def test_answer_after_the_soft_timeout_is_still_used(network: MemoryNetwork) -> None:
    bare = Bare(network)
    end = Remote(network, "10.0.0.3", delay=0.2)
    slow = Remote(network, "10.0.0.1", telling(PEER), delay=0.3)
    bare.knows(slow, Remote(network, "10.0.0.2", telling(nodes=(end,)), delay=0.2))
    found = network.result(bare.protocol.get_peers(KEY))
    assert bare.protocol.counters.slow >= 1
    assert set(found.peers) == {PEER}
    assert slow.id in {candidate.node_id for candidate in found.lookup.closest}


def test_errors_end_a_lookup_at_once_and_keep_their_senders_listed(network: MemoryNetwork) -> None:
    bare = Bare(network)
    bare.knows(*(Remote(network, f"10.0.0.{n}", refusing) for n in range(1, 6)))
    for _ in range(3):
        found = network.result(bare.protocol.get_peers(KEY))
        assert found.lookup.answered == 0
    assert network.clock.seconds() < 0.1
    assert len(bare.table) == 5


def test_lookup_over_nodes_that_always_name_closer_ones_ends_within_two_seconds(network: MemoryNetwork) -> None:
    bare = Bare(network)
    dice = random.Random(3)

    def lie(query: Query) -> dict[bytes, BValue]:
        closer = [
            (KEY[:10] + dice.randbytes(10), (f"10.{dice.randrange(1, 200)}.1.{n}", dice.randrange(1, 65_536)))
            for n in range(64)
        ]
        return {b"nodes": encode_nodes(closer)}

    bare.knows(Remote(network, "10.0.0.1", lie))
    traffic = Traffic(network)
    found = network.result(bare.protocol.get_peers(KEY))
    assert network.clock.seconds() <= 2.0
    assert found.lookup.answered == 1
    assert len(traffic.queries(b"get_peers")) <= 160


@pytest.mark.parametrize("seed", range(5))
def test_lookups_over_a_lossy_and_slow_network_end_in_time_with_what_they_have(seed: int) -> None:
    network = MemoryNetwork(seed, latency=lambda dice: dice.uniform(0.005, 0.4))
    grapes = make_grapes(network, 20)
    network.loss = 0.3
    assert network.result(grapes[0].announce("lossy", 1337)) > 0
    found = 0
    for grape in grapes:
        start = network.clock.seconds()
        found += network.result(grape.lookup("lossy")) == ["10.0.0.1:1337"]
        assert network.clock.seconds() - start <= 2.0 + 1e-9
    assert found >= 19


@pytest.mark.parametrize(("delay", "accepted"), [(0.3, 1), (0.7, 1), (1.0, 0)])
def test_write_waits_for_a_slow_node_while_none_accepted(network: MemoryNetwork, delay: float, accepted: int) -> None:
    bare = Bare(network)
    node = Remote(network, "10.0.0.1")
    bare.knows(node)
    network.result(bare.protocol.get_peers(KEY))
    node.delay = delay
    start = network.clock.seconds()
    written = network.result(bare.protocol.announce_peer(KEY, 1337))
    assert (written.asked, written.accepted, written.unanswered) == (1, accepted, 1 - accepted)
    assert network.clock.seconds() - start == pytest.approx(delay + 0.002 if accepted else 0.8, abs=0.3)


def test_write_does_not_wait_for_a_slow_node_once_another_accepted(network: MemoryNetwork) -> None:
    bare = Bare(network)
    slow = Remote(network, "10.0.0.1")
    bare.knows(slow, Remote(network, "10.0.0.2"))
    network.result(bare.protocol.get_peers(KEY))
    slow.delay = 1.0
    start = network.clock.seconds()
    written = network.result(bare.protocol.announce_peer(KEY, 1337))
    assert (written.asked, written.accepted, written.unanswered) == (2, 1, 1)
    assert network.clock.seconds() - start < 0.3


def test_lookup_over_a_chain_of_slow_nodes_ends_in_time(network: MemoryNetwork) -> None:
    bare = Bare(network)
    chain = [Remote(network, f"10.0.0.{n}", delay=0.9) for n in range(1, 9)]
    for node, following in itertools.pairwise(chain):
        node.reply = telling(nodes=(following,))
    bare.knows(*(Remote(network, f"10.0.1.{n}", delay=0.9) for n in range(10)))
    for _ in range(3):
        network.result(bare.protocol.find_node(KEY))
    bare.knows(chain[0])
    start = network.clock.seconds()
    assert network.result(bare.protocol.get_peers(KEY)).lookup.answered > 10
    assert network.clock.seconds() - start <= 2.0 + 1e-9


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("delay", [0.2, 0.5, 0.9, 1.3, 1.9])
def test_announce_over_slow_and_dead_nodes_ends_before_the_link_gives_up(
    network: MemoryNetwork, delay: float, kept: bool
) -> None:
    bare = Bare(network)
    nodes = [Remote(network, f"10.0.0.{n}") for n in range(1, 6)]
    bare.knows(*nodes)
    if kept:
        network.result(bare.protocol.get_peers(KEY))
    for index, node in enumerate(nodes):
        node.delay = delay
        if index % 2:
            node.reply = silent
    start = network.clock.seconds()
    network.result(bare.protocol.announce_peer(KEY, 1337))
    assert network.clock.seconds() - start <= 2.2 + 1e-9


def test_lookups_stay_fast_with_one_of_three_grapes_dead_until_it_is_dropped(network: MemoryNetwork) -> None:
    entries = [f"10.0.0.{n}:20001" for n in (1, 2, 3)]
    grapes = [
        lone_grape(network, f"10.0.0.{n}", dht_bootstrap=[e for e in entries if f".{n}:" not in e]) for n in (1, 2, 3)
    ]
    network.clock.advance(3)
    assert [grape.stats().contacts for grape in grapes] == [2, 2, 2]
    network.result(grapes[1].announce("one", 1337))
    network.result(grapes[2].stopService())
    times = []
    for _ in range(10):
        start = network.clock.seconds()
        assert network.result(grapes[0].lookup("one")) == ["10.0.0.2:1337"]
        times.append(network.clock.seconds() - start)
    assert times[0] <= 0.3
    assert max(times[1:]) < 0.05
    network.clock.advance(20)
    assert grapes[0].stats().contacts == 1
    assert network.result(grapes[0].announce("two", 1)) == 1


def test_lookup_corrects_ids_that_lie_about_their_distance(network: MemoryNetwork) -> None:
    bare = Bare(network)
    liar = Remote(network, "10.0.0.1")
    teller = Remote(network, "10.0.0.2")
    teller.reply = lambda query: {**friendly(query), b"nodes": encode_nodes([(KEY.ljust(20), liar.address)])}
    bare.knows(teller)
    found = network.result(bare.protocol.get_peers(KEY))
    assert {candidate.node_id for candidate in found.lookup.closest} == {sha1(b"10.0.0.1").digest(), teller.id}
