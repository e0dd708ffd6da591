"""Declares the journal, by which changes of a node's state become durable, and a journal that does nothing.

The stores call ``item_changed`` and the like for every change; the journal reads the current value from the store when
it writes. Who acknowledges a put asks ``refusal`` before and waits for ``when_durable``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from grape.dht.compact import Address

# Called with None once durable, else with the reason.
OnDurable = Callable[[str | None], object]


class Journal(Protocol):
    """Makes changes of a node's state durable."""

    @property
    def refusal(self) -> str | None:
        """Why puts are refused at this time; None while they are taken."""
        ...

    @property
    def committing(self) -> int:
        """The number of the commit that is under way, from 1 on; 0 while none is."""
        ...

    def when_durable(self, done: OnDurable) -> None:
        """Calls ``done(None)`` once every item stored so far is durable, else ``done(reason)``."""
        ...

    def item_changed(self, target: bytes) -> None:
        """Notes that an item was stored or removed."""
        ...

    def own_item_changed(self, target: bytes) -> None:
        """Notes that an item put through this node was added, published or removed."""
        ...

    def peer_changed(self, key: bytes, peer: Address) -> None:
        """Notes that a peer was announced, renewed, withdrawn or removed. It may become durable a second later."""
        ...

    def own_announce_changed(self, key: bytes, port: int) -> None:
        """Notes that an announce made through this node was made or has expired."""
        ...


class NullJournal:
    """Writes nothing: the state lives in memory alone, and every change counts as durable."""

    refusal = None
    committing = 0

    def when_durable(self, done: OnDurable) -> None:
        """Calls ``done(None)`` at once."""
        done(None)

    def item_changed(self, target: bytes) -> None:
        """Does nothing."""

    def own_item_changed(self, target: bytes) -> None:
        """Does nothing."""

    def peer_changed(self, key: bytes, peer: Address) -> None:
        """Does nothing."""

    def own_announce_changed(self, key: bytes, port: int) -> None:
        """Does nothing."""
