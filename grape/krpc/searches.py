"""Looks for peers, items and write tokens: says what is taken from the answers to a lookup, and when it may end."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import attrs

from grape.dht import items as bep44
from grape.dht.candidates import Candidate, Found
from grape.dht.closest import ClosestSets
from grape.dht.compact import Address, decode_nodes, decode_peers
from grape.dht.counts import Kind
from grape.dht.items import Item
from grape.dht.lookup import Lookup
from grape.dht.responder import Responder
from grape.krpc.traversal import MAX_NODES_BYTES, Arguments, Network, Traversal

# More than a lookup returns; the Node grape sends all peers that it has.
MAX_VALUES_PER_RESPONSE = 256

Known = frozenset[tuple[bytes, Address]]
# Called with the peers of one answer, and the address of the node that gave it.
OnPeers = Callable[[list[Address], Address], object]


@attrs.define(slots=True)
class PeersFound:
    """The result of ``get_peers``: the peers that other nodes gave, each with how many did, and the lookup's counts."""

    peers: dict[Address, int]
    lookup: Found


@attrs.define(slots=True)
class ItemFound:
    """The result of ``get``: the item of highest seq that other nodes gave (None: none did), and the lookup's counts.

    ``node_id`` is the id of the node that gave it, ``token`` the write token that came with it.
    """

    item: Item | None
    node_id: bytes
    token: bytes | None
    lookup: Found


class OwnIdSearch(Traversal):
    """Looks for the nodes closest to our own id; ``found_at(address, told_by)`` is called where a node lists that id.

    As a rule that is our own address, or was; another node that uses our id, a clone, is listed under it, too.
    """

    def __init__(
        self,
        lookup: Lookup,
        network: Network,
        seconds: float,
        done: Callable[[Found], object],
        known: Known,
        found_at: Callable[[Address, Address], object],
    ) -> None:
        super().__init__(lookup, network, b"find_node", b"target", seconds, done, known)
        self._found_at = found_at

    def _received(self, candidate: Candidate, values: Arguments) -> bool:
        nodes, own_id = values.get(b"nodes"), self._lookup.own_id
        if isinstance(nodes, bytes) and own_id in nodes:
            for node_id, address in decode_nodes(nodes[:MAX_NODES_BYTES]):
                if node_id == own_id:
                    self._found_at(address, candidate.address)
                    break
        return False


class PeerSearch(Traversal):
    """Looks for the peers of a key; calls ``done(peers, found)`` with each peer and how many nodes gave it.

    Late nodes are waited for while no node has given a peer and this one, whose answers ``responder`` gives, has none.
    """

    def __init__(
        self,
        lookup: Lookup,
        network: Network,
        seconds: float,
        done: Callable[[dict[Address, int], Found], object],
        known: Known,
        on_peers: OnPeers | None,
        responder: Responder,
        closest: ClosestSets,
    ) -> None:
        # Not by super(), which costs 0.1 us: thousands begin in a second.
        Traversal.__init__(self, lookup, network, b"get_peers", b"info_hash", seconds, done, known)
        self._peers: dict[Address, int] = {}
        self._on_peers = on_peers
        self._responder = responder
        self._closest = closest

    def _received(self, candidate: Candidate, values: Arguments) -> bool:
        peers = decode_peers(values.get(b"values"), MAX_VALUES_PER_RESPONSE, candidate.address[0])
        if peers:
            found = self._peers
            for peer in peers:
                found[peer] = found.get(peer, 0) + 1
            if self._on_peers is not None:
                self._on_peers(peers, candidate.address)
        return False

    def _waits(self) -> bool:
        if self._peers or not self._lookup.waits(is_empty=True):
            return False
        return not self._responder.has_peers(self._lookup.key, self._network.seconds())

    def _end(self, found: Found) -> None:
        done = self._stop()
        if done is not None:
            self._found = found
            network = self._network
            now = network.seconds()
            network.lookup_times["peers"].add(now - self._began_at)
            self._closest.put(self._lookup.key, found, now)
            done(self._peers, found)


class ItemSearch(Traversal):
    """Looks for an item: ends at a valid immutable one, and calls ``done(answers, found)`` with what nodes gave.

    ``own`` is the copy that the caller holds: without one, late nodes are waited for while no node has given an item.
    Those that are slow by their own record are always waited for, as they may have a newer item.
    """

    def __init__(
        self,
        lookup: Lookup,
        network: Network,
        seconds: float,
        done: Callable[[list[tuple[Item, Candidate]], Found], object],
        known: Known,
        salt: bytes,
        own: Item | None,
    ) -> None:
        super().__init__(lookup, network, b"get", b"target", seconds, done, known)
        self._salt = salt
        self._own = own
        self._answers: list[tuple[Item, Candidate]] = []

    def _received(self, candidate: Candidate, values: Arguments) -> bool:
        item = bep44.from_response(self._lookup.key, values, self._salt)
        if item is None:
            return False
        self._answers.append((item, candidate))
        return item.key is None

    def _waits(self) -> bool:
        return self._lookup.waits(is_empty=self._own is None and not self._answers)

    def _end(self, found: Found) -> None:
        done = self._stop()
        if done is not None:
            self._found = found
            network = self._network
            network.lookup_times["item"].add(network.seconds() - self._began_at)
            done(self._answers, found)


class TokenSearch(Traversal):
    """Looks for the closest nodes and their tokens, for a write; ``came_late(candidate)`` is called for later ones.

    Nodes that are late are not waited for once another has answered.
    """

    kind: ClassVar[Kind] = "write"

    def __init__(
        self,
        lookup: Lookup,
        network: Network,
        method: bytes,
        field: bytes,
        seconds: float,
        done: Callable[[Found], object],
        known: Known,
        came_late: Callable[[Candidate], object],
    ) -> None:
        super().__init__(lookup, network, method, field, seconds, done, known)
        self._on_late = came_late

    def _waits(self) -> bool:
        return False

    def _came_late(self, candidate: Candidate) -> None:
        self._on_late(candidate)
