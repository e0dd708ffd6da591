"""Replays recorded datagrams that kill or confuse the Node grape, and a libtorrent node's, to ours."""

from __future__ import annotations

import pytest

from grape import Grape
from grape.dht import messages as krpc
from grape.dht.bencoding import BValue
from grape.testing import MemoryNetwork
from tests.simulation import Remote, Traffic, friendly, outcome
from tests.wire_vectors import CLIENT, HOST, A, B, Client, Vector, decode, fresh, load, members, of, start

PING = b"d1:ad2:id5:askere1:q4:ping1:t2:zz1:y1:qe"

# The error code that is answered, None for no answer, 0 for a response. All others: 203.
EXPECTED = {
    "malformed/y-is-dict-with-toString": None,
    # Malformed in JavaScript alone: stored.
    "malformed/put-v-dict-key-__proto__": 0,
    "malformed/id-int": 0,
    "malformed/response-r-is-string": None,
    "malformed/response-t-is-int": None,
    "malformed/deep-lists-20000": None,
    "malformed/bogus-length": None,
}


def is_well(network: MemoryNetwork, client: Client, grape: Grape) -> bool:
    """Returns True if a grape answers the next ping and never had a fault."""
    answers = [decode(answer) for answer in client.exchange(PING, A)]
    return [answer[b"t"] for answer in answers if b"r" in answer] == [b"zz"] and not grape.stats().counters["faults"]


@pytest.mark.parametrize("vector", of("malformed"), ids=str)
def test_malformed_datagrams_are_answered_or_dropped_and_nothing_else_happens(vector: Vector) -> None:
    network = MemoryNetwork(seed=1)
    grape = start(network, A)
    client = Client(network, CLIENT)
    answers = client.exchange(fresh(vector.asked, client.token(A)), A)
    code = EXPECTED.get(vector.name, 203)
    if code is None:
        assert answers == []
    else:
        (answer,) = answers
        message = decode(answer)
        assert message[b"t"] == b"aa"
        assert (message[b"e"][0] if b"e" in message else 0) == code
    assert is_well(network, client, grape)


def test_expectations_all_belong_to_a_recording() -> None:
    assert set(EXPECTED) <= set(load())


@pytest.mark.parametrize("t", [b"i5e", b"le", b"de", b"d1:ali1eee", b"0:", b"1:a", b"20:" + b"t" * 20])
@pytest.mark.parametrize("rest", [b"1:rd2:id20:" + b"i" * 20 + b"e", b"1:eli201e2:noe"])
def test_answers_with_any_transaction_id_are_dropped(t: bytes, rest: bytes) -> None:
    network = MemoryNetwork(seed=1)
    grape = start(network, A)
    client = Client(network, CLIENT)
    assert client.exchange(b"d" + rest + b"1:t" + t + b"1:y1:" + rest[2:3] + b"e", A) == []
    assert grape.stats().counters["unexpected"] == 1
    assert is_well(network, client, grape)


@pytest.mark.parametrize(
    "values",
    [
        {b"id": 5},
        {b"id": []},
        {b"id": {}},
        {b"id": b"short"},
        {b"nodes": 5, b"values": 5, b"token": 5},
        {b"nodes": [b"x"], b"values": [5, [], {}, b"12345"], b"token": {}},
        {b"v": {b"toString": 1}, b"token": b"t"},
        {b"v": {b"__proto__": b"x"}, b"k": 5, b"sig": [], b"seq": b"1", b"token": b"t"},
    ],
)
def test_malformed_answers_to_our_queries_do_no_harm(values: dict[bytes, BValue]) -> None:
    network = MemoryNetwork(seed=1)
    remote = Remote(network, "10.0.0.7")
    grape = start(network, A, dht_bootstrap=["10.0.0.7:20001"])
    network.result(grape.when_ready())
    client = Client(network, CLIENT)
    remote.reply = lambda query: values
    for result in (outcome(grape.lookup("a")), outcome(grape.get("ab" * 20)), outcome(grape.announce("b", 1))):
        network.clock.advance(5)
        assert result
    assert {b"get_peers", b"get"} <= set(remote.methods())
    assert is_well(network, client, grape)


def test_idle_grapes_query_each_other_as_often_as_recorded() -> None:
    network = MemoryNetwork(seed=1)
    grapes = [start(network, A), start(network, B, dht_bootstrap=["127.0.0.1:21301"])]
    for grape in grapes:
        network.result(grape.when_ready())
    network.clock.advance(10)
    traffic = Traffic(network)
    # The Node grapes did so at 317 and 329 s after their start, by ping; in a network as small as this ours
    # ask with find_node, which is as good a sign of life.
    network.clock.advance(330)
    assert traffic.queries(b"ping", b"find_node", source=A, to=B)
    assert traffic.queries(b"ping", b"find_node", source=B, to=A)


def test_ping_is_as_recorded() -> None:
    network = MemoryNetwork(seed=1)
    recorded = decode(load()["ping/liveness-check"].asked)
    start(network, A, recorded[b"a"][b"id"])
    client = Client(network, CLIENT)
    client.exchange(PING.replace(b"5:asker", b"20:" + b"i" * 20), A)
    queries = [members(datagram) for datagram in client.heard if decode(datagram)[b"y"] == b"q"]
    assert queries == [members(load()["ping/liveness-check"].asked)]


def test_libtorrents_queries_are_answered() -> None:
    (vector,) = of("libtorrent")
    network = MemoryNetwork(seed=1)
    grape = start(network, A)
    libtorrent = Client(network, (HOST, 21_701))
    queries = [p.datagram for p in vector.packets if p.source == "libtorrent" and decode(p.datagram)[b"y"] == b"q"]
    assert len(queries) == 5
    for query in queries:
        (answer,) = libtorrent.exchange(query, A)
        message = decode(answer)
        assert message[b"t"] == decode(query)[b"t"]
        assert set(message[b"r"]) == {b"id", b"nodes", b"token"}
    assert is_well(network, libtorrent, grape)


def test_lookup_survives_what_libtorrent_answered() -> None:
    """To keys that are not 20 bytes it answers an error that also has an ``r``: that is a refusal, not a fault."""
    (vector,) = of("libtorrent")
    recorded = [p.datagram for p in vector.packets if p.source == "libtorrent" and decode(p.datagram)[b"y"] != b"q"]
    network = MemoryNetwork(seed=1)
    remote = Remote(network, HOST, port=21_701)
    grape = start(network, A, dht_bootstrap=[f"{HOST}:21701"])
    network.result(grape.when_ready())
    refusals = [message for message in map(krpc.decode, recorded) if isinstance(message, krpc.Error)]
    assert [(refusal.code, refusal.message) for refusal in refusals] == [
        (203, "invalid value for 'info_hash'") for _ in refusals
    ]
    assert refusals
    remote.reply = lambda query: refusals[0] if query.method == b"get_peers" else friendly(query)
    assert network.result(grape.lookup("rest:util:net")) == []
    assert b"get_peers" in remote.methods()
