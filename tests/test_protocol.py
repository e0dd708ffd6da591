"""grape.protocol and grape.krpc.endpoint: one socket among scripted nodes, in virtual time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred

from grape.dht import messages as krpc
from grape.dht.bencoding import BValue
from grape.dht.errors import QueryFailed, QueryTimeout, RemoteError
from grape.dht.items import immutable
from grape.dht.messages import Error, Query, Response
from grape.dht.nodeid import position
from grape.protocol import DHTProtocol
from grape.testing import MemoryNetwork
from tests.simulation import Bare, Remote, Traffic, friendly, outcome, refusing, silent

KEY = b"rest:util:net"
FAR = 1 << 159
TARGET = b"t" * 20
CALLS: dict[str, Callable[[DHTProtocol], Deferred[Any]]] = {
    "find_node": lambda protocol: protocol.find_node(TARGET),
    "get_peers": lambda protocol: protocol.get_peers(KEY),
    "get": lambda protocol: protocol.get(TARGET),
    "announce_peer": lambda protocol: protocol.announce_peer(KEY, 1337),
    "put": lambda protocol: protocol.put(immutable(b"value")),
    "ping": lambda protocol: protocol.ping(("10.0.0.1", 20_001)),
}
each_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())


def test_ping_to_a_dead_node_fails_after_two_seconds(network: MemoryNetwork) -> None:
    bare = Bare(network)
    with pytest.raises(QueryTimeout, match=r"10\.0\.0\.1:20001"):
        network.result(bare.protocol.ping(("10.0.0.1", 20_001)))
    assert network.clock.seconds() == pytest.approx(2.0)
    assert bare.protocol.counters.timed_out == 1


def test_query_answered_with_an_error_fails_with_its_code_and_message(network: MemoryNetwork) -> None:
    bare = Bare(network)
    Remote(network, "10.0.0.1", refusing)
    with pytest.raises(RemoteError, match="202 out of order"):
        network.result(bare.protocol.ping(("10.0.0.1", 20_001)))


def test_query_on_a_closed_socket_fails_at_once(network: MemoryNetwork) -> None:
    bare = Bare(network)
    bare.port.stopListening()
    with pytest.raises(QueryFailed):
        network.result(bare.protocol.ping(("10.0.0.1", 20_001)), seconds=0)


@pytest.mark.parametrize("wrong", ["port", "host", "transaction id", "no transaction id"])
def test_answer_that_matches_no_query_is_ignored(network: MemoryNetwork, wrong: str) -> None:
    bare = Bare(network)
    node = Remote(network, "10.0.0.1", silent)
    other = Remote(network, "10.0.0.2" if wrong == "host" else "10.0.0.1", silent, port=20_002)
    results = outcome(bare.protocol.ping(node.address))
    network.clock.advance(0.1)
    asked = node.heard[0]
    transaction_id = {"transaction id": b"zz", "no transaction id": None}.get(wrong, asked.transaction_id)
    sender = other if wrong in ("port", "host") else node
    sender.send(krpc.encode_response(transaction_id, {b"id": sender.id}, b""), bare.address)
    network.clock.advance(1)
    assert not results
    assert not len(bare.table)
    assert bare.protocol.counters.unexpected == 1
    assert bare.ears.warnings == [("unexpected answer", sender.address)]
    network.clock.advance(1)
    assert isinstance(results[0], QueryTimeout)


@pytest.mark.parametrize("node_id", [b"short", 20, b"own"])
def test_answer_without_a_usable_id_fails_the_query(network: MemoryNetwork, node_id: BValue) -> None:
    bare = Bare(network)
    node_id = bare.table.own_id if node_id == b"own" else node_id
    node = Remote(network, "10.0.0.1", lambda query: {b"id": node_id})
    with pytest.raises(QueryFailed, match=r"no node id|our own"):
        network.result(bare.protocol.ping(node.address))
    assert not len(bare.table)


def test_node_that_answered_is_listed_and_reported_once(network: MemoryNetwork) -> None:
    bare = Bare(network)
    node = Remote(network, "10.0.0.1")
    for _ in range(2):
        network.result(bare.protocol.ping(node.address))
    assert [contact.address for contact in bare.table] == [node.address]
    assert bare.ears.listed == [node.address]


def test_querier_is_listed_once_it_answered_a_ping(network: MemoryNetwork) -> None:
    bare = Bare(network)
    node = Remote(network, "10.0.0.1")
    node.ask(bare.address, b"ping")
    network.clock.advance(0.1)
    assert node.methods() == [b"ping"]
    assert bare.ears.listed == [node.address]


def test_silent_querier_is_never_listed(network: MemoryNetwork) -> None:
    bare = Bare(network)
    node = Remote(network, "10.0.0.1", silent)
    for _ in range(50):
        node.ask(bare.address, b"get_peers", info_hash=KEY)
        network.clock.advance(0.1)
    assert not len(bare.table)
    assert not bare.ears.listed
    # One ping in two seconds, not one for each query.
    assert node.methods() == [b"ping"] * 3


def test_querier_that_answers_the_ping_with_an_error_is_not_listed(network: MemoryNetwork) -> None:
    bare = Bare(network)
    Remote(network, "10.0.0.1", refusing).ask(bare.address, b"ping")
    network.clock.advance(3)
    assert not len(bare.table)


def test_read_only_querier_is_answered_but_neither_pinged_nor_listed(network: MemoryNetwork) -> None:
    bare = Bare(network)
    node = Remote(network, "10.0.0.1")
    node.ask(bare.address, b"ping", read_only=True)
    network.clock.advance(1)
    assert [type(message) for message in node.heard] == [Response]
    assert not len(bare.table)


def test_read_only_node_sends_ro_and_does_not_answer(network: MemoryNetwork) -> None:
    bare = Bare(network, read_only=True)
    node = Remote(network, "10.0.0.1")
    network.result(bare.protocol.ping(node.address))
    node.ask(bare.address, b"ping")
    network.clock.advance(1)
    (heard,) = node.heard
    assert isinstance(heard, Query)
    assert heard.read_only


def test_contact_is_dropped_at_its_third_timeout(network: MemoryNetwork) -> None:
    bare = Bare(network)
    node = Remote(network, "10.0.0.1", silent)
    bare.knows(node)
    for left in (1, 1, 0):
        outcome(bare.protocol.ping(node.address))
        network.clock.advance(2)
        assert len(bare.table) == left
    assert bare.ears.dropped == [node.address]


def test_error_is_a_sign_of_life(network: MemoryNetwork) -> None:
    bare = Bare(network)
    node = Remote(network, "10.0.0.1", silent)
    bare.knows(node)
    for reply in (silent, refusing, silent, refusing):
        node.reply = reply
        outcome(bare.protocol.ping(node.address))
        network.clock.advance(2)
    (contact,) = bare.table
    assert contact.failures == 0


def test_repeated_announce_sends_only_announce_peer_for_five_minutes(network: MemoryNetwork) -> None:
    bare = Bare(network)
    nodes = [Remote(network, f"10.0.0.{n}") for n in range(1, 6)]
    bare.knows(*nodes)
    traffic = Traffic(network)
    for wait, expected in ((0, [5, 5]), (1, [0, 5]), (298.9, [0, 5]), (0.2, [5, 5])):
        network.clock.advance(wait)
        traffic.clear()
        written = network.result(bare.protocol.announce_peer(KEY, 1337))
        assert (written.asked, written.accepted, written.refusals) == (5, 5, ())
        assert [len(traffic.queries(method)) for method in (b"get_peers", b"announce_peer")] == expected


def test_announce_uses_the_tokens_of_a_lookup(network: MemoryNetwork) -> None:
    bare = Bare(network)
    node = Remote(network, "10.0.0.1")
    bare.knows(node)
    network.result(bare.protocol.get_peers(KEY))
    network.result(bare.protocol.announce_peer(KEY, 1337))
    assert node.methods() == [b"get_peers", b"announce_peer"]


def test_cached_closest_nodes_are_used_for_their_own_key_alone(network: MemoryNetwork) -> None:
    bare = Bare(network)
    node = Remote(network, "10.0.0.1")
    bare.knows(node)
    network.result(bare.protocol.announce_peer(KEY, 1337))
    network.result(bare.protocol.announce_peer(b"other", 1337))
    assert node.methods() == [b"get_peers", b"announce_peer"] * 2


def test_announce_looks_up_again_after_a_new_contact(network: MemoryNetwork) -> None:
    bare = Bare(network)
    bare.knows(Remote(network, "10.0.0.1"))
    assert network.result(bare.protocol.announce_peer(KEY, 1337)).accepted == 1
    bare.knows(Remote(network, "10.0.0.2"))
    assert network.result(bare.protocol.announce_peer(KEY, 1337)).accepted == 2


def announces_twice(network: MemoryNetwork, bare: Bare, between: Callable[[], object]) -> int:
    """Counts the lookups of two announces, with ``between()`` called between them."""
    before = bare.protocol.counters.lookups
    network.result(bare.protocol.announce_peer(KEY, 1337))
    between()
    network.result(bare.protocol.announce_peer(KEY, 1337))
    return bare.protocol.counters.lookups - before


def at_distance(far: int) -> bytes:
    """Returns the id at this distance from KEY."""
    return (position(KEY) ^ far).to_bytes(20, "big")


@pytest.fixture
def around(network: MemoryNetwork) -> Bare:
    """A node whose contacts are the 20 nodes closest to KEY, half of them in the other half of the id space."""
    bare = Bare(network)
    for n in range(20):
        node = Remote(network, f"10.0.0.{n + 1}")
        node.id = at_distance((1 << 100) + n if n % 2 else FAR + n)
        bare.knows(node)
    return bare


@pytest.mark.parametrize(("far", "lookups"), [(FAR + 100, 1), (1 << 90, 2)], ids=["elsewhere", "closer to the key"])
def test_announce_looks_up_again_only_if_the_new_contact_is_closer(
    network: MemoryNetwork, around: Bare, far: int, lookups: int
) -> None:
    newcomer = Remote(network, "10.0.1.1")
    newcomer.id = at_distance(far)
    assert announces_twice(network, around, lambda: around.knows(newcomer)) == lookups


def test_announce_looks_up_again_when_a_holder_has_gone(network: MemoryNetwork, around: Bare) -> None:
    def restart() -> None:
        around.table.heard(b"n" * 20, ("10.0.0.1", 20_001), network.clock.seconds())

    assert announces_twice(network, around, restart) == 2


def test_distant_contact_that_keeps_changing_its_id_causes_no_lookups(network: MemoryNetwork, around: Bare) -> None:
    def change() -> None:
        for n in range(10):
            around.table.heard(at_distance(FAR + 100 + n), ("10.0.1.1", 20_001), network.clock.seconds())
            network.result(around.protocol.announce_peer(KEY, 1337))

    assert announces_twice(network, around, change) == 1


def test_closest_nodes_are_cached_for_at_most_max_tables_keys(network: MemoryNetwork) -> None:
    bare = Bare(network, max_tables=2)
    node = Remote(network, "10.0.0.1")
    bare.knows(node)
    for key in (b"a", b"b", b"c", b"b", b"a"):
        network.result(bare.protocol.announce_peer(key, 1337))
    assert node.methods().count(b"announce_peer") == 5
    assert node.methods().count(b"get_peers") == 4


def test_refused_token_leads_to_a_new_lookup(network: MemoryNetwork) -> None:
    bare = Bare(network)
    valid = b"first"

    def reply(query: Query) -> dict[bytes, BValue] | Error:
        if query.method == b"get_peers":
            return {b"token": valid}
        return {} if query.arguments[b"token"] == valid else Error(203, "bad token", None)

    node = Remote(network, "10.0.0.1", reply)
    bare.knows(node)
    network.result(bare.protocol.announce_peer(KEY, 1337))
    valid = b"second"
    written = network.result(bare.protocol.announce_peer(KEY, 1337))
    assert (written.asked, written.accepted) == (1, 1)
    assert node.methods() == [b"get_peers", b"announce_peer", b"announce_peer", b"get_peers", b"announce_peer"]


def test_node_that_refuses_every_token_is_written_to_no_third_time(network: MemoryNetwork) -> None:
    bare = Bare(network)
    node = Remote(
        network,
        "10.0.0.1",
        lambda query: friendly(query) if query.method == b"get" else Error(203, "bad token", None),
    )
    bare.knows(node)
    for count in (1, 3):
        written = network.result(bare.protocol.put(immutable(b"value")))
        assert [refusal.code for refusal in written.refusals] == [203]
        assert node.methods().count(b"put") == count


def test_announce_of_port_0_sets_implied_port(network: MemoryNetwork) -> None:
    bare = Bare(network)
    node = Remote(network, "10.0.0.1")
    bare.knows(node)
    network.result(bare.protocol.announce_peer(KEY, 0))
    announced = node.heard[-1]
    assert isinstance(announced, Query)
    assert announced.arguments[b"implied_port"] == 1


@each_call
def test_cancelled_call_leaves_nothing_behind(
    network: MemoryNetwork, call: Callable[[DHTProtocol], Deferred[Any]]
) -> None:
    for seconds in (0.0, 0.5):
        bare = Bare(network)
        bare.knows(Remote(network, "10.0.0.1", silent), Remote(network, "10.0.0.2", silent))
        deferred = call(bare.protocol)
        results = outcome(deferred)
        network.clock.advance(seconds)
        deferred.cancel()
        assert [type(result) for result in results] == [CancelledError]
        network.clock.advance(2.1)
        assert bare.protocol.pending == 0
        assert not network.clock.getDelayedCalls()
        assert len(results) == 1
        network.ports.clear()


@pytest.mark.parametrize("method", ["announce_peer", "put"])
def test_call_cancelled_while_it_writes_leaves_nothing_behind(network: MemoryNetwork, method: str) -> None:
    bare = Bare(network)
    node = Remote(
        network, "10.0.0.1", lambda query: friendly(query) if query.method in (b"get", b"get_peers") else None
    )
    bare.knows(node)
    deferred = CALLS[method](bare.protocol)
    results = outcome(deferred)
    network.clock.advance(0.1)
    assert set(node.methods()[1:]) == {method.encode()}
    deferred.cancel()
    network.clock.advance(2.1)
    assert [type(result) for result in results] == [CancelledError]
    assert bare.protocol.pending == 0
    assert not network.clock.getDelayedCalls()


@each_call
@pytest.mark.parametrize("reply", [silent, friendly])
def test_closing_the_socket_ends_each_call_under_way(
    network: MemoryNetwork, call: Callable[[DHTProtocol], Deferred[Any]], reply: Callable[[Query], Any]
) -> None:
    for seconds in (0.0, 0.0015, 0.0025, 0.5):
        bare = Bare(network)
        bare.knows(Remote(network, "10.0.0.1", reply), Remote(network, "10.0.0.2", reply))
        results = outcome(call(bare.protocol))
        network.clock.advance(seconds)
        bare.port.stopListening()
        assert len(results) == 1
        assert bare.protocol.pending == 0
        network.clock.advance(0.1)
        assert not network.clock.getDelayedCalls()
        network.ports.clear()


@pytest.mark.parametrize("name", [name for name in CALLS if name != "ping"])
def test_call_without_contacts_ends_at_once_with_nothing(network: MemoryNetwork, name: str) -> None:
    results = outcome(CALLS[name](Bare(network).protocol))
    (result,) = results
    found = getattr(result, "lookup", result)
    assert found.asked == 0
    assert not network.clock.getDelayedCalls()


def test_queries_that_cannot_be_sent_leave_nothing_behind(network: MemoryNetwork) -> None:
    bare = Bare(network)
    nodes = [Remote(network, f"10.0.0.{n}") for n in range(1, 4)]
    for node in nodes:
        network.result(bare.protocol.ping(node.address))
    bare.port.stopListening()
    for _ in range(100):
        network.result(bare.protocol.get_peers(KEY))
    assert bare.protocol.pending == 0
