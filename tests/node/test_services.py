"""grape.node.services: announces and lookups by name, over a network in memory."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from twisted.internet.defer import CancelledError

from grape import Grape, GrapeError
from grape.dht.compact import encode_peer
from grape.dht.messages import Error, Query
from grape.testing import MemoryNetwork, make_grapes
from tests.simulation import Remote, Traffic, friendly, lone_grape, outcome

FIRST = "10.0.0.1:20001"


def failure(network: MemoryNetwork, deferred: Any) -> tuple[str, int]:
    """The code and status of the GrapeError that a call fails with."""
    with pytest.raises(GrapeError) as raised:
        network.result(deferred)
    return raised.value.code, raised.value.status


@pytest.mark.parametrize("name", ["", None, 5, b"bytes", ["a"]])
def test_lookup_refuses_an_invalid_name(network: MemoryNetwork, name: Any) -> None:
    assert failure(network, lone_grape(network).lookup(name)) == ("ERR_GRAPE_LOOKUP", 200)


@pytest.mark.parametrize("port", [-1, 65_536, 1.5, "1", None, True])
def test_announce_refuses_an_invalid_port(network: MemoryNetwork, port: Any) -> None:
    assert failure(network, lone_grape(network).announce("a", port)) == ("ERR_GRAPE_SERVICE_PORT", 200)


@pytest.mark.parametrize("name", ["", b"", None, 5])
def test_announce_refuses_an_invalid_name(network: MemoryNetwork, name: Any) -> None:
    assert failure(network, lone_grape(network).announce(name, 1)) == ("ERR_GRAPE_ANNOUNCE", 200)


@pytest.mark.parametrize(
    "name", ["a", "x" * 20, "y" * 21, "rest:util:net", "ünï", "a b\0", "🍇", "l" * 1_000, "\ud800"]
)
def test_lookup_finds_names_of_all_kinds(network: MemoryNetwork, name: str) -> None:
    grapes = make_grapes(network, 3)
    assert network.result(grapes[0].announce(name, 1337)) == 2
    for grape in grapes:
        assert network.result(grape.lookup(name)) == ["10.0.0.1:1337"]
        assert network.result(grape.lookup(f"{name}.")) == []


def test_announce_takes_bytes_as_a_name(network: MemoryNetwork) -> None:
    grapes = make_grapes(network, 2)
    assert network.result(grapes[0].announce("ü".encode(), 1)) == 1
    assert network.result(grapes[1].lookup("ü")) == ["10.0.0.1:1"]


def test_announce_of_port_0_is_the_grapes_own_port(network: MemoryNetwork) -> None:
    grapes = make_grapes(network, 2)
    assert network.result(grapes[0].announce("a", 0)) == 1
    assert network.result(grapes[1].lookup("a")) == ["10.0.0.1:20001"]


@pytest.mark.parametrize(
    ("host", "listed"),
    [(None, "127.0.0.1"), ("10.0.0.1", "10.0.0.1"), ("localhost", "127.0.0.1"), ("0.0.0.0", "127.0.0.1")],
)
def test_lone_grape_stores_and_finds_its_own_services(network: MemoryNetwork, host: str | None, listed: str) -> None:
    grape = lone_grape(network, host=host)
    assert network.result(grape.announce("a", 1337)) == 1
    assert network.result(grape.lookup("a")) == [f"{listed}:1337"]
    assert network.result(grape.lookup("b")) == []


def test_announce_made_while_alone_is_made_to_the_first_contact(network: MemoryNetwork) -> None:
    alone = lone_grape(network)
    for name in ("a", "b"):
        network.result(alone.announce(name, 1337))
    second = lone_grape(network, "10.0.0.2", dht_bootstrap=[FIRST])
    network.clock.advance(1)
    network.result(alone.stopService())
    for name in ("a", "b"):
        assert network.result(second.lookup(name)) == ["10.0.0.1:1337"]


def test_announce_made_too_long_ago_while_alone_is_not_made_to_the_first_contact(network: MemoryNetwork) -> None:
    alone = lone_grape(network, dht_peer_maxAge=10_000)
    network.result(alone.announce("a", 1337))
    network.clock.advance(10)
    second = lone_grape(network, "10.0.0.2", dht_bootstrap=[FIRST])
    network.clock.advance(1)
    assert network.result(second.lookup("a")) == []


def test_announce_that_the_first_contact_did_not_take_is_made_to_the_next(network: MemoryNetwork) -> None:
    alone = lone_grape(network)
    network.result(alone.announce("a", 1337))
    useless = Remote(network, "10.0.0.9", lambda query: {})
    useless.ask(("10.0.0.1", 20_001), b"ping")
    network.clock.advance(1)
    assert b"get_peers" in useless.methods()
    second = lone_grape(network, "10.0.0.2", dht_bootstrap=[FIRST])
    network.clock.advance(6)
    network.result(alone.stopService())
    assert network.result(second.lookup("a")) == ["10.0.0.1:1337"]


def test_announce_with_unreachable_bootstrap_nodes_fails(network: MemoryNetwork) -> None:
    grape = lone_grape(network, dht_bootstrap=["10.0.0.9:1"])
    assert failure(network, grape.announce("a", 1)) == ("No nodes to query", 200)
    assert network.result(grape.lookup("a")) == []


def test_isolated_grape_with_a_host_finds_its_own_services(network: MemoryNetwork) -> None:
    grape = lone_grape(network, host="10.0.0.1", dht_bootstrap=["10.0.0.9:1"])
    assert failure(network, grape.announce("a", 1)) == ("No nodes to query", 200)
    assert network.result(grape.lookup("a")) == ["10.0.0.1:1"]


def test_announce_in_a_ring_of_two_whose_other_grape_died_is_kept_and_made_to_it_once_it_is_back(
    network: MemoryNetwork,
) -> None:
    _, left = make_grapes(network, 2, ready_isolated=True)
    network.clock.advance(6)
    network.kill("10.0.0.1")
    # The other is a contact still, then it is none.
    for name, pause in (("a", 0), ("b", 20)):
        network.clock.advance(pause)
        assert network.result(left.announce(name, 1337)) == 1
        assert network.result(left.lookup(name)) == ["10.0.0.2:1337"]
    back = lone_grape(network, dht_bootstrap=["10.0.0.2:20001"], ready_isolated=True)
    network.clock.advance(10)
    network.result(left.stopService())
    assert [network.result(back.lookup(name)) for name in ("a", "b")] == [["10.0.0.2:1337"]] * 2


def test_announce_that_other_nodes_refuse_fails_though_the_grape_may_be_isolated(network: MemoryNetwork) -> None:
    Remote(
        network,
        "10.0.0.9",
        lambda query: friendly(query) if query.method != b"announce_peer" else Error(203, "no", query.transaction_id),
    )
    grape = lone_grape(network, dht_bootstrap=["10.0.0.9:20001"], ready_isolated=True)
    network.result(grape.when_ready())
    assert failure(network, grape.announce("a", 1)) == ("All queries failed", 200)
    assert network.result(grape.lookup("a")) == []


@pytest.mark.parametrize("host", [None, "10.0.0.1"])
def test_announce_that_failed_is_shared_later_exactly_if_lookups_here_list_it(
    network: MemoryNetwork, host: str | None
) -> None:
    grape = lone_grape(network, host=host, dht_bootstrap=["10.0.0.2:20001"])
    assert failure(network, grape.announce("a", 1)) == ("No nodes to query", 200)
    listed = ["10.0.0.1:1"] if host else []
    assert network.result(grape.lookup("a")) == listed
    second = lone_grape(network, "10.0.0.2")
    network.clock.advance(10)
    network.result(grape.stopService())
    assert network.result(second.lookup("a")) == listed


def test_announce_that_no_node_accepted_is_made_to_the_next_node(network: MemoryNetwork) -> None:
    refuses = Remote(network, "10.0.0.9", lambda query: friendly(query) if query.method != b"announce_peer" else None)
    grape = lone_grape(network, host="10.0.0.1", dht_bootstrap=["10.0.0.9:20001"])
    network.result(grape.when_ready())
    assert failure(network, grape.announce("a", 1)) == ("All queries failed", 200)
    second = lone_grape(network, "10.0.0.2", dht_bootstrap=[FIRST])
    network.clock.advance(10)
    network.result(grape.stopService())
    assert b"announce_peer" in refuses.methods()
    assert network.result(second.lookup("a")) == ["10.0.0.1:1"]


def test_announce_that_failed_is_not_shared_once_it_is_too_old(network: MemoryNetwork) -> None:
    grape = lone_grape(network, host="10.0.0.1", dht_bootstrap=["10.0.0.2:20001"], dht_peer_maxAge=10_000)
    assert failure(network, grape.announce("a", 1)) == ("No nodes to query", 200)
    network.clock.advance(10)
    second = lone_grape(network, "10.0.0.2")
    network.clock.advance(10)
    assert network.result(second.lookup("a")) == []


def test_announce_that_no_node_accepts_fails(network: MemoryNetwork) -> None:
    Remote(network, "10.0.0.1", lambda query: friendly(query) if query.method != b"announce_peer" else None)
    grape = lone_grape(network, "10.0.0.2", dht_bootstrap=[FIRST])
    network.result(grape.when_ready())
    assert failure(network, grape.announce("a", 1)) == ("All queries failed", 200)


def test_announce_works_as_soon_as_nodes_appear(network: MemoryNetwork) -> None:
    grape = lone_grape(network, "10.0.0.2", dht_bootstrap=[FIRST])
    assert failure(network, grape.announce("a", 1)) == ("No nodes to query", 200)
    lone_grape(network)
    network.clock.advance(10)
    assert network.result(grape.announce("a", 1)) == 1


def test_restarted_node_accepts_the_next_announce(network: MemoryNetwork) -> None:
    first, second = make_grapes(network, 2)
    assert network.result(second.announce("a", 1)) == 1
    network.result(first.stopService())
    again = Grape(reactor=network.reactor("10.0.0.1"))
    again.startService()
    assert network.result(second.announce("a", 1)) == 1
    assert network.result(again.lookup("a")) == ["10.0.0.2:1"]


def test_repeated_announce_sends_only_announce_peer(network: MemoryNetwork) -> None:
    grapes = make_grapes(network, 5)
    network.clock.advance(30)
    network.result(grapes[0].announce("a", 1))
    for wait, lookups in ((100, 0), (100, 0), (101, 1)):
        network.clock.advance(wait)
        traffic = Traffic(network)
        assert network.result(grapes[0].announce("a", 1)) == 4
        assert len(traffic.queries(b"announce_peer")) == 4
        assert len(traffic.queries(b"get_peers")) == 4 * lookups


def test_equal_lookups_under_way_share_one_traversal(network: MemoryNetwork) -> None:
    grapes = make_grapes(network, 2)
    network.result(grapes[0].announce("a", 1))
    traffic = Traffic(network)
    results = [outcome(grapes[1].lookup("a")) for _ in range(20)]
    outcome(grapes[1].lookup("b"))
    network.clock.advance(0.1)
    assert results == [[["10.0.0.1:1"]]] * 20
    assert len(traffic.queries(b"get_peers")) == 2
    network.result(grapes[1].lookup("a"))
    assert len(traffic.queries(b"get_peers")) == 3


def test_cancelled_lookup_leaves_equal_ones_waiting(network: MemoryNetwork) -> None:
    grapes = make_grapes(network, 2)
    lookups = [grapes[1].lookup("a") for _ in range(3)]
    results = [outcome(lookup) for lookup in lookups]
    lookups[0].cancel()
    network.clock.advance(0.1)
    assert [type(result[0]) for result in results] == [CancelledError, list, list]


def test_lookup_starts_anew_after_all_callers_cancelled(network: MemoryNetwork) -> None:
    grapes = make_grapes(network, 2)
    traffic = Traffic(network)
    for _ in range(3):
        lookup = grapes[1].lookup("a")
        results = outcome(lookup)
        lookup.cancel()
        assert isinstance(results[0], CancelledError)
    assert network.result(grapes[1].lookup("a")) == []
    assert len(traffic.queries(b"get_peers")) == 4
    network.clock.advance(3)
    assert grapes[1].stats().queries_in_flight == 0


def test_lookup_returns_at_most_a_hundred_peers_in_random_order(network: MemoryNetwork) -> None:
    grape = lone_grape(network)
    for port in range(1, 151):
        network.result(grape.announce("a", port))
    answers = [network.result(grape.lookup("a")) for _ in range(20)]
    assert {len(answer) for answer in answers} == {len(set(answers[0]))} == {100}
    assert len({tuple(answer) for answer in answers}) == 20
    assert len(set().union(*answers)) == 150


@pytest.mark.parametrize("number", [2, 3, 8])
def test_lookup_gives_each_of_a_thousand_instances_on_one_host_the_same_chance(
    network: MemoryNetwork, number: int
) -> None:
    grapes = make_grapes(network, number)
    for port in range(1, 1_001):
        assert network.result(grapes[0].announce("a", port)) == number - 1
    for other in grapes[1:3]:
        found: Counter[str] = Counter()
        for _ in range(300):
            answer: list[str] = network.result(other.lookup("a"))
            assert len(set(answer)) == 100
            found.update(answer)
        # 30 are expected of each; the standard deviation is 5.2.
        assert len(found) == 1_000
        assert max(found.values()) < 60
        assert 13_000 < sum(number for peer, number in found.items() if int(peer.partition(":")[2]) > 500) < 17_000
    assert sum(grape.stats().counters["evicted_peers"] for grape in grapes) == 0


def test_instances_above_the_limit_of_an_announcer_are_counted(network: MemoryNetwork) -> None:
    grapes = make_grapes(network, 2, max_peers_per_announcer=10)
    for port in range(1, 16):
        network.result(grapes[0].announce("a", port))
    found = network.result(grapes[1].lookup("a"))
    assert sorted(found) == sorted(f"10.0.0.1:{port}" for port in range(6, 16))
    assert grapes[1].stats().counters["evicted_peers_of_announcer"] == 5


def test_lookup_ignores_peers_of_port_0(network: MemoryNetwork) -> None:
    def reply(query: Query) -> Any:
        return {**friendly(query), b"values": [encode_peer(("10.1.1.1", 0)), encode_peer(("10.1.1.1", 1)), b"bad", 5]}

    Remote(network, "10.0.0.1", reply)
    grape = lone_grape(network, "10.0.0.2", dht_bootstrap=[FIRST])
    network.result(grape.when_ready())
    assert network.result(grape.lookup("a")) == ["10.1.1.1:1"]


def test_peer_is_gone_exactly_at_its_age(network: MemoryNetwork) -> None:
    grapes = make_grapes(network, 2, dht_peer_maxAge=120_000)
    start = network.clock.seconds()
    network.result(grapes[0].announce("a", 1))
    # The announce arrives with the fourth datagram: 3 ms after it was asked for.
    stored_at = start + 0.003
    network.clock.advance(stored_at + 119.997 - network.clock.seconds())
    assert network.result(grapes[1].lookup("a")) == ["10.0.0.1:1"]
    assert network.clock.seconds() < stored_at + 120
    network.clock.advance(stored_at + 120 - network.clock.seconds())
    assert network.result(grapes[1].lookup("a")) == []


def test_peer_announced_again_in_time_stays(network: MemoryNetwork) -> None:
    grapes = make_grapes(network, 2)
    for _ in range(10):
        network.result(grapes[0].announce("a", 1))
        network.clock.advance(180)
        assert network.result(grapes[1].lookup("a")) == ["10.0.0.1:1"]
    network.clock.advance(60)
    assert network.result(grapes[1].lookup("a")) == []


def test_peer_max_age_0_is_unlimited(network: MemoryNetwork) -> None:
    grape = lone_grape(network, dht_peer_maxAge=0)
    network.result(grape.announce("a", 1))
    network.clock.advance(1e6)
    assert network.result(grape.lookup("a")) == ["127.0.0.1:1"]


@pytest.mark.parametrize(("keywords", "age"), [({}, 120), ({"cache_maxAge": 20_000}, 20)])
def test_earlier_result_is_used_only_while_no_node_can_be_reached(
    network: MemoryNetwork, keywords: dict[str, Any], age: float
) -> None:
    grapes = make_grapes(network, 2, **keywords)
    network.result(grapes[1].announce("a", 1))
    network.result(grapes[1].lookup("a"))
    network.loss = 1.0
    for wait in (1, age - 4):
        network.clock.advance(wait)
        assert network.result(grapes[1].lookup("a")) == ["10.0.0.2:1"]
    network.clock.advance(4)
    assert network.result(grapes[1].lookup("a")) == []


def test_earlier_results_are_kept_for_at_most_max_tables_names(network: MemoryNetwork) -> None:
    grapes = make_grapes(network, 2, dht_maxTables=2)
    for name in ("a", "b", "c"):
        network.result(grapes[1].announce(name, 1))
    for name in ("a", "b", "a", "c"):
        assert network.result(grapes[1].lookup(name)) == ["10.0.0.2:1"]
    network.loss = 1.0
    found = {name: network.result(grapes[1].lookup(name)) for name in ("a", "b", "c")}
    assert found == {"a": ["10.0.0.2:1"], "b": [], "c": ["10.0.0.2:1"]}


def test_answers_count_more_than_an_earlier_result(network: MemoryNetwork) -> None:
    grapes = make_grapes(network, 2, dht_peer_maxAge=60_000)
    network.result(grapes[1].announce("a", 1))
    assert network.result(grapes[1].lookup("a")) == ["10.0.0.2:1"]
    network.clock.advance(60)
    assert network.result(grapes[1].lookup("a")) == []
    network.loss = 1.0
    assert network.result(grapes[1].lookup("a")) == []
