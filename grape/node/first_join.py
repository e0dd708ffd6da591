"""Holds calls back in the first join after a start, until a node has answered.

A service asks its grape as soon as HTTP answers. A lookup made before the ring has answered would find nothing, and the
Node client keeps an empty result for ten seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from grape.coalesce import Cancellable
from grape.coalesce import deferred as deferred_of
from grape.errors import not_running
from grape.reactor import Clock, Timer

T = TypeVar("T")

# How long calls wait for the first answer, from the start of the join.
FIRST_ANSWER_SECONDS = 1.5
# When a call that has waited ends, from the start of the join: the Node client gives up after 2.5 s.
FIRST_CALL_SECONDS = 2.3

# Begins the work of a call, which may take that many seconds.
Begin = Callable[[float], Cancellable]


class _Waiting:
    """A call that waits, or the work that it has begun."""

    __slots__ = ("_begin", "_failed", "_join", "_seconds", "_work")

    def __init__(self, join: FirstJoin, begin: Begin, failed: Callable[[Failure], object], seconds: float) -> None:
        self._join = join
        self._begin = begin
        self._failed = failed
        self._seconds = seconds
        self._work: Cancellable | None = None

    def cancel(self) -> None:
        if not self._join.forget(self) and self._work is not None:
            self._work.cancel()

    def begin(self, left: float) -> None:
        try:
            self._work = self._begin(min(self._seconds, left))
        except Exception:
            self._failed(Failure())

    def refuse(self) -> None:
        self._failed(Failure(not_running()))


class FirstJoin:
    """Lets calls through, except between ``start()`` and ``over()`` or FIRST_ANSWER_SECONDS: then they wait."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: dict[_Waiting, None] = {}
        # Set while calls wait.
        self._timer: Timer | None = None
        self._ends_at = 0.0

    def start(self) -> None:
        """Makes calls wait: the join begins."""
        self._timer = self._clock.callLater(FIRST_ANSWER_SECONDS, self.over)
        self._ends_at = self._clock.seconds() + FIRST_CALL_SECONDS

    def over(self) -> None:
        """Lets the waiting calls begin, and later ones at once: a node has answered, or none does."""
        for call in self._end():
            call.begin(self._ends_at - self._clock.seconds())

    def stop(self) -> None:
        """Fails the waiting calls with ERR_GRAPE_NOT_RUNNING: the node stops."""
        for call in self._end():
            call.refuse()

    def run(self, begin: Begin, failed: Callable[[Failure], object], seconds: float) -> Cancellable:
        """Begins a call by ``begin(seconds)``, now or when the join is over; ``seconds`` is less for one that waited.

        Returns what cancels it. What ``begin`` raises now is raised; what it raises later is given to ``failed``.
        """
        if self._timer is None:
            return begin(seconds)
        waiting = _Waiting(self, begin, failed, seconds)
        self._waiting[waiting] = None
        return waiting

    def deferred(self, begin: Callable[[float], Deferred[T]], seconds: float) -> Deferred[T]:
        """Does what ``run`` does for a call that returns a Deferred."""
        if self._timer is None:
            return begin(seconds)
        return deferred_of(lambda done: self.run(lambda left: begin(left).addBoth(done), done, seconds))

    def forget(self, waiting: _Waiting) -> bool:
        """Drops a call that is cancelled. Returns False if it does not wait any more."""
        if waiting not in self._waiting:
            return False
        del self._waiting[waiting]
        return True

    def _end(self) -> list[_Waiting]:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
        waiting, self._waiting = list(self._waiting), {}
        return waiting
