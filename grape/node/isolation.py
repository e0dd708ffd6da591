"""Finds out in time that no other node can be reached, with few pings, and also when nobody asks.

A node that hears from its contacts sends nothing for it. Once none of them answered anything for SILENT_SECONDS, a few
are pinged, and if none of those answers within ANSWER_SECONDS the node is isolated. In an idle network these pings are
the only traffic: at most PINGS from each node in SILENT_SECONDS.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import cycle, islice

from twisted.internet.defer import Deferred

from grape.dht.buckets import Contact
from grape.dht.compact import Address
from grape.reactor import Clock, Timer

SILENT_SECONDS = 5.0
ANSWER_SECONDS = 2.0
PINGS = 3
# A node with fewer contacts pings one again after that time, since a datagram may be lost.
REPEAT_SECONDS = 0.5
# Rounding must not make a timer due at once again and again.
MIN_PAUSE_SECONDS = 0.01


class Isolation:
    """Decides from the contacts when to ping which of them, and whether the node is isolated.

    A node without contacts is; one that has some is not, until none of them answers.
    """

    def __init__(self, contacts: Sequence[Contact] = ()) -> None:
        self.is_isolated = not contacts
        # When the first of the latest pings was sent; when the next one may be, and those still to come.
        self._asked_at = -math.inf
        self._next_at = -math.inf
        self._to_ask: list[Address] = []

    def look(self, now: float, contacts: Sequence[Contact]) -> tuple[list[Address], float]:
        """Returns the addresses to ping now, and after how many seconds to look again at the latest."""
        silent = now - max((contact.heard_at for contact in contacts), default=-math.inf)
        if silent < SILENT_SECONDS:
            self.is_isolated = False
            self._to_ask = []
            return [], _pause(SILENT_SECONDS - silent)
        if not contacts:
            self.is_isolated = True
            return [], SILENT_SECONDS
        asked = now - self._asked_at
        if asked >= SILENT_SECONDS:
            self._asked_at = now
            at_once, self._to_ask = _chosen(contacts)
            self._next_at = now + REPEAT_SECONDS
            return at_once, REPEAT_SECONDS if self._to_ask else ANSWER_SECONDS
        if asked >= ANSWER_SECONDS:
            self.is_isolated = True
            return [], _pause(SILENT_SECONDS - asked)
        if not self._to_ask:
            return [], _pause(ANSWER_SECONDS - asked)
        if now < self._next_at:
            return [], _pause(self._next_at - now)
        self._next_at = now + REPEAT_SECONDS
        return [self._to_ask.pop(0)], min(REPEAT_SECONDS, _pause(ANSWER_SECONDS - asked))


class IsolationCheck:
    """Looks at a node's isolation whenever it is due.

    ``contacts()`` returns the routing table's contacts. ``ping(address)`` fires with the answer or fails within 2 s.
    """

    def __init__(
        self,
        clock: Clock,
        contacts: Callable[[], Iterable[Contact]],
        ping: Callable[[Address], Deferred[object]],
    ) -> None:
        self._clock = clock
        self._contacts = contacts
        self._ping = ping
        self._isolation = Isolation()
        self._timer: Timer | None = None
        self._is_running = False

    @property
    def is_isolated(self) -> bool:
        """True while no other node answers, or none is known; before ``start``, too."""
        return self._isolation.is_isolated

    def start(self) -> None:
        """Begins to look, unless it does."""
        if not self._is_running:
            self._isolation = Isolation(list(self._contacts()))
            self._is_running = True
            self.look()

    def stop(self) -> None:
        """Looks no more."""
        self._is_running = False
        self._cancel()

    def look(self) -> None:
        """Looks now: a contact was heard, or it is time."""
        if not self._is_running:
            return
        self._cancel()
        to_ping, pause = self._isolation.look(self._clock.seconds(), list(self._contacts()))
        self._timer = self._clock.callLater(pause, self._due)
        for address in to_ping:
            self._ping(address).addCallbacks(lambda _: self.look(), lambda _: None)

    def _due(self) -> None:
        # If this process was busy or paused, answers may wait unread: the socket is read first.
        self._timer = self._clock.callLater(0, self.look)

    def _cancel(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()


def _pause(seconds: float) -> float:
    return max(seconds, MIN_PAUSE_SECONDS)


def _chosen(contacts: Sequence[Contact]) -> tuple[list[Address], list[Address]]:
    """Returns PINGS addresses: those to ping at once, each another contact, and those to ping again if they are few.

    The contacts that did not fail and were heard last come first, and of each host one before a second of any.
    """
    ordered = sorted(contacts, key=lambda contact: (contact.failures, -contact.heard_at))
    first_of_host = {contact.address[0]: contact for contact in reversed(ordered)}
    ordered.sort(key=lambda contact: first_of_host[contact.address[0]] is not contact)
    at_once = [contact.address for contact in ordered[:PINGS]]
    return at_once, list(islice(cycle(at_once), PINGS - len(at_once)))
