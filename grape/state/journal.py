"""What a node's rooms tell, so that what they hold outlives the process; and the version that keeps nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from grape.dht.compact import Address

# Told None once it is kept, or why it is not.
OnDurable = Callable[[str | None], object]


class Journal(Protocol):
    """Told of every change; it asks the room that told it for what there is now."""

    @property
    def refusal(self) -> str | None:
        """Why nothing that is stored now could be promised to be kept; None if it can."""
        ...

    def when_durable(self, kept: OnDurable) -> None:
        """Call ``kept`` when all items stored until now are kept, or when they are not."""
        ...

    def item_changed(self, target: bytes) -> None:
        """An item came, or went."""
        ...

    def own_item_changed(self, target: bytes) -> None:
        """The same for one that was put through this grape."""
        ...

    def peer_changed(self, key: bytes, peer: Address) -> None:
        """A peer was announced, or went. It may be kept a second later."""
        ...

    def own_announce_changed(self, key: bytes, port: int) -> None:
        """The same for an announce that was made through this grape."""
        ...


class NullJournal:
    """Keeps nothing: what is in memory is all there is."""

    refusal = None

    def when_durable(self, kept: OnDurable) -> None:
        kept(None)

    def item_changed(self, target: bytes) -> None:
        """Nothing to do."""

    def own_item_changed(self, target: bytes) -> None:
        """Nothing to do."""

    def peer_changed(self, key: bytes, peer: Address) -> None:
        """Nothing to do."""

    def own_announce_changed(self, key: bytes, port: int) -> None:
        """Nothing to do."""
