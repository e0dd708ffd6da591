"""Tests faults of grenache-grape 1.0.0 that no row of the gauntlet covers; these tests fail with that grape."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event

from bencode2 import bencode

from tests.live.conftest import StartGrape
from tests.live.krpc import Peer
from tests.live.processes import HOST, GrapeProcess

NAME = b"rest:util:net"
NODE_BYTES = 26
# They do not fit into the 8,192 bytes that Twisted reads of a datagram by default.
MANY_PEERS = 1_500


def announced(peer: Peer, port: int) -> None:
    """Announces the peer's own port."""
    token = peer.query(port, b"get_peers", info_hash=NAME)[b"r"][b"token"]
    answer = peer.query(port, b"announce_peer", info_hash=NAME, implied_port=1, token=token)
    assert answer[b"y"] == b"r"


def looked_up(grape: GrapeProcess, node: Peer, members: dict[bytes, object]) -> list[str]:
    """Returns what a lookup finds when ``node``, the only other one, answers with these values."""
    is_asked = Event()

    def ask() -> list[str]:
        # Until the node is listed, a lookup sends no query and is answered at once.
        while True:
            found: list[str] = grape.call("lookup", NAME.decode())
            if is_asked.is_set():
                return found

    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(ask)
        query = node.serve(silent=b"get_peers")
        is_asked.set()
        values = {b"id": node.node_id, **members}
        node.send(grape.api.dht_port, bencode({b"t": query[b"t"], b"y": b"r", b"r": values}))
        return found.result()


def test_get_peers_returns_values_and_nodes_together(grape_process: StartGrape) -> None:
    with Peer() as node, Peer(b"\x22" * 20) as other:
        grape = grape_process("--bn", node.node)
        assert looked_up(grape, node, {}) == []
        announced(other, grape.api.dht_port)
        answer = other.query(grape.api.dht_port, b"get_peers", info_hash=NAME)[b"r"]
    assert len(answer[b"nodes"]) == NODE_BYTES
    assert len(answer[b"values"]) == 1


def test_announces_of_two_ports_of_one_host_are_two_peers(grape_process: StartGrape) -> None:
    grape = grape_process()
    with Peer() as first, Peer(b"\x22" * 20) as second:
        for peer in (first, second):
            announced(peer, grape.api.dht_port)
        values = second.query(grape.api.dht_port, b"get_peers", info_hash=NAME)[b"r"][b"values"]
        there = sorted([first.node, second.node])
    assert sorted(f"{HOST}:{int.from_bytes(value[4:], 'big')}" for value in values) == there
    assert sorted(grape.call("lookup", NAME.decode())) == there


def test_long_datagram_is_read_whole(grape_process: StartGrape) -> None:
    values = [bytes((10, 0, n >> 8, n & 255, 0, 80)) for n in range(MANY_PEERS)]
    with Peer() as node:
        grape = grape_process("--bn", node.node)
        assert len(looked_up(grape, node, {b"token": b"t", b"values": values})) == 100
