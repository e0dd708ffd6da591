"""Declares the parts of a node that are recorded.

Own items and own announces live in ``grape.node``, which this layer must not import: two Protocols declare what the
recorder needs of them.
"""

from __future__ import annotations

from typing import Protocol

import attrs

from grape.dht.items import Item
from grape.dht.routing import RoutingTable
from grape.dht.tokens import Tokens
from grape.dht.withdrawals import Withdrawals
from grape.store import MemoryItems, MemoryPeers


class OwnItem(Protocol):
    """An item put through this node.

    ``at`` is when it was put, ``published`` when other nodes last took it (None: not yet); both in reactor seconds.
    """

    item: Item
    at: float
    published: float | None


class OwnItems(Protocol):
    """The items put through this node, by target."""

    def __len__(self) -> int: ...

    def get(self, target: bytes) -> OwnItem | None:
        """Returns the item with this target, None if there is none."""
        ...

    def restore(self, item: Item, at: float, published: float | None) -> None:
        """Adds an item of the state file, with its times in reactor seconds."""
        ...


class OwnAnnounces(Protocol):
    """The announces made through this node, by key and port."""

    def __len__(self) -> int: ...

    def made_at(self, key: bytes, port: int) -> float | None:
        """Returns when the announce was made, in reactor seconds; None if there is none."""
        ...

    def restore(self, key: bytes, port: int, at: float) -> None:
        """Adds an announce of the state file, made ``at`` reactor seconds, unless it is too old."""
        ...


@attrs.frozen
class Recorded:
    """The parts of a node that are recorded: their changes are written, and a start restores them."""

    table: RoutingTable
    tokens: Tokens
    items: MemoryItems
    own_items: OwnItems
    peers: MemoryPeers
    own_announces: OwnAnnounces
    withdrawals: Withdrawals
