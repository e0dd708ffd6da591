"""The calls of a node, each as a Deferred; those of services with a ``done`` to call, too."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure

from grape.coalesce import Cancellable, deferred
from grape.encoding import Value
from grape.node.arguments import check_service
from grape.node.items import Got, Items
from grape.node.kept import KeptAnnounce, KeptAnnounces
from grape.node.services import Services


class NodeCalls:
    """The calls of a node, which has these parts. All but ``keep_announced`` can be cancelled."""

    _services: Services
    _items: Items
    _kept: KeptAnnounces

    # Services

    def lookup(self, name: str) -> Deferred[list[str]]:
        """Looks up the peers of a service, as ``grape.Grape.lookup`` does."""
        looked_up: Deferred[list[str]] = maybeDeferred(deferred, partial(self.begin_lookup, name))
        return looked_up.addCallback(self.for_asker, None, None)

    def begin_lookup(self, name: str, done: Callable[[list[str] | Failure], object]) -> Cancellable:
        """Looks up a service, and calls ``done`` with the peers or a Failure; never after ``cancel()``.

        ``lookup`` without the Deferred, which takes 0.9 us of 70, and without ``for_asker``. Raises GrapeError.
        """
        return self._services.begin_lookup(name, done)

    def for_asker(self, peers: list[str], asker: str | None, came_to: str | None) -> list[str]:
        """Returns the peers of a lookup that an asker can reach, each "ip:port" and each once.

        Loopback addresses are for askers on this host alone. ``asker`` and ``came_to`` are the addresses of the two
        ends of its connection, None for an asker in this process or at a unix socket.
        """
        return self._services.listing.for_asker(peers, asker, came_to)

    def announce(self, name: str | bytes, port: int, ttl: float | None = None) -> Deferred[int]:
        """Announces that a service runs at ``port`` of this host, as ``grape.Grape.announce`` does."""
        return maybeDeferred(deferred, lambda done: self.begin_announce(name, port, done, ttl))

    def begin_announce(
        self, name: str | bytes, port: int, done: Callable[[int | Failure], object], ttl: float | None = None
    ) -> Cancellable:
        """Announces a service, and calls ``done`` as ``begin_lookup`` does. Raises GrapeError."""
        return self._services.begin_announce(name, port, done, ttl)

    def unannounce(self, name: str | bytes, port: int) -> Deferred[int]:
        """Withdraws a service at ``port`` of this host, as ``grape.Grape.unannounce`` does."""
        return maybeDeferred(deferred, partial(self.begin_unannounce, name, port))

    def begin_unannounce(self, name: str | bytes, port: int, done: Callable[[int | Failure], object]) -> Cancellable:
        """Withdraws a service, and calls ``done`` as ``begin_lookup`` does. Raises GrapeError."""
        return self._services.begin_unannounce(name, port, done)

    def keep_announced(self, name: str | bytes, port: int) -> KeptAnnounce:
        """Keeps a service announced until it is told to stop, as ``grape.Grape.keep_announced`` does."""
        check_service(name, port, "ERR_GRAPE_ANNOUNCE")
        return self._kept.add(name, port)

    # Items

    def put(
        self,
        value: Value,
        *,
        key: bytes | None = None,
        signature: bytes | None = None,
        seq: int | None = None,
        salt: bytes = b"",
        cas: int | None = None,
    ) -> Deferred[str]:
        """Stores a value, an item of BEP 44, as ``grape.Grape.put`` does."""
        return maybeDeferred(self._items.put, value, key, signature, seq, salt, cas)

    def get(self, hash: str, salt: bytes = b"", *, cache: bool | None = None) -> Deferred[Got | None]:
        """Finds the item with this hash, as ``grape.Grape.get`` does."""
        return maybeDeferred(self._items.get, hash, salt, cache)
