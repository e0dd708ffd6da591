"""grape.node and grape.service: calls under way while a grape stops end with a true answer or ERR_GRAPE_NOT_RUNNING."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from treq.testing import StubTreq

from grape import Grape, GrapeError
from grape.dht.messages import Query
from grape.testing import MemoryNetwork, make_grapes
from tests.simulation import Key, Remote, Traffic, friendly, lone_grape, outcome

FIRST = "10.0.0.1:20001"
NOT_RUNNING = ("ERR_GRAPE_NOT_RUNNING", 503)

Call = Callable[[Grape], Any]

CALLS: dict[str, Call] = {
    "lookup": lambda grape: grape.lookup("a"),
    "announce": lambda grape: grape.announce("a", 1),
    "unannounce": lambda grape: grape.unannounce("a", 1),
    "put": lambda grape: grape.put("a"),
    "mutable put": lambda grape: Key().put(grape, "mine", 1),
    "get": lambda grape: grape.get("0" * 40),
}
BODIES: dict[str, object] = {"lookup": "a", "announce": ["a", 1], "unannounce": ["a", 1], "put": "a", "get": "0" * 40}

every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


def joined(network: MemoryNetwork, **keywords: Any) -> Grape:
    """A grape with one contact, which answers nothing from now on."""
    remote = Remote(network, "10.0.0.1")
    grape = lone_grape(network, "10.0.0.2", dht_bootstrap=[FIRST], **keywords)
    network.result(grape.when_ready())
    remote.reply = lambda query: None
    return grape


def error(results: list[Any]) -> tuple[str, int]:
    (result,) = results
    assert isinstance(result, GrapeError), result
    return result.code, result.status


@every_call
@pytest.mark.parametrize("after", [0.0, 0.2, 1.0, 1.3])
def test_call_under_way_fails_when_the_grape_stops(network: MemoryNetwork, call: Call, after: float) -> None:
    grape = joined(network)
    results = outcome(call(grape))
    network.clock.advance(after)
    assert results == []
    network.result(grape.stopService(), seconds=0)
    assert error(results) == NOT_RUNNING
    network.clock.advance(5)
    assert len(results) == 1
    assert not network.clock.getDelayedCalls()


@pytest.mark.parametrize("call", [CALLS[name] for name in ("announce", "put", "mutable put")])
def test_call_whose_writes_are_under_way_fails_when_the_grape_stops(network: MemoryNetwork, call: Call) -> None:
    def reply(query: Query) -> Any:
        return friendly(query) if query.method in (b"find_node", b"get_peers", b"get", b"ping") else None

    remote = Remote(network, "10.0.0.1", reply)
    grape = lone_grape(network, "10.0.0.2", dht_bootstrap=[FIRST])
    network.result(grape.when_ready())
    results = outcome(call(grape))
    while not {b"announce_peer", b"put"} & set(remote.methods()):
        network.clock.advance(0.001)
    assert results == []
    network.result(grape.stopService(), seconds=0)
    assert error(results) == NOT_RUNNING


def test_announce_that_a_node_accepted_before_the_stop_says_so(network: MemoryNetwork) -> None:
    grapes = make_grapes(network, 3)
    silent = Remote(network, "10.0.0.9", lambda query: friendly(query) if query.method != b"announce_peer" else None)
    silent.ask(("10.0.0.1", 20_001), b"ping")
    network.clock.advance(0.1)
    results = outcome(grapes[0].announce("a", 1))
    while not silent.methods().count(b"announce_peer"):
        network.clock.advance(0.001)
    network.clock.advance(0.002)
    assert results == []
    network.result(grapes[0].stopService(), seconds=0)
    assert results == [2]


def test_get_of_a_mutable_item_that_was_cut_short_gives_no_older_version(network: MemoryNetwork) -> None:
    grapes = make_grapes(network, 2)
    hash = network.result(Key().put(grapes[0], "old", 1))
    grape = lone_grape(network, "10.0.0.3", dht_bootstrap=[FIRST])
    silent = Remote(network, "10.0.0.9")
    silent.ask(("10.0.0.3", 20_001), b"ping")
    network.clock.advance(0.5)
    silent.reply = lambda query: None
    results = outcome(grape.get(hash))
    network.clock.advance(0.02)
    assert results == []
    network.result(grape.stopService(), seconds=0)
    assert error(results) == NOT_RUNNING


def test_lookup_in_time_slots_fails_when_the_grape_stops(network: MemoryNetwork) -> None:
    grape = joined(network, timeslot=10_000)
    results = outcome(grape.lookup("a"))
    network.result(grape.stopService(), seconds=0)
    assert error(results) == NOT_RUNNING


def test_lookup_that_found_some_peers_before_the_stop_fails(network: MemoryNetwork) -> None:
    grapes = make_grapes(network, 2)
    network.result(grapes[0].announce("a", 1))
    grape = lone_grape(network, "10.0.0.3", dht_bootstrap=[FIRST])
    silent = Remote(network, "10.0.0.9")
    silent.ask(("10.0.0.3", 20_001), b"ping")
    network.clock.advance(0.5)
    silent.reply = lambda query: None
    results = outcome(grape.lookup("a"))
    network.clock.advance(0.003)
    assert results == []
    network.result(grape.stopService(), seconds=0)
    assert error(results) == NOT_RUNNING


@every_call
def test_caller_that_calls_again_when_it_fails_is_refused(network: MemoryNetwork, call: Call) -> None:
    grape = joined(network)
    again: list[Any] = []
    call(grape).addErrback(lambda failure: again.append(outcome(call(grape))))
    network.result(grape.stopService(), seconds=0)
    network.clock.advance(5)
    assert error(again[0]) == NOT_RUNNING


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("join", ["first join", "joined"])
def test_call_over_a_mounted_resource_gets_503_when_the_grape_stops(
    network: MemoryNetwork, path: str, join: str
) -> None:
    grape = joined(network) if join == "joined" else lone_grape(network, dht_bootstrap=["10.0.0.9:1"])
    client: Any = StubTreq(grape.resource())
    answers: list[Any] = []
    reply = client.post(f"http://localhost/{path}", json.dumps({"data": BODIES[path]}).encode())
    reply.addCallback(
        lambda response: client.content(response).addCallback(lambda b: answers.append((response.code, b)))
    )
    client.flush()
    assert answers == []
    network.result(grape.stopService(), seconds=0)
    for _ in range(3):
        client.flush()
        network.clock.advance(0.1)
    assert answers == [(503, b'"ERR_GRAPE_NOT_RUNNING"')]


def test_stop_twice_at_once_ends_both(network: MemoryNetwork) -> None:
    grape = joined(network)
    traffic = Traffic(network)
    results = outcome(grape.lookup("a"))
    first, second = outcome(grape.stopService()), outcome(grape.stopService())
    network.clock.advance(0.1)
    assert (first, second) == ([None], [None])
    assert error(results) == NOT_RUNNING
    assert len(traffic.queries(b"get_peers")) == 1
