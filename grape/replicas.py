"""This grape's own live announces, brought to nodes that have come closer since.

A service announces again only every minute or more. When the nodes closest to its name change in between, lookups go
to nodes that have never heard of it; so whenever contacts come, the announces whose closest set has changed are made
again, a few at a time. They carry their age, so that no peer lives longer by it where grapes of ours keep it.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from grape.dht.nodeid import position
from grape.protocol import DHTProtocol
from grape.reactor import Clock, Timer
from grape.traversal import WriteOutcome

CHECK_SECONDS = 0.5
LOOKED_AT_PER_CHECK = 512
ANNOUNCES_PER_CHECK = 16
MAX_ANNOUNCES = 10_000

Announce = tuple[bytes, int]

log = Logger(namespace="grape")


class Replicas:
    """The announces made here, each with when it was made and the nodes that were closest then."""

    def __init__(self, clock: Clock, max_age: float, socket: Callable[[], DHTProtocol]) -> None:
        self._clock = clock
        self._max_age = max_age
        self._socket = socket
        self._made: OrderedDict[Announce, tuple[float, frozenset[bytes]]] = OrderedDict()
        self._to_check: list[Announce] = []
        self._timer: Timer | None = None
        self.renewed = 0

    def __len__(self) -> int:
        return len(self._made)

    def announced(self, key: bytes, port: int, *, shared: bool = True) -> None:
        """Keep an announce that was just made; one that is not ``shared`` has yet to be taken by any node."""
        announce = (key, port)
        self._made[announce] = (self._clock.seconds(), self._closest(key) if shared else frozenset())
        self._made.move_to_end(announce)
        if len(self._made) > MAX_ANNOUNCES:
            self._made.popitem(last=False)

    def contact_listed(self) -> None:
        """A contact came: look whether it is closer to something than those that have it."""
        if self._made and self._timer is None:
            self._timer = self._clock.callLater(CHECK_SECONDS, self._check_safely)

    def stop(self) -> None:
        """Renew nothing any more."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        self._to_check = []

    def _closest(self, key: bytes) -> frozenset[bytes]:
        return frozenset(contact.id for contact in self._socket().table.closest(position(key)))

    def _check_safely(self) -> None:
        self._timer = None
        try:
            self._check()
        except Exception:
            log.failure("own announces could not be looked through")

    def _check(self) -> None:
        now = self._clock.seconds()
        if not self._to_check:
            self._to_check = list(self._made)
        renewals = 0
        for _ in range(min(len(self._to_check), LOOKED_AT_PER_CHECK)):
            if renewals >= ANNOUNCES_PER_CHECK:
                break
            announce = self._to_check.pop()
            at, closest = self._made.get(announce, (0.0, frozenset[bytes]()))
            if self._max_age and now - at >= self._max_age:
                self._made.pop(announce, None)
            elif not self._closest(announce[0]) <= closest:
                renewals += 1
                self._renew(announce, at)
        if self._to_check:
            self.contact_listed()

    def _renew(self, announce: Announce, at: float) -> None:
        self.renewed += 1
        closest = self._closest(announce[0])
        key, port = announce

        def renewed(written: WriteOutcome) -> None:
            # The time stays that of the service's own announce: a service that is gone is not kept alive here.
            if announce not in self._made:
                return
            if written.accepted:
                self._made[announce] = (at, closest)
            else:
                self.contact_listed()

        age = math.ceil((self._clock.seconds() - at) * 1000)
        renewal: Deferred[None] = self._socket().announce_peer(key, port, age).addCallback(renewed)
        renewal.addErrback(lambda _: None)
