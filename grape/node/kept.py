"""Keeps services announced: repeats their announces well inside the peers' age, and withdraws them at the end."""

from __future__ import annotations

import random
from typing import Protocol

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from grape.config import PEER_MAX_AGE_SECONDS
from grape.errors import GrapeError
from grape.node.reporter import shown_name
from grape.reactor import Clock, Timer

# The pause between two announces, as a share of the peers' age or of 240 s if that is less: drawn anew each time. A
# Node grape with --dpa may forget a peer after two thirds of its age.
LEAST_SHARE, MOST_SHARE = 0.25, 0.45
# The pauses after an announce that failed, each 1 to 2 times as long as the one before.
FIRST_RETRY_SECONDS = 0.5
MAX_RETRY_SECONDS = 5.0
# How long a stop of the grape waits for its services to be withdrawn.
STOP_SECONDS = 0.5

log = Logger(namespace="grape.node")


class Calls(Protocol):
    """The calls of a node that keeping a service announced takes."""

    def announce(self, name: str | bytes, port: int, ttl: float | None = None) -> Deferred[int]:
        """Announces a service."""
        ...

    def unannounce(self, name: str | bytes, port: int) -> Deferred[int]:
        """Withdraws a service."""
        ...


class KeptAnnounce(Service):
    """A service that is kept announced, while its grape runs, from ``startService`` to ``stopService``.

    ``Grape.keep_announced`` makes it, and has started it. It may be put into an application's own service tree.
    """

    def __init__(self, kept: KeptAnnounces, name: str | bytes, port: int) -> None:
        self._kept = kept
        self.service = name
        self.port = port
        #: How many other nodes the last announce reached; 0 before the first, and after one that failed.
        self.reached = 0
        self._is_on = False
        self._is_failing = False
        self._retry_seconds = FIRST_RETRY_SECONDS
        self._timer: Timer | None = None
        self._announcing: Deferred[None] | None = None

    def startService(self) -> None:
        """Announces the service now and again, as soon as its grape runs."""
        super().startService()
        self._kept.started(self)

    def stopService(self) -> Deferred[None]:
        """Withdraws the service. Fires once others have confirmed it, or after 2.3 s; never fails."""
        if self.running:
            super().stopService()
        return self._kept.stopped(self)

    # Called by KeptAnnounces.

    def begin(self) -> None:
        """Begins to announce: the grape runs."""
        self._is_on = True
        self._announce()

    def end(self) -> Deferred[None]:
        """Announces no more, and withdraws the service. Never fails."""
        if not self._is_on:
            return succeed(None)
        self._is_on = False
        self.reached = 0
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if self._announcing is not None:
            # Written after the withdrawal, it would bring the service back.
            self._announcing.cancel()
        return self._kept.calls.unannounce(self.service, self.port).addCallbacks(lambda _: None, _left)

    def _announce(self) -> None:
        announcing = self._announcing = self._kept.calls.announce(self.service, self.port).addCallbacks(
            self._announced, self._failed
        )
        announcing.addBoth(self._again)

    def _announced(self, reached: int) -> None:
        self.reached = reached
        self._retry_seconds = FIRST_RETRY_SECONDS
        if self._is_failing:
            self._is_failing = False
            log.info("{name!r}, kept announced at port {port}: announced again", name=shown_name(self.service),
                     port=self.port)  # fmt: skip

    def _failed(self, failure: Failure) -> None:
        if failure.check(CancelledError) is not None:
            return
        self.reached = 0
        if not self._is_failing:
            self._is_failing = True
            if failure.check(GrapeError) is None:
                log.failure("{name!r} could not be announced; retrying", failure, name=shown_name(self.service))
            else:
                log.warn("{name!r}, kept announced at port {port}: {error}; retrying", name=shown_name(self.service),
                         port=self.port, error=failure.getErrorMessage())  # fmt: skip

    def _again(self, _: None) -> None:
        self._announcing = None
        if not self._is_on:
            return
        kept = self._kept
        if self.reached:
            pause = kept.age * kept.dice.uniform(LEAST_SHARE, MOST_SHARE)
        else:
            pause = self._retry_seconds
            self._retry_seconds = min(self._retry_seconds * kept.dice.uniform(1, 2), MAX_RETRY_SECONDS)
        self._timer = kept.clock.callLater(pause, self._announce)


class KeptAnnounces:
    """The services that a node keeps announced: all of them while it runs."""

    def __init__(self, calls: Calls, clock: Clock, dice: random.Random, max_age: float) -> None:
        self.calls = calls
        self.clock = clock
        self.dice = dice
        self.age = min(max_age or PEER_MAX_AGE_SECONDS, PEER_MAX_AGE_SECONDS)
        self._kept: dict[KeptAnnounce, None] = {}
        self._is_running = False
        # Withdrawals under way, and what waits for them at a stop.
        self._ending = 0
        self._stopping: Deferred[None] | None = None
        self._deadline: Timer | None = None

    def add(self, name: str | bytes, port: int) -> KeptAnnounce:
        """Returns a service, which is kept announced from now on."""
        kept = KeptAnnounce(self, name, port)
        kept.startService()
        return kept

    def started(self, kept: KeptAnnounce) -> None:
        """Begins to keep a service announced."""
        if kept not in self._kept:
            self._kept[kept] = None
            if self._is_running:
                kept.begin()

    def stopped(self, kept: KeptAnnounce) -> Deferred[None]:
        """Ends to keep a service announced, and withdraws it."""
        self._kept.pop(kept, None)
        return self._end(kept)

    def start(self) -> None:
        """Begins with all of them: the node has started."""
        self._is_running = True
        for kept in list(self._kept):
            kept.begin()

    def stop(self) -> Deferred[None]:
        """Withdraws all of them until the next ``start``. Fires when that is done, or after STOP_SECONDS."""
        if not self._is_running:
            return self._wait()
        self._is_running = False
        for kept in list(self._kept):
            self._end(kept)
        if self._ending:
            self._stopping = Deferred()
            self._deadline = self.clock.callLater(STOP_SECONDS, self._stopped)
        return self._wait()

    def _end(self, kept: KeptAnnounce) -> Deferred[None]:
        """Ends a service; a stop waits for it, also if it began before: in one service tree both stop at once."""
        ending = kept.end()
        if not ending.called:
            self._ending += 1
            ending.addCallback(self._ended)
        return ending

    def _ended(self, _: None) -> None:
        self._ending -= 1
        if not self._ending:
            self._stopped()

    def _stopped(self) -> None:
        stopping, self._stopping = self._stopping, None
        if stopping is not None:
            if self._deadline is not None and self._deadline.active():
                self._deadline.cancel()
            stopping.callback(None)

    def _wait(self) -> Deferred[None]:
        waiting: Deferred[None] = Deferred()
        if self._stopping is None:
            return succeed(None)
        self._stopping.chainDeferred(waiting)
        return waiting


def _left(failure: Failure) -> None:
    """Takes the failure of a withdrawal: the grape has stopped, or is overloaded and repeats it."""
    if failure.check(GrapeError, CancelledError) is None:
        log.failure("a service could not be withdrawn", failure)
