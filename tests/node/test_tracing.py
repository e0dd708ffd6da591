"""grape.node.tracing and grape.krpc.tracing: how a lookup went."""

from __future__ import annotations

import pytest

from grape import Grape, GrapeError
from grape.dht.lookup import Lookup
from grape.dht.transactions import NOBODY
from grape.krpc.tracing import Tracer
from grape.node.tracing import LookupTrace
from grape.testing import MemoryNetwork

NAME = "rest:util:net"


def ring(network: MemoryNetwork, size: int, **settings: object) -> list[Grape]:
    grapes = []
    for number in range(1, size + 1):
        bootstrap = [f"10.0.0.{number - 1}:20001"] if number > 1 else []
        grape = Grape(reactor=network.reactor(f"10.0.0.{number}"), dht_bootstrap=bootstrap, **settings)  # type: ignore[arg-type]
        grape.startService()
        network.result(grape.when_ready())
        grapes.append(grape)
    network.clock.advance(10)
    return grapes


def check_times(trace: LookupTrace) -> None:
    for step in trace.steps:
        assert 0 <= step.asked_at <= (step.answered_at or trace.seconds) <= trace.seconds
    assert [step.asked_at for step in trace.steps] == sorted(step.asked_at for step in trace.steps)


def test_trace_of_a_service_says_whom_the_lookup_asked_and_who_gave_the_peer(network: MemoryNetwork) -> None:
    grapes = ring(network, 4)
    network.result(grapes[3].announce(NAME, 1337))
    trace = network.result(grapes[0].trace_lookup(NAME))
    assert trace.peers == ["10.0.0.4:1337"]
    assert trace.key == NAME.encode().hex()
    assert trace.complete
    check_times(trace)
    assert {step.address for step in trace.steps} == {f"10.0.0.{number}:20001" for number in (2, 3, 4)}
    for step in trace.steps:
        assert step.state == "answered"
        assert step.id == grapes[int(step.address[7]) - 1].node.node_id.hex()
        assert step.distance is not None
        assert 0 <= step.distance <= 160
        assert step.told_by is None or step.told_by in {other.address for other in trace.steps}
    holders = [step for step in trace.steps if step.peers]
    assert holders
    assert all(step.peers == ["10.0.0.4:1337"] for step in holders)
    assert trace.peers == network.result(grapes[0].lookup(NAME))


def test_trace_names_the_node_that_told_of_one_which_is_no_contact(network: MemoryNetwork) -> None:
    protocol = ring(network, 2)[0].node._socket()
    tracer = Tracer(protocol.queries, {("10.0.0.2", 20001): bytes(20)}, NAME.encode())
    for address, told_by in [(("10.0.0.9", 9), ("10.0.0.2", 20001)), (("10.0.0.9", 9), ("10.0.0.7", 7))]:
        tracer.add_candidate(Lookup(NAME.encode(), bytes(20)), b"\1" * 20, address, told_by)
    for address in [("10.0.0.2", 20001), ("10.0.0.9", 9)]:
        tracer.sent(address, NOBODY)
    assert [(asked.node_id, asked.told_by) for asked in tracer.asked()] == [
        (bytes(20), None),
        (b"\1" * 20, ("10.0.0.2", 20001)),
    ]


def test_trace_shows_a_node_that_is_silent_and_when_it_was_asked_again(network: MemoryNetwork) -> None:
    grapes = ring(network, 3)
    network.result(grapes[2].stopService())
    trace = network.result(grapes[0].trace_lookup(NAME))
    (silent,) = [step for step in trace.steps if step.address == "10.0.0.3:20001"]
    assert silent.state == "silent"
    assert silent.answered_at is None
    assert silent.asked_again_at is not None
    assert silent.asked_again_at > silent.asked_at


def test_trace_has_the_peers_of_the_own_store(network: MemoryNetwork) -> None:
    (alone,) = ring(network, 1, host="10.0.0.1")
    network.result(alone.announce(NAME, 5))
    trace = network.result(alone.trace_lookup(NAME))
    assert trace.steps == []
    assert trace.peers == trace.own_peers == ["10.0.0.1:5"]


def test_trace_of_an_item_has_its_seq(network: MemoryNetwork) -> None:
    grapes = ring(network, 3)
    hash = network.result(grapes[0].put("text"))
    trace = network.result(grapes[1].trace_get(hash))
    assert trace.key == hash
    assert trace.seq == 0
    assert trace.peers == []
    assert 0 in {step.seq for step in trace.steps}
    nothing = network.result(grapes[1].trace_get("00" * 20))
    assert nothing.seq is None
    assert nothing.value is None
    assert {step.seq for step in nothing.steps} == {None}


@pytest.mark.parametrize(("name", "code"), [("", "ERR_GRAPE_LOOKUP")])
def test_trace_fails_as_the_lookup_does(network: MemoryNetwork, name: str, code: str) -> None:
    (grape,) = ring(network, 1)
    with pytest.raises(GrapeError, match=code):
        network.result(grape.trace_lookup(name))
    with pytest.raises(GrapeError, match="ERR_GRAPE_HASH_FORMAT"):
        network.result(grape.trace_get("x"))
    network.result(grape.stopService())
    with pytest.raises(GrapeError, match="ERR_GRAPE_NOT_RUNNING"):
        network.result(grape.trace_lookup(NAME))


def test_trace_changes_nothing_of_what_a_lookup_finds(network: MemoryNetwork) -> None:
    """It is recorded around the lookup: the same nodes are asked, and as many queries sent."""
    grapes = ring(network, 6)
    network.result(grapes[5].announce(NAME, 1))
    before = grapes[0].stats().counters["queries_out"]
    assert network.result(grapes[0].lookup(NAME)) == ["10.0.0.6:1"]
    queries = grapes[0].stats().counters["queries_out"] - before
    trace = network.result(grapes[0].trace_lookup(NAME))
    assert len(trace.steps) == queries
    assert grapes[0].stats().counters["queries_out"] - before == 2 * queries
