"""Tests libtorrent's DHT with our grapes: each stores and finds what the other finds and stores."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha1, sha512
from typing import Any

import pytest
from bencode2 import bencode
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks.libtorrentnode import ON_LOOPBACK
from tests.live.conftest import StartRing, unavailable
from tests.live.items import Signer, got, new_name
from tests.live.processes import HOST, Api, until

lt: Any
try:
    import libtorrent as lt
except ImportError:
    lt = None

ANSWER_SECONDS = 20.0


class Session:
    """Runs a libtorrent node that knows these nodes, and waits for its alerts."""

    def __init__(self, nodes: list[tuple[str, int]]) -> None:
        alerts = int(lt.alert_category.dht | lt.alert_category.dht_operation)
        self.session = lt.session({**ON_LOOPBACK, "listen_interfaces": f"{HOST}:0", "alert_mask": alerts})
        for node in nodes:
            self.session.add_dht_node(node)
        until("libtorrent knows the grapes", lambda: self._contacts() >= len(nodes))

    def _contacts(self) -> int:
        self.session.post_dht_stats()
        stats = self.alert("dht_stats_alert")
        return sum(bucket["num_nodes"] for bucket in stats.routing_table)

    def alert(self, kind: str, **having: object) -> Any:
        """Waits for the next alert of a kind with these attributes, and returns it."""

        def seen() -> Any:
            for alert in self.session.pop_alerts():
                matches = all(getattr(alert, name) == value for name, value in having.items())
                if type(alert).__name__ == kind and matches:
                    return [alert]
            return []

        return until(kind, seen, ANSWER_SECONDS)[0]


@pytest.fixture
def grapes(grape_ring: StartRing) -> list[Api]:
    """Starts three of our grapes."""
    if lt is None:
        unavailable("libtorrent is missing: pip install libtorrent")
    return [grape.api for grape in grape_ring(3)]


@pytest.fixture
def libtorrent(grapes: list[Api]) -> Iterator[Session]:
    """Starts a libtorrent node that knows the grapes."""
    session = Session([(HOST, grape.dht_port) for grape in grapes])
    yield session
    session.session.apply_settings({"enable_dht": False})


def key_pair() -> tuple[bytes, bytes]:
    """Returns a private key in the expanded form that libtorrent takes, and the public key."""
    private = Ed25519PrivateKey.generate()
    expanded = bytearray(sha512(private.private_bytes_raw()).digest())
    expanded[0] &= 248
    expanded[31] = expanded[31] & 63 | 64
    return bytes(expanded), private.public_key().public_bytes_raw()


def test_immutable_item_of_libtorrent_is_got_by_every_grape(grapes: list[Api], libtorrent: Session) -> None:
    value = new_name()
    target = libtorrent.session.dht_put_immutable_item(value.encode())
    assert str(target) == sha1(bencode(value)).hexdigest()
    assert libtorrent.alert("dht_put_alert").num_success >= len(grapes)
    assert [got(grape, str(target)) for grape in grapes] == [value] * len(grapes)


def test_libtorrent_gets_an_immutable_item_of_a_grape(grapes: list[Api], libtorrent: Session) -> None:
    for grape in grapes:
        value = new_name()
        target = lt.sha1_hash(bytes.fromhex(grape.call("put", {"v": value})))
        libtorrent.session.dht_get_immutable_item(target)
        assert libtorrent.alert("dht_immutable_item_alert", target=target).item == value.encode()


@pytest.mark.parametrize("salt", ["", "salt ✓"])
def test_mutable_item_of_libtorrent_is_got_by_every_grape(grapes: list[Api], libtorrent: Session, salt: str) -> None:
    private, public = key_pair()
    hash = sha1(public + salt.encode()).hexdigest()
    for seq in (1, 2):
        value = new_name()
        libtorrent.session.dht_put_mutable_item(private, public, value.encode(), salt.encode())
        assert libtorrent.alert("dht_put_alert", seq=seq).num_success >= len(grapes)
        for grape in grapes:
            answer = grape.call("get", {"hash": hash, "salt": salt})
            assert (answer["v"], answer["seq"], answer["k"]) == (value, seq, public.hex())


@pytest.mark.parametrize("salt", ["", "salt ✓"])
def test_libtorrent_gets_a_mutable_item_of_a_grape(grapes: list[Api], libtorrent: Session, salt: str) -> None:
    signer = Signer(salt)
    for seq, grape in enumerate(grapes, 1):
        value = new_name()
        assert grape.call("put", signer.item(value, seq)) == signer.target
        libtorrent.session.dht_get_mutable_item(signer.key, salt.encode())
        alert = libtorrent.alert("dht_mutable_item_alert", authoritative=True)
        assert (alert.item, alert.seq, alert.salt) == (value.encode(), seq, salt.encode())


def test_grape_finds_what_libtorrent_announces(grapes: list[Api], libtorrent: Session) -> None:
    name = "a key of twenty byte"
    libtorrent.session.dht_announce(lt.sha1_hash(name.encode()), 4242, 0)
    found = until("the announced peer", lambda: grapes[0].call("lookup", name))
    assert found == [f"{HOST}:4242"]
    until("the announce's end", lambda: all(grape.call("lookup", name) == found for grape in grapes))


def test_libtorrent_finds_what_a_grape_announces(grapes: list[Api], libtorrent: Session) -> None:
    name = "20 bytes for a grape"
    assert grapes[0].call("announce", [name, 1337]) >= 1
    key = lt.sha1_hash(name.encode())
    libtorrent.session.dht_get_peers(key)
    assert libtorrent.alert("dht_get_peers_reply_alert", info_hash=key).peers() == [(HOST, 1337)]
