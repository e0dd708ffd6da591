"""This grape's own live announces, brought to nodes that have come closer since.

A service announces again only every minute or more. When the nodes closest to its name change in between, lookups go
to nodes that have never heard of it; so whenever contacts come or go, the announces whose closest set has changed, or
lost one of its nodes, are made again, a few at a time. They carry their age, so that no peer lives longer by it where
grapes of ours keep it.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable

import attrs
from twisted.logger import Logger
from twisted.python.failure import Failure

from grape.dht.errors import Overloaded
from grape.dht.nodeid import position
from grape.dht.routing import K
from grape.krpc.traversal import WriteOutcome
from grape.protocol import DHTProtocol
from grape.reactor import Clock, Timer

CHECK_SECONDS = 0.5
# The least time between two announces of the same peer by the grape itself.
PAUSE_SECONDS = 30.0
# The same for one that nobody has taken yet.
RETRY_SECONDS = 2.0
MAX_HOLDERS = 100
LOOKED_AT_PER_CHECK = 512
ANNOUNCES_PER_CHECK = 16
MAX_ANNOUNCES = 10_000

Announce = tuple[bytes, int]

log = Logger(namespace="grape")


@attrs.define(slots=True)
class _Made:
    """An announce: when its service made it, who holds it, when it may be made again here, and the version of the table
    for which it was."""

    at: float
    holders: frozenset[bytes]
    next_at: float
    version: int = -1


class Reannouncer:
    """The announces made here, each with the nodes that took it.

    ``changed(key, port)`` is called when an announce was made or is over.
    """

    def __init__(
        self,
        clock: Clock,
        max_age: float,
        socket: Callable[[], DHTProtocol],
        max_announces: int = MAX_ANNOUNCES,
        changed: Callable[[bytes, int], object] = lambda key, port: None,
    ) -> None:
        self._clock = clock
        self._max_age = max_age
        self._max_announces = max_announces
        self._socket = socket
        self._made: OrderedDict[Announce, _Made] = OrderedDict()
        self._to_check: list[Announce] = []
        # The contacts that had gone when this look through began, and whether others came or went since.
        self._gone: frozenset[bytes] = frozenset()
        # The table's version then.
        self._looked_at = 0
        self._again = False
        self._timer: Timer | None = None
        self._stopped = False
        self.renewed = 0
        self._changed = changed

    def __len__(self) -> int:
        return len(self._made)

    def announced(self, key: bytes, port: int, holders: frozenset[bytes] = frozenset()) -> None:
        """Keep an announce that was just made; without holders it has yet to be taken by any node."""
        announce, now = (key, port), self._clock.seconds()
        self._made[announce] = _Made(now, holders, now + PAUSE_SECONDS if holders else now)
        self._made.move_to_end(announce)
        self._changed(key, port)
        if len(self._made) > self._max_announces:
            self._changed(*self._made.popitem(last=False)[0])

    def made_at(self, key: bytes, port: int) -> float | None:
        """When an announce was made, if it is kept."""
        made = self._made.get((key, port))
        return made.at if made is not None else None

    def announces(self) -> list[Announce]:
        """All that are kept, the oldest first."""
        return list(self._made)

    def restore(self, key: bytes, port: int, at: float) -> None:
        """Keep an announce from before a restart; it is made again when a contact comes."""
        if not self._max_age or self._clock.seconds() - at < self._max_age:
            self._made.setdefault((key, port), _Made(at, frozenset(), self._clock.seconds()))

    def contacts_changed(self) -> None:
        """A contact came or went: look, soon, whether something should be held by others than those that have it."""
        self._again = True
        self._look_soon()

    def _look_soon(self) -> None:
        if self._made and self._timer is None and not self._stopped:
            self._timer = self._clock.callLater(CHECK_SECONDS, self._check_safely)

    def start(self) -> None:
        """Renew what has to be."""
        self._stopped = False
        self.contacts_changed()

    def stop(self) -> None:
        """Renew nothing any more."""
        self._stopped = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        self._to_check = []

    def _is_out_of_place(self, key: bytes, holders: frozenset[bytes]) -> bool:
        """Whether a contact that does not hold ``key`` is closer to it than one of the holders."""
        place = position(key)
        strangers = [c for c in self._socket().table.closest(place, sound=True) if c.id not in holders]
        if not strangers or len(holders) < K:
            return bool(strangers)
        return strangers[0].position ^ place < max(position(holder) ^ place for holder in holders)

    def _check_safely(self) -> None:
        self._timer = None
        try:
            self._check()
        except Exception:
            log.failure("own announces could not be looked through")
            self._look_soon()

    def _check(self) -> None:
        now, version = self._clock.seconds(), self._socket().table.version
        if not self._to_check:
            self._to_check = list(self._made)
            self._gone = self._socket().table.gone_since(self._looked_at)
            self._looked_at = version
            self._again = False
        renewals = 0
        for _ in range(min(len(self._to_check), LOOKED_AT_PER_CHECK)):
            if renewals >= ANNOUNCES_PER_CHECK:
                break
            announce = self._to_check.pop()
            made = self._made.get(announce)
            if made is None:
                continue
            made.holders -= self._gone
            if self._max_age and now - made.at >= self._max_age:
                del self._made[announce]
                self._changed(*announce)
            elif made.version == version:
                # Who refused it then would refuse it now.
                continue
            elif now < made.next_at:
                self._again = True
            elif self._is_out_of_place(announce[0], made.holders):
                renewals += 1
                made.version = version
                self._renew(announce, made, now)
        if self._to_check or self._again:
            self._look_soon()

    def _renew(self, announce: Announce, made: _Made, now: float) -> None:
        self.renewed += 1
        # The time stays that of the service's own announce: a service that is gone is not kept alive here.
        made.next_at = now + (PAUSE_SECONDS if made.holders else RETRY_SECONDS)
        key, port = announce

        def renewed(written: WriteOutcome) -> None:
            made.holders = made.holders | written.holders if len(made.holders) < MAX_HOLDERS else written.holders
            if written.unanswered or not written.accepted:
                later()

        def later() -> None:
            made.version = -1
            self._again = True
            self._look_soon()

        def failed(failure: Failure) -> None:
            if failure.check(Overloaded) is None:
                log.failure("an own announce could not be renewed", failure)
            made.next_at = now + RETRY_SECONDS
            later()

        renewal = self._socket().announce_peer(key, port, math.ceil((now - made.at) * 1000))
        renewal.addCallback(renewed).addErrback(failed)
