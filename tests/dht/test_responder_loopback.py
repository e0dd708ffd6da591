"""grape.dht.responder and grape.dht.routing: loopback addresses are told to queriers at loopback addresses alone."""

from __future__ import annotations

import random

import pytest

from grape.dht import messages as krpc
from grape.dht.addresses import AddressRules, PrivateRules, PublicRules, is_loopback
from grape.dht.bencoding import BValue
from grape.dht.compact import Address, decode_nodes, decode_peers, encode_peer
from grape.dht.messages import Query
from grape.dht.nodeid import position
from grape.dht.responder import Responder
from grape.dht.routing import K, RoutingTable
from grape.dht.tokens import Tokens
from grape.store import MemoryItems, MemoryPeers

KEY = b"k" * 20
HERE, ELSEWHERE = ("127.0.0.1", 4_321), ("10.0.0.1", 4_321)
LOOPBACK_HOST = "127.0.0.1"


class Told:
    """Asks a responder and returns the addresses that it tells."""

    def __init__(self, rules: AddressRules | None = None) -> None:
        self.dice = random.Random(1)
        self.table = RoutingTable(self.dice.randbytes(20), rules=rules)
        self.peers = MemoryPeers(240.0)
        self.own_host: str | None = None
        self.responder = Responder(
            self.table,
            Tokens(self.dice.randbytes, 0.0),
            self.peers,
            MemoryItems(),
            self.dice.sample,
            lambda key, peer: None,
            own_host=lambda: self.own_host,
        )

    def contact(self, host: str, port: int) -> bytes:
        """Lists a contact, and returns its id."""
        node_id = self.dice.randbytes(20)
        self.table.heard(node_id, (host, port), 0.0)
        return node_id

    def nodes(self, asker: Address, method: str, key: bytes = KEY) -> set[Address]:
        nodes = self._values(asker, method, key)[b"nodes"]
        assert isinstance(nodes, bytes)
        return {address for _, address in decode_nodes(nodes)}

    def told_peers(self, asker: Address) -> set[Address]:
        return set(decode_peers(self._values(asker, "get_peers", KEY).get(b"values"), 200, LOOPBACK_HOST))

    def _values(self, asker: Address, method: str, key: bytes) -> dict[bytes, BValue]:
        field = "info_hash" if method == "get_peers" else "target"
        query = Query(method.encode(), {b"id": b"i" * 20, field.encode(): key}, b"aa")
        message = krpc.decode(self.responder.answer(query, asker, 0.0) or b"")
        assert isinstance(message, krpc.Response)
        return message.values


@pytest.mark.parametrize("method", ["find_node", "get_peers", "get"])
def test_nodes_for_another_host_hold_no_loopback_contact(method: str) -> None:
    node = Told()
    node.contact("127.0.0.1", 20_001)
    node.contact("127.0.0.2", 20_001)
    node.contact("10.0.0.7", 20_001)
    # Twice each: the answers are cached.
    for _ in range(2):
        assert node.nodes(ELSEWHERE, method) == {("10.0.0.7", 20_001)}
        assert node.nodes(HERE, method) == {("127.0.0.1", 20_001), ("127.0.0.2", 20_001), ("10.0.0.7", 20_001)}
        assert node.nodes(("127.8.8.8", 1), method) == node.nodes(HERE, method)


def test_nodes_for_another_host_hold_no_loopback_contact_in_the_public_profile() -> None:
    node = Told(PublicRules())
    node.contact("127.0.0.1", 20_001)
    node.contact("8.8.8.8", 20_001)
    assert node.nodes(("9.9.9.9", 1), "find_node") == {("8.8.8.8", 20_001)}


def test_nodes_for_another_host_are_twenty_however_many_loopback_contacts_are_closer() -> None:
    node = Told(PrivateRules())
    elsewhere = {("10.0.0.7", port): node.contact("10.0.0.7", port) for port in range(1, 41)}
    for port in range(1, 41):
        node.contact("127.0.0.1", port)
    listed = [address for address in elsewhere if node.table.at(address) is not None]
    for key in (bytes([n]) * 20 for n in range(0, 256, 5)):
        place = position(key)
        expected = sorted(listed, key=lambda address: position(elsewhere[address]) ^ place)[:K]
        assert node.nodes(ELSEWHERE, "find_node", key) == set(expected)


def test_nodes_for_another_host_follow_the_contacts() -> None:
    node = Told()
    node.contact("127.0.0.1", 20_001)
    node.contact("10.0.0.7", 20_001)
    assert node.nodes(ELSEWHERE, "find_node") == {("10.0.0.7", 20_001)}
    node.contact("10.0.0.8", 20_001)
    assert node.nodes(ELSEWHERE, "find_node") == {("10.0.0.7", 20_001), ("10.0.0.8", 20_001)}
    node.table.failed(("10.0.0.7", 20_001), 1.0, 3.0)
    assert node.nodes(ELSEWHERE, "find_node") == {("10.0.0.8", 20_001)}


def test_table_counts_loopback_contacts() -> None:
    node = Told()
    node.contact("10.0.0.7", 20_001)
    assert node.table.loopback_contacts == 0
    node.contact("127.0.0.1", 20_001)
    node.contact("127.0.0.1", 20_002)
    assert node.table.loopback_contacts == 2
    # A restart under a new id at the same address replaces the contact.
    node.contact("127.0.0.1", 20_002)
    for sent_at in (1.0, 4.0, 7.0):
        node.table.failed(("127.0.0.1", 20_001), sent_at, sent_at + 2.0)
    assert node.table.loopback_contacts == 1


def test_peers_for_another_host_hold_no_loopback_address() -> None:
    node = Told()
    mixed = {("127.0.0.1", 80), ("127.0.0.9", 80), ("10.0.0.7", 80)}
    for peer in mixed:
        node.peers.announce(KEY, peer, 0.0)
    assert node.told_peers(ELSEWHERE) == {("10.0.0.7", 80)}
    assert node.told_peers(HERE) == mixed


def test_answer_to_another_host_has_no_values_if_all_are_loopback() -> None:
    node = Told()
    node.peers.announce(KEY, ("127.0.0.1", 80), 0.0)
    assert b"values" not in node._values(ELSEWHERE, "get_peers", KEY)
    assert node.told_peers(HERE) == {("127.0.0.1", 80)}


def test_peer_whose_bytes_look_like_loopback_is_told() -> None:
    node = Told()
    # The port of one and what follows it are the bytes that begin a loopback entry.
    peers = {("10.0.0.54", 0x3A7F), ("54.58.127.1", 0x363A), ("10.0.0.7", 0x7F00)}
    assert any(b"6:\x7f" in encode_peer(peer) for peer in peers)
    for peer in peers:
        node.peers.announce(KEY, peer, 0.0)
        assert not is_loopback(peer[0])
    assert node.told_peers(ELSEWHERE) == peers


def test_answer_to_another_host_has_the_own_address_in_place_of_loopback_if_it_is_given() -> None:
    node = Told()
    node.own_host = "10.0.0.5"
    for peer in (("127.0.0.1", 80), ("10.0.0.5", 80), ("127.0.0.1", 81), ("10.0.0.7", 80)):
        node.peers.announce(KEY, peer, 0.0)
    values = node._values(ELSEWHERE, "get_peers", KEY)[b"values"]
    assert isinstance(values, list)
    assert len(values) == 3
    assert node.told_peers(ELSEWHERE) == {("10.0.0.5", 80), ("10.0.0.5", 81), ("10.0.0.7", 80)}
    assert ("127.0.0.1", 80) in node.told_peers(HERE)
