"""Delays calls during the first join after a start until a node has answered.

A service calls its grape as soon as HTTP answers. A lookup made before another node has answered would find nothing,
and the Node client keeps an empty result for ten seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from grape.coalesce import Cancellable
from grape.coalesce import deferred as deferred_of
from grape.errors import not_running
from grape.reactor import Clock, Timer

T = TypeVar("T")

log = Logger(namespace="grape.node")

# How long calls wait for the first answer, from the start of the join.
FIRST_ANSWER_SECONDS = 1.5
# When a call that has waited ends at the latest, from the start of the join: the Node client gives up after 2.5 s.
FIRST_CALL_SECONDS = 2.3

# Begins the work of a call, which may take the given number of seconds.
Begin = Callable[[float], Cancellable]


class _Waiting:
    """A call that waits, then the work that it has begun."""

    __slots__ = ("_begin", "_failed", "_join", "_seconds", "_work")

    def __init__(self, join: FirstJoin, begin: Begin, failed: Callable[[Failure], object], seconds: float) -> None:
        self._join = join
        self._begin = begin
        self._failed = failed
        self._seconds = seconds
        self._work: Cancellable | None = None

    def cancel(self) -> None:
        """Ends the call without a result, whether it waits or has begun."""
        if not self._join.forget(self) and self._work is not None:
            self._work.cancel()

    def begin(self, left: float) -> None:
        """Begins the work, which may take ``left`` seconds at most."""
        try:
            self._work = self._begin(min(self._seconds, left))
        except Exception:
            self.fail(Failure())

    def fail(self, failure: Failure) -> None:
        """Gives the caller a failure; logs what the caller raises, so that the calls after it still end."""
        try:
            self._failed(failure)
        except Exception:
            log.failure("callback {callback} for the result of a call that waited raised", callback=self._failed)


class FirstJoin:
    """Begins calls at once, except from ``start()`` until ``over()`` or for FIRST_ANSWER_SECONDS: then they wait."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: dict[_Waiting, None] = {}
        # Set while calls wait: from ``start()`` on.
        self._timer: Timer | None = None
        self._ends_at = 0.0
        #: True while calls wait.
        self.is_under_way = False

    def start(self) -> None:
        """Makes calls wait: the join begins."""
        self._timer = self._clock.callLater(FIRST_ANSWER_SECONDS, self.over)
        self.is_under_way = True
        self._ends_at = self._clock.seconds() + FIRST_CALL_SECONDS

    def over(self) -> None:
        """Begins the waiting calls, in the order in which they were made, and from now on each call at once."""
        for call in self._end():
            call.begin(self._ends_at - self._clock.seconds())

    def stop(self) -> None:
        """Fails the waiting calls with ERR_GRAPE_NOT_RUNNING, because the node stops."""
        for call in self._end():
            call.fail(Failure(not_running()))

    def run(self, begin: Begin, failed: Callable[[Failure], object], seconds: float) -> Cancellable:
        """Begins a call by ``begin(seconds)``: at once, or when the join is over and then with fewer seconds.

        Returns the handle that cancels the call. An exception of ``begin`` is raised if it begins at once, and given to
        ``failed`` if it begins later.
        """
        if not self.is_under_way:
            return begin(seconds)
        waiting = _Waiting(self, begin, failed, seconds)
        self._waiting[waiting] = None
        return waiting

    def deferred(self, begin: Callable[[float], Deferred[T]], seconds: float) -> Deferred[T]:
        """Does what ``run`` does for a call that returns a Deferred."""
        if not self.is_under_way:
            return begin(seconds)
        return deferred_of(lambda done: self.run(lambda left: begin(left).addBoth(done), done, seconds))

    def forget(self, waiting: _Waiting) -> bool:
        """Removes a call that is cancelled. Returns False if it no longer waits."""
        if waiting not in self._waiting:
            return False
        del self._waiting[waiting]
        return True

    def _end(self) -> list[_Waiting]:
        self.is_under_way = False
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
        waiting, self._waiting = list(self._waiting), {}
        return waiting
