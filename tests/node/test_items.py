"""grape.node.items: immutable and mutable items, over a network in memory."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from twisted.internet.defer import CancelledError, Deferred

from grape import Config, Grape, GrapeError
from grape.node.first_join import FirstJoin
from grape.node.items import Got, Items
from grape.node.republish import OwnItems
from grape.state.journal import NullJournal
from grape.store import MemoryItems
from grape.testing import MemoryNetwork, make_grapes
from tests.simulation import Bare, Key, Remote, Traffic, friendly, lone_grape, outcome

FIRST = "10.0.0.1:20001"
HELLO = "6d33adc2b6b2c14c3036feefb7fedbca1a880527"
BAD_HASHES: list[Any] = ["", "zz", HELLO[:-1], HELLO + "0", "g" * 40, None, 5, b"0" * 40]


def failure(network: MemoryNetwork, deferred: Deferred[Any]) -> tuple[str, int]:
    """The code and status of the GrapeError that a call fails with."""
    with pytest.raises(GrapeError) as raised:
        network.result(deferred)
    return raised.value.code, raised.value.status


def got(network: MemoryNetwork, grape: Grape, hash: str, salt: bytes = b"", *, cache: bool | None = None) -> Got:
    """The result of a get that finds an item."""
    found = network.result(grape.get(hash, salt, cache=cache))
    assert found is not None
    return found


def test_get_finds_an_immutable_item_from_every_grape(network: MemoryNetwork) -> None:
    grapes = make_grapes(network, 3)
    assert network.result(grapes[0].put("hello world")) == HELLO
    for grape in grapes:
        for hash in (HELLO, HELLO.upper()):
            assert got(network, grape, hash).value == b"hello world"
    assert network.result(grapes[1].get("0" * 40)) is None


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (0, 0),
        (True, 1),
        (7.0, 7),
        (b"\xff", b"\xff"),
        (["a", 1, None], [b"a", 1]),
        ({"b": [], "a": None}, {b"b": []}),
        ("x" * 999, b"x" * 999),
    ],
)
def test_put_stores_values_of_all_kinds(network: MemoryNetwork, value: Any, stored: Any) -> None:
    grapes = make_grapes(network, 2)
    assert got(network, grapes[1], network.result(grapes[0].put(value))).value == stored


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ("x" * 1_000, ("v must be less than 1000 bytes in put()", 200)),
        ("ü" * 500, ("v must be less than 1000 bytes in put()", 200)),
        (["x" * 999], ("v must be less than 1000 bytes in put()", 200)),
        (1.5, ("ERR_GRAPE_PUT", 400)),
        (None, ("ERR_GRAPE_PUT", 400)),
        (2**63, ("ERR_GRAPE_PUT", 400)),
        (object(), ("ERR_GRAPE_PUT", 400)),
    ],
)
def test_put_refuses_a_value_that_cannot_be_stored(network: MemoryNetwork, value: Any, error: tuple[str, int]) -> None:
    assert failure(network, lone_grape(network).put(value)) == error


@pytest.mark.parametrize("hash", BAD_HASHES)
def test_get_refuses_an_invalid_hash(network: MemoryNetwork, hash: Any) -> None:
    assert failure(network, lone_grape(network).get(hash)) == ("ERR_GRAPE_HASH_FORMAT", 200)


def test_got_names_the_node_that_gave_the_item(network: MemoryNetwork) -> None:
    first, second, third = make_grapes(network, 3)
    network.result(first.put("hello world"))
    own = got(network, first, HELLO)
    assert (own.local, own.node_id, own.token) == (True, first.node.node_id, None)
    network.result(third.stopService())
    again = lone_grape(network, "10.0.0.4", dht_bootstrap=[FIRST])
    network.result(again.when_ready())
    other = got(network, again, HELLO)
    assert not other.local
    assert other.node_id in (first.node.node_id, second.node.node_id)
    assert other.token is not None


def test_get_of_a_stored_immutable_item_sends_no_query_unless_cache_is_false(network: MemoryNetwork) -> None:
    grapes = make_grapes(network, 2)
    network.result(grapes[0].put("hello world"))
    traffic = Traffic(network)
    for cache in (None, True):
        assert got(network, grapes[0], HELLO, cache=cache).local
    assert not traffic.sent
    for _ in range(3):
        assert not got(network, grapes[0], HELLO, cache=False).local
    assert traffic.queries(b"get")


def test_get_finds_an_item_that_only_this_grape_holds(network: MemoryNetwork) -> None:
    grape = lone_grape(network)
    network.result(grape.put("hello world"))
    for cache in (None, True, False):
        assert got(network, grape, HELLO, cache=cache).local


def test_put_and_get_end_at_once_when_cancelled(network: MemoryNetwork) -> None:
    grapes = make_grapes(network, 2)
    for call in (grapes[0].put("a"), grapes[0].get(HELLO)):
        results = outcome(call)
        call.cancel()
        assert [type(result) for result in results] == [CancelledError]
    network.clock.advance(2.1)
    assert grapes[0].stats().queries_in_flight == 0


def test_item_put_while_alone_is_put_on_the_first_contact(network: MemoryNetwork) -> None:
    alone = lone_grape(network)
    hashes = [network.result(alone.put("hello world")), network.result(Key().put(alone, "mine", 1, salt=b"s"))]
    second = lone_grape(network, "10.0.0.2", dht_bootstrap=[FIRST])
    network.clock.advance(1)
    network.result(alone.stopService())
    assert got(network, second, hashes[0]).value == b"hello world"
    assert got(network, second, hashes[1], b"s").value == b"mine"


def test_item_that_the_first_contact_did_not_take_is_put_on_the_next(network: MemoryNetwork) -> None:
    alone = lone_grape(network)
    network.result(alone.put("hello world"))
    useless = Remote(network, "10.0.0.9", lambda query: {})
    useless.ask(("10.0.0.1", 20_001), b"ping")
    network.clock.advance(1)
    assert b"get" in useless.methods()
    second = lone_grape(network, "10.0.0.2", dht_bootstrap=[FIRST])
    network.clock.advance(1)
    network.result(alone.stopService())
    assert got(network, second, HELLO).value == b"hello world"


def test_put_with_unreachable_bootstrap_nodes_fails_but_is_kept(network: MemoryNetwork) -> None:
    grape = lone_grape(network, dht_bootstrap=["10.0.0.9:1"])
    assert failure(network, grape.put("hello world")) == ("No nodes to query", 200)
    assert got(network, grape, HELLO).local
    assert failure(network, Key().put(grape, "mine", 1)) == ("No nodes to query", 200)


def test_item_put_in_a_ring_of_two_whose_other_grape_died_is_put_there_once_it_is_back(network: MemoryNetwork) -> None:
    _, left = make_grapes(network, 2, ready_isolated=True)
    network.clock.advance(6)
    network.kill("10.0.0.1")
    hashes = [network.result(left.put("hello world"))]
    network.clock.advance(20)
    hashes.append(network.result(Key().put(left, "mine", 1)))
    back = lone_grape(network, dht_bootstrap=["10.0.0.2:20001"], ready_isolated=True)
    network.clock.advance(10)
    network.result(left.stopService())
    assert [got(network, back, hash).value for hash in hashes] == [b"hello world", b"mine"]


def test_item_is_put_again_at_a_node_that_was_away_only_briefly(network: MemoryNetwork) -> None:
    is_away = False
    other = Remote(network, "10.0.0.1", lambda query: None if is_away else friendly(query))
    grape = lone_grape(network, "10.0.0.2", dht_bootstrap=["10.0.0.1:20001"], ready_isolated=True)
    network.clock.advance(6)
    is_away = True
    network.result(grape.put("hello world"))
    is_away = False
    assert grape.stats().contacts == 1
    other.heard.clear()
    network.clock.advance(61)
    assert b"put" in other.methods()


def test_put_that_no_node_accepts_fails(network: MemoryNetwork) -> None:
    Remote(network, "10.0.0.1", lambda query: friendly(query) if query.method != b"put" else None)
    grape = lone_grape(network, "10.0.0.2", dht_bootstrap=[FIRST])
    network.result(grape.when_ready())
    assert failure(network, grape.put("a")) == ("All queries failed", 200)


@pytest.mark.parametrize("number", [1, 3])
@pytest.mark.parametrize("salt", [b"", b"salt", b"s" * 64])
def test_get_finds_the_latest_version_of_a_mutable_item(network: MemoryNetwork, number: int, salt: bytes) -> None:
    grapes = make_grapes(network, number)
    key = Key()
    for seq, value in ((-1, "minus"), (0, "a"), (1, "b"), (7, "c")):
        hash = network.result(key.put(grapes[0], value, seq, salt=salt))
        for grape in grapes:
            item = got(network, grape, hash, salt).item
            assert (item.value, item.seq, item.key, item.salt) == (value.encode(), seq, key.public, salt)


def test_salts_separate_the_items_of_a_key(network: MemoryNetwork) -> None:
    grapes = make_grapes(network, 2)
    key = Key()
    hashes = [network.result(key.put(grapes[0], f"for {salt!r}", 1, salt=salt)) for salt in (b"", b"a", b"b")]
    assert len(set(hashes)) == 3
    reader = lone_grape(network, "10.0.0.3", dht_bootstrap=[FIRST])
    network.result(reader.when_ready())
    assert got(network, reader, hashes[1], b"a").value == b"for b'a'"
    assert network.result(reader.get(hashes[1], b"b")) is None
    assert network.result(reader.get(hashes[1])) is None


@pytest.mark.parametrize("number", [1, 3])
def test_put_refuses_an_older_or_equal_seq(network: MemoryNetwork, number: int) -> None:
    grapes = make_grapes(network, number)
    key = Key()
    hash = network.result(key.put(grapes[0], "new", 5))
    too_low = ("302 sequence number less than current", 302)
    assert failure(network, key.put(grapes[0], "old", 4)) == too_low
    assert failure(network, key.put(grapes[0], "other", 5)) == too_low
    assert network.result(key.put(grapes[0], "new", 5)) == hash
    assert got(network, grapes[-1], hash).value == b"new"


@pytest.mark.parametrize("number", [1, 3])
def test_cas_names_the_version_that_may_be_replaced(network: MemoryNetwork, number: int) -> None:
    grapes = make_grapes(network, number)
    key = Key()
    network.result(key.put(grapes[0], "first", 1, cas=99))
    mismatch = ("301 CAS mismatch, re-read and try again", 301)
    assert failure(network, key.put(grapes[0], "second", 2, cas=0)) == mismatch
    assert failure(network, key.put(grapes[0], "second", 0, cas=0)) == mismatch
    hash = network.result(key.put(grapes[0], "second", 2, cas=1))
    assert got(network, grapes[-1], hash).item.seq == 2


def test_put_that_one_node_accepts_succeeds_though_others_refuse(network: MemoryNetwork) -> None:
    grapes = make_grapes(network, 2)
    key = Key()
    hash = network.result(key.put(grapes[0], "new", 5))
    permissive = Remote(network, "10.0.0.3", friendly)
    permissive.ask(("10.0.0.1", 20_001), b"ping")
    network.clock.advance(1)
    assert network.result(key.put(grapes[0], "old", 4)) == hash
    assert permissive.methods()[-1] == b"put"
    assert got(network, grapes[1], hash, cache=True).value == b"new"


@pytest.mark.parametrize("cache", [None, False])
def test_get_prefers_a_newer_version_in_the_network(network: MemoryNetwork, cache: bool | None) -> None:
    grapes = make_grapes(network, 3)
    key = Key()
    hash = network.result(key.put(grapes[0], "old", 1))
    # The third grape receives nothing, so its copy stays the old one.
    deaf = network.ports.pop(("10.0.0.3", 20_001))
    network.result(key.put(grapes[0], "new", 2))
    network.ports[deaf.address] = deaf
    assert got(network, grapes[2], hash, cache=True).value == b"old"
    assert got(network, grapes[2], hash, cache=cache).value == b"new"
    # The newer version has replaced the stored one.
    assert got(network, grapes[2], hash, cache=True).value == b"new"


def test_get_prefers_the_own_copy_if_it_is_newer(network: MemoryNetwork) -> None:
    grapes = make_grapes(network, 3)
    key = Key()
    hash = network.result(key.put(grapes[0], "old", 1))
    deaf = network.ports.pop(("10.0.0.2", 20_001))
    network.result(key.put(grapes[0], "new", 2))
    network.ports[deaf.address] = deaf
    found = got(network, grapes[2], hash)
    assert (found.value, found.local) == (b"new", True)


def test_put_of_a_wrong_mutable_item_fails_with_the_references_texts_in_its_order(network: MemoryNetwork) -> None:
    grape = lone_grape(network)
    good: dict[str, Any] = {"key": Key().public, "signature": b"s" * 64, "seq": 1, "salt": b""}
    for wrong, text in (
        ({"key": b"short", "signature": None}, "opts.k ed25519 public key must be 32 bytes"),
        (
            {"signature": None, "salt": b"s" * 65},
            "opts.sign function or options.sig signature is required for mutable put",
        ),
        ({"salt": b"s" * 65, "seq": None}, "opts.salt is > 64 bytes long"),
        ({"seq": None}, "opts.seq not provided for a mutable update"),
        ({}, "All queries failed"),
        ({"signature": b"short"}, "All queries failed"),
    ):
        assert failure(network, grape.put("a", **{**good, **wrong})) == (text, 200)
    assert grape.stats().items == 0


def test_put_with_a_wrong_signature_sends_nothing(network: MemoryNetwork) -> None:
    grapes = make_grapes(network, 2)
    traffic = Traffic(network)
    wrong = grapes[0].put("a", key=Key().public, signature=b"s" * 64, seq=1)
    assert failure(network, wrong) == ("All queries failed", 200)
    assert not traffic.sent


def test_get_ignores_a_forged_item(network: MemoryNetwork) -> None:
    honest = lone_grape(network, "10.0.0.9")
    hash = network.result(Key().put(honest, "true", 1))
    item = got(network, honest, hash).item
    forged = attrs.evolve(item, raw=b"6:forged", seq=2)

    def reply(query: Any) -> dict[bytes, Any]:
        answer = {b"v": forged.value, b"k": forged.key, b"sig": forged.signature, b"seq": forged.seq}
        return {**friendly(query), **answer} if query.method == b"get" else friendly(query)

    Remote(network, "10.0.0.1", reply)
    grape = lone_grape(network, "10.0.0.2", dht_bootstrap=[FIRST])
    network.result(grape.when_ready())
    assert network.result(grape.get(hash)) is None


def test_item_store_holds_at_most_max_values(network: MemoryNetwork) -> None:
    grape = lone_grape(network, dht_maxValues=2)
    hashes = [network.result(grape.put(value)) for value in ("a", "b")]
    got(network, grape, hashes[0])
    network.result(grape.put("c"))
    assert network.result(grape.get(hashes[1])) is None
    assert got(network, grape, hashes[0]).value == b"a"


def test_put_that_will_be_refused_replaces_nothing_meanwhile(network: MemoryNetwork) -> None:
    bare, changed = Bare(network), list[bytes]()
    own = OwnItems(network.reactor("10.9.9.9"), lambda: bare.protocol, lambda: 0.5, changed.append)
    items: Any = Items(
        Config(), lambda: bare.table.own_id, lambda: bare.protocol, MemoryItems(), own, NullJournal(),
        FirstJoin(network.reactor("10.9.9.9")),
    )  # fmt: skip
    key = Key()
    hash = network.result(key.put(items, "new", 5))
    changed.clear()
    assert failure(network, key.put(items, "old", 4)) == ("302 sequence number less than current", 302)
    assert changed == []
    kept = own.get(bytes.fromhex(hash))
    assert kept is not None
    assert kept.item.seq == 5


def test_got_value_is_the_python_value_that_was_put(network: MemoryNetwork) -> None:
    grape = lone_grape(network)
    hash = network.result(grape.put({"name": "worker", "ports": [7_001, None], "up": True}))
    assert got(network, grape, hash).value == {b"name": b"worker", b"ports": [7_001], b"up": 1}
