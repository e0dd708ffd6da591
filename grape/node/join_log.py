"""Logs when a node joins its network, cannot join it, loses all contacts and finds some again.

Each line is written once when a state begins and once when it is over. A network that comes and goes does not fill the
log: after a loss further ones are counted for a time that grows from a minute to an hour, and summed up in one line.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from twisted.logger import Logger

from grape.dht.compact import Address
from grape.logs import Counted
from grape.reactor import Clock, Timer

# The Node grape's first attempt to join ends after 2 s, ours after 2.5 s.
NO_ANSWER_SECONDS = 3.0
# From the first contact to the line that counts the contacts: the lookup around the node's own id has ended by then.
SETTLE_SECONDS = 1.0
# How long losses are counted after one that was logged: doubled by each, and short again after an hour without a loss.
FIRST_PAUSE_SECONDS = 60.0
MAX_PAUSE_SECONDS = 3_600.0
MAX_LISTED = 8

log = Logger(namespace="grape.node")


class JoinLog:
    """Logs the state of a node's membership; ``contacts()`` returns how many contacts the node has now."""

    def __init__(self, clock: Clock, contacts: Callable[[], int]) -> None:
        self._clock = clock
        self._contacts = contacts
        self._timers: dict[Callable[[], None], Timer] = {}
        self._bootstrap: Sequence[Address] = ()
        self._remembered: Sequence[Address] = ()
        self._own_entries: Callable[[], frozenset[Address]] = frozenset
        # The contact that was listed first while there was no other.
        self._through: Address | None = None
        # True if the last line said that there are contacts; None before the first line.
        self._is_joined: bool | None = None
        self._pause = FIRST_PAUSE_SECONDS
        self._lost_at = -math.inf
        # How many losses were not logged since the last line about one, and when that was.
        self._unlogged = 0
        self._logged_at = 0.0

    def start(
        self,
        bootstrap: Sequence[Address],
        remembered: Sequence[Address],
        own_entries: Callable[[], frozenset[Address]],
    ) -> None:
        """Begins to watch a node that joins.

        ``bootstrap`` are the configured entries, ``remembered`` the contacts of the last run; ``own_entries()`` returns
        the entries that have turned out to be the node itself.
        """
        self._bootstrap, self._own_entries = bootstrap, own_entries
        self._remembered = [address for address in remembered if address not in bootstrap]
        self._through = None
        # A node that was stopped and started again in one process may have contacts still.
        self._is_joined = True if self._contacts() else None
        if self._is_joined:
            return
        if remembered and not bootstrap:
            log.info(
                "no bootstrap nodes; asking {contacts} of the last run", contacts=Counted(len(remembered), "contact")
            )
        if bootstrap or remembered:
            self._call_later(NO_ANSWER_SECONDS, self._check_answers)

    def stop(self) -> None:
        """Logs no more."""
        for timer in self._timers.values():
            if timer.active():
                timer.cancel()
        self._timers.clear()

    def contact_listed(self, address: Address) -> None:
        """Notes that a contact was listed."""
        if self._through is None:
            self._through = address
            if not self._is_joined:
                self._call_later(SETTLE_SECONDS, self._joined)

    def contact_dropped(self) -> None:
        """Notes that a contact was dropped because it does not answer."""
        if self._contacts():
            return
        now = self._clock.seconds()
        self._through = None
        if now - self._lost_at >= MAX_PAUSE_SECONDS:
            self._pause = FIRST_PAUSE_SECONDS
        self._lost_at = now
        if self._pause_over in self._timers:
            self._unlogged += 1
        elif self._is_joined:
            self._is_joined = False
            log.warn("all contacts lost; trying to join again")
            self._begin_pause(now)

    def _check_answers(self) -> None:
        if self._contacts() or self._is_joined is not None:
            return
        own = self._own_entries()
        others = [entry for entry in self._bootstrap if entry not in own]
        kinds = []
        if others:
            kinds.append(f"{len(others):,} bootstrap nodes answers: {_listed(others)}")
        if self._remembered:
            number = len(self._remembered)
            kinds.append(f"{number:,} contacts of the last run answers: {_listed(self._remembered)}")
        if kinds:
            self._is_joined = False
            log.warn("none of {nodes}; trying on", nodes="; none of ".join(kinds))
        elif self._bootstrap:
            log.info("all bootstrap nodes are this grape itself; waiting for others to join through it")

    def _joined(self) -> None:
        through = self._through
        if through is None or self._is_joined:
            return
        again = " again" if self._lost_at > -math.inf else ""
        self._is_joined = True
        log.info(f"joined{again} through {{host}}:{{port}}, {{contacts}}", host=through[0], port=through[1],
                 contacts=Counted(self._contacts(), "contact"))  # fmt: skip

    def _begin_pause(self, now: float) -> None:
        self._logged_at, self._unlogged = now, 0
        self._call_later(self._pause, self._pause_over)
        self._pause = min(self._pause * 2, MAX_PAUSE_SECONDS)

    def _pause_over(self) -> None:
        if not self._unlogged:
            return
        now, contacts = self._clock.seconds(), self._contacts()
        losses = Counted(self._unlogged, "more time", "more times")
        minutes = Counted(round((now - self._logged_at) / 60), "minute")
        self._is_joined = contacts > 0
        if contacts:
            log.warn("all contacts lost and found again {losses} in {minutes}; {contacts} now",
                     losses=losses, minutes=minutes, contacts=Counted(contacts, "contact"))  # fmt: skip
        else:
            log.warn("all contacts lost {losses} in {minutes}; trying to join again", losses=losses, minutes=minutes)
        self._begin_pause(now)

    def _call_later(self, seconds: float, work: Callable[[], None]) -> None:
        before = self._timers.get(work)
        if before is not None and before.active():
            before.cancel()

        def due() -> None:
            del self._timers[work]
            work()

        self._timers[work] = self._clock.callLater(seconds, due)


def _listed(addresses: Sequence[Address]) -> str:
    text = ", ".join(f"{host}:{port}" for host, port in addresses[:MAX_LISTED])
    return text if len(addresses) <= MAX_LISTED else f"{text} and {len(addresses) - MAX_LISTED:,} more"
