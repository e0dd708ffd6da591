"""Tells systemd how the grape of a process is: started, well, busy reloading, stopping; and in one line what it holds.

Loaded only where systemd, or something like it, waits to be told (NOTIFY_SOCKET). Source: sd_notify(3).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from grape.config import Config
from grape.logs import counted
from grape.metrics import Stats
from grape.reactor import Clock, Timer
from grape.systemd import Notifier

# A ring that starts cold is not waited for: joining goes on after this.
JOIN_SECONDS = 3.0
# How often STATUS is looked at; it is sent if it has changed.
STATUS_SECONDS = 5.0
# How often a commit to the state file that hangs is looked at, until it ends or systemd ends the process.
HANGING_SECONDS = 1.0
# What a stop takes without the drain, with some room.
STOP_SECONDS = 10.0

log = Logger(namespace="grape.daemon")


class Watched(Protocol):
    """The part of a grape that is watched."""

    config: Config

    def stats(self) -> Stats: ...

    def when_ready(self) -> Deferred[None]: ...


class Supervised:
    """Sends what systemd should know of ``grape``, by ``notifier``.

    ``committing()`` returns the number of the commit to the state file that is under way, 0 for none: one that hangs
    for half of the watchdog's time is reason to be restarted, one that fails is not. ``monotonic()`` returns seconds of
    the system's monotonic clock.
    """

    def __init__(
        self,
        notifier: Notifier,
        grape: Watched,
        committing: Callable[[], int],
        clock: Clock,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._notifier = notifier
        self._grape = grape
        self._committing = committing
        self._clock = clock
        self._monotonic = monotonic
        self._timers: dict[Callable[[], None], Timer] = {}
        self._is_ready = False
        self._status = ""
        self._last_commit = 0

    def started(self) -> None:
        """Notes that the sockets are open. Says that the grape is ready once it has tried to join, or 3 s later."""
        self._is_ready = False
        self._call_later(JOIN_SECONDS, self._ready)
        self._grape.when_ready().addCallbacks(lambda _: self._ready(), lambda _: None)

    def reloading(self) -> None:
        """Says that the configuration is being read again; ``reloaded`` has to follow."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={int(self._monotonic() * 1e6)}")

    def reloaded(self) -> None:
        """Says that the grape goes on as usual."""
        self._send("READY=1")

    def stopping(self) -> None:
        """Says that the grape is about to stop, and how long it may take at most."""
        seconds = self._grape.config.drain + STOP_SECONDS
        self._send("STOPPING=1", f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}", "STATUS=stopping")
        for work in (self._ready, self._renew_status):
            self._cancel(work)

    def stopped(self) -> None:
        """Sends nothing more."""
        for work in list(self._timers):
            self._cancel(work)

    def failed(self, problem: str) -> None:
        """Says why the grape cannot start."""
        self._notifier.send(f"STATUS={problem}")

    def _ready(self) -> None:
        if self._is_ready:
            return
        self._is_ready = True
        self._cancel(self._ready)
        self._status = status_line(self._grape.stats(), len(self._grape.config.dht_bootstrap))
        self._send("READY=1", f"STATUS={self._status}")
        self._call_later(STATUS_SECONDS, self._renew_status)
        self._watch()

    def _renew_status(self) -> None:
        self._call_later(STATUS_SECONDS, self._renew_status)
        status = status_line(self._grape.stats(), len(self._grape.config.dht_bootstrap))
        if status != self._status:
            self._status = status
            self._send(f"STATUS={status}")

    def _watch(self) -> None:
        """Says that the process is alive, which this call shows of the reactor, unless a commit hangs."""
        seconds = self._notifier.watchdog_seconds
        if seconds is None:
            return
        commit = self._committing()
        is_hanging = commit > 0 and commit == self._last_commit
        if is_hanging:
            self._call_later(min(HANGING_SECONDS, seconds / 2), self._watch)
            return
        self._last_commit = commit
        self._send("WATCHDOG=1")
        self._call_later(seconds / 2, self._watch)

    def _send(self, *assignments: str) -> None:
        if not self._notifier.send(*assignments):
            log.warn("systemd could not be told: {told}", told=" ".join(assignments))

    def _call_later(self, seconds: float, work: Callable[[], None]) -> None:
        self._timers[work] = self._clock.callLater(seconds, work)

    def _cancel(self, work: Callable[[], None]) -> None:
        timer = self._timers.pop(work, None)
        if timer is not None and timer.active():
            timer.cancel()


def status_line(stats: Stats, bootstrap_nodes: int) -> str:
    """Returns what ``systemctl status`` shows of a grape that has so many bootstrap nodes."""
    parts = [counted(stats.contacts, "contact"), counted(stats.services, "service"), counted(stats.items, "item")]
    if not stats.contacts:
        nodes = counted(bootstrap_nodes, "bootstrap node")
        parts.insert(0, f"not joined, {nodes} asked" if bootstrap_nodes else "alone, no bootstrap nodes")
    if stats.degraded is not None:
        parts.append(f"state file: {stats.degraded}")
    return ", ".join(parts)
