"""Repeats this grape's own announces for nodes that have come closer to their keys.

A service announces itself again only every minute or more. When the nodes closest to its name change in between,
lookups go to nodes that do not know the announce. So whenever contacts come or go, the announces whose closest nodes
have changed, or lost one of the nodes that hold them, are repeated, a few at a time. They carry their age, so that
grapes of ours do not keep the peer for longer (docs/decisions/0006).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from grape.config import DEFAULTS
from grape.dht.bounded import BoundedDict
from grape.dht.errors import Overloaded
from grape.dht.nodeid import position
from grape.dht.routing import K
from grape.krpc.traversal import WriteOutcome
from grape.metrics import Counters
from grape.protocol import DHTProtocol
from grape.reactor import Clock, Timer

CHECK_SECONDS = 0.5
# The least time between two announces of the same peer by the grape itself.
PAUSE_SECONDS = 30.0
# The same while no node has accepted the announce, and after a renewal that failed.
RETRY_SECONDS = 2.0
# The least time between two rounds in which all announces are made again.
ROUND_SECONDS = 30.0
MAX_HOLDERS = 100
CHECKED_AT_ONCE = 512
RENEWED_AT_ONCE = 16
MAX_ANNOUNCES = DEFAULTS.max_announces

# A key and a port.
AnnounceId = tuple[bytes, int]

log = Logger(namespace="grape.node")


@attrs.define(slots=True)
class Repeated:
    """An announce of this grape, or something else that is repeated in the same way.

    ``at`` is when its service made it, or as much earlier as the peer is to live shorter, which is ``shift`` seconds;
    ``holders`` are the ids of the nodes that accepted it, ``next_at`` is when it may be repeated, ``checked_version``
    the version of the routing table for which it was repeated last (-1: none), ``tries`` how often it was repeated.
    """

    at: float
    holders: frozenset[bytes]
    next_at: float
    shift: float = 0.0
    checked_version: int = -1
    tries: int = 0


class Reannouncer:
    """The announces made through this grape, each with the nodes that hold it; repeats them when these change.

    An announce is kept for ``max_age`` seconds (0: for ever), at most ``max_announces`` of them, the latest.
    ``socket()`` returns the node's protocol. ``changed(key, port)`` is called when an announce was made or has ended.
    """

    def __init__(
        self,
        clock: Clock,
        max_age: float,
        socket: Callable[[], DHTProtocol],
        max_announces: int = MAX_ANNOUNCES,
        changed: Callable[[bytes, int], object] = lambda key, port: None,
        counters: Counters | None = None,
    ) -> None:
        self._clock = clock
        self._max_age = max_age
        self._socket = socket
        self._changed = changed
        self._counters = counters if counters is not None else Counters()
        self._announces: BoundedDict[AnnounceId, Repeated] = BoundedDict(max_announces)
        # One pass over all announces: those still to be checked; the ids of the contacts that had left the routing
        # table when it began; the table's version then. Another pass follows if contacts came or went meanwhile.
        self._to_check: list[AnnounceId] = []
        self._gone: frozenset[bytes] = frozenset()
        self._pass_version = 0
        self._needs_another_pass = False
        self._timer: Timer | None = None
        self._stopped = False
        # When the next round may begin in which all announces are made again; set while one waits for that.
        self._next_round_at = -math.inf
        self._round_timer: Timer | None = None

    def __len__(self) -> int:
        return len(self._announces)

    def set_limit(self, max_announces: int) -> None:
        """Sets how many announces are kept; the oldest go first."""
        for (key, port), _ in self._announces.resize(max_announces):
            self._changed(key, port)

    def announced(self, key: bytes, port: int, holders: frozenset[bytes] = frozenset(), age: float = 0.0) -> None:
        """Notes an announce that a service just made; without ``holders`` no node has accepted it yet.

        ``age`` is how many seconds of the peer's life are gone: it is to live shorter than others.
        """
        now = self._clock.seconds()
        next_at = now + PAUSE_SECONDS if holders else now
        evicted = self._announces.put((key, port), Repeated(now - age, holders, next_at, age))
        self._changed(key, port)
        if evicted is not None:
            self._changed(*evicted[0])

    def made_at(self, key: bytes, port: int) -> float | None:
        """Returns when an announce was made by its service; None if it is not kept."""
        announce = self._announces.get((key, port))
        return announce.at if announce is not None else None

    def announces(self) -> list[AnnounceId]:
        """Returns key and port of each announce, the oldest first."""
        return list(self._announces)

    def restore(self, key: bytes, port: int, at: float) -> None:
        """Takes an announce back from before a restart; it is repeated when a contact is listed."""
        now = self._clock.seconds()
        if (not self._max_age or now - at < self._max_age) and (key, port) not in self._announces:
            self._announces.put((key, port), Repeated(at, frozenset(), now))

    def drop(self, key: bytes, port: int, until: float) -> None:
        """Drops an announce that its service made at ``until`` or before; it is repeated no more."""
        announce = self._announces.get((key, port))
        if announce is not None and announce.at + announce.shift <= until:
            del self._announces[key, port]
            self._changed(key, port)

    def drop_all(self) -> list[AnnounceId]:
        """Drops all announces; returns key and port of each."""
        dropped = list(self._announces)
        self._announces.clear()
        for announce in dropped:
            self._changed(*announce)
        return dropped

    def expire(self, now: float) -> None:
        """Drops the announces whose peers have expired at ``now``: their services did not announce them again."""
        if self._max_age:
            old = [
                announce_id for announce_id, announce in self._announces.items() if now - announce.at >= self._max_age
            ]
            for announce_id in old:
                del self._announces[announce_id]
                self._changed(*announce_id)

    def address_changed(self) -> None:
        """Has all announces made again, with their age, because other nodes see this one at another address now.

        One such round in ROUND_SECONDS: an address that comes and goes brings no more.
        """
        now = self._clock.seconds()
        if self._round_timer is not None and self._round_timer.active():
            return
        if now < self._next_round_at:
            self._round_timer = self._clock.callLater(self._next_round_at - now, self.address_changed)
            return
        self._next_round_at = now + ROUND_SECONDS
        self.make_again()

    def contacts_changed(self) -> None:
        """Has all announces checked soon, because a contact was listed or dropped."""
        self._needs_another_pass = True
        self._check_soon()

    def make_again(self) -> None:
        """Has all announces made again soon, with their age: the nodes that hold them tell other hosts nothing."""
        now = self._clock.seconds()
        for announce in self._announces.values():
            announce.holders, announce.next_at, announce.checked_version = frozenset(), now, -1
        self.contacts_changed()

    def start(self) -> None:
        """Begins to repeat announces."""
        self._stopped = False
        self.contacts_changed()

    def stop(self) -> None:
        """Repeats no more announces; they are kept."""
        self._stopped = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        if self._round_timer is not None and self._round_timer.active():
            self._round_timer.cancel()
        self._to_check = []

    def _check_soon(self) -> None:
        if self._announces and self._timer is None and not self._stopped:
            self._timer = self._clock.callLater(CHECK_SECONDS, self._check_safely)

    def _check_safely(self) -> None:
        self._timer = None
        try:
            self._check()
        except Exception:
            log.failure("own announces could not be checked; retrying in {seconds} s", seconds=CHECK_SECONDS)
            self._check_soon()

    def _check(self) -> None:
        """Checks the next CHECKED_AT_ONCE announces, and renews at most RENEWED_AT_ONCE of them."""
        now, version = self._clock.seconds(), self._socket().table.version
        if not self._to_check:
            self._to_check = list(self._announces)
            self._gone = self._socket().table.gone_since(self._pass_version)
            self._pass_version = version
            self._needs_another_pass = False
        renewals = 0
        for _ in range(min(len(self._to_check), CHECKED_AT_ONCE)):
            if renewals >= RENEWED_AT_ONCE:
                break
            announce_id = self._to_check.pop()
            announce = self._announces.get(announce_id)
            if announce is None:
                continue
            announce.holders -= self._gone
            if self._max_age and now - announce.at >= self._max_age:
                del self._announces[announce_id]
                self._changed(*announce_id)
            elif announce.checked_version == version:
                # The nodes that refused it would refuse it again.
                continue
            elif now < announce.next_at:
                self._needs_another_pass = True
            elif self._is_misplaced(announce_id[0], announce.holders):
                renewals += 1
                announce.checked_version = version
                self._renew(announce_id, announce, now)
        if self._to_check or self._needs_another_pass:
            self._check_soon()

    def _is_misplaced(self, key: bytes, holders: frozenset[bytes]) -> bool:
        """Returns True if a contact that does not hold ``key`` is closer to it than one of the holders."""
        place = position(key)
        others = [c for c in self._socket().table.closest(place, sound=True) if c.id not in holders]
        if not others or len(holders) < K:
            return bool(others)
        return others[0].position ^ place < max(position(holder) ^ place for holder in holders)

    def _renew(self, announce_id: AnnounceId, announce: Repeated, now: float) -> None:
        # ``at`` stays that of the service's own announce: a service that is gone is not kept alive here.
        announce.next_at = now + self._pause(announce)
        announce.tries += 1

        def renewed(written: WriteOutcome) -> None:
            is_full = len(announce.holders) >= MAX_HOLDERS
            announce.holders = written.holders if is_full else announce.holders | written.holders
            if not self._is_done(announce_id, announce, written):
                check_again()

        def check_again() -> None:
            announce.checked_version = -1
            self._needs_another_pass = True
            self._check_soon()

        def failed(failure: Failure) -> None:
            if failure.check(Overloaded) is None:
                log.failure("own announce of port {port} could not be renewed; retrying in {seconds} s",
                            failure, port=announce_id[1], seconds=RETRY_SECONDS)  # fmt: skip
            announce.next_at = now + RETRY_SECONDS
            check_again()

        self._send(announce_id, announce, now).addCallback(renewed).addErrback(failed)

    # How an announce is repeated; a subclass repeats something else in the same way.

    def _pause(self, announce: Repeated) -> float:
        """Returns the least time until the next repetition."""
        return PAUSE_SECONDS if announce.holders else RETRY_SECONDS

    def _is_done(self, announce_id: AnnounceId, announce: Repeated, written: WriteOutcome) -> bool:
        """Returns True if it need not be repeated until contacts come or go."""
        return not written.unanswered and written.accepted > 0

    def _send(self, announce_id: AnnounceId, announce: Repeated, now: float) -> Deferred[WriteOutcome]:
        """Sends it to the nodes that are the closest now. Fails with Overloaded."""
        self._counters.renewed += 1
        key, port = announce_id
        made_ago = math.ceil((now - announce.at - announce.shift) * 1000) if announce.shift else None
        return self._socket().announce_peer(key, port, math.ceil((now - announce.at) * 1000), made_ago)
