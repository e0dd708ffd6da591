"""Virtual time: a clock for a whole simulated network."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count

from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer


@implementer(IDelayedCall)
class HeapCall:
    """A call that is due at a moment of a HeapClock."""

    __slots__ = ("_clock", "arguments", "at", "call", "called", "keywords")

    def __init__(
        self,
        clock: HeapClock,
        at: float,
        call: Callable[..., object],
        arguments: tuple[object, ...],
        keywords: dict[str, object],
    ) -> None:
        self._clock = clock
        self.at = at
        self.call: Callable[..., object] | None = call
        self.arguments = arguments
        self.keywords = keywords
        self.called = False

    def getTime(self) -> float:
        return self.at

    def active(self) -> bool:
        return self.call is not None

    def cancel(self) -> None:
        """Take the call back."""
        if self.called:
            raise AlreadyCalled
        if self.call is None:
            raise AlreadyCancelled
        self.call = None
        self._clock.cancelled()

    def delay(self, secondsLater: float) -> None:
        self.reset(self.at + secondsLater - self._clock.seconds())

    def reset(self, secondsFromNow: float) -> None:
        """Have it happen that many seconds from now."""
        call = self.call
        if call is None:
            raise AlreadyCalled if self.called else AlreadyCancelled
        self.call = None
        self._clock.cancelled()
        self.at = self._clock.seconds() + secondsFromNow
        self.call = call
        self._clock.push(self)


@implementer(IReactorTime)
class HeapClock:
    """Virtual time. ``twisted.internet.task.Clock`` sorts all its calls at every new one; this is a heap."""

    def __init__(self) -> None:
        self._now = 0.0
        self._heap: list[tuple[float, int, HeapCall]] = []
        self._order = count()
        self._dead = 0

    def seconds(self) -> float:
        """The time, from 0."""
        return self._now

    def callLater(self, delay: float, callable: Callable[..., object], *args: object, **kwargs: object) -> HeapCall:
        """Call something ``delay`` seconds from now."""
        at = self._now + delay
        call = HeapCall(self, at, callable, args, kwargs)
        heappush(self._heap, (at, next(self._order), call))
        return call

    def getDelayedCalls(self) -> list[HeapCall]:
        """The calls that are due some time."""
        return [call for at, _, call in self._heap if call.call is not None and call.at == at]

    def push(self, call: HeapCall) -> None:
        heappush(self._heap, (call.at, next(self._order), call))

    def cancelled(self) -> None:
        """A call was taken back; its place in the heap is cleared away with many others."""
        self._dead += 1
        if self._dead > 1_000 and self._dead * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].call is not None and entry[2].at == entry[0]]
            heapify(self._heap)
            self._dead = 0

    def next_at(self) -> float | None:
        """When the next call is due."""
        heap = self._heap
        while heap and (heap[0][2].call is None or heap[0][2].at != heap[0][0]):
            heappop(heap)
        return heap[0][0] if heap else None

    def step(self) -> bool:
        """Go to the next call and make it. False if there is none."""
        at = self.next_at()
        if at is None:
            return False
        call = heappop(self._heap)[2]
        if at > self._now:
            self._now = at
        function, call.call, call.called = call.call, None, True
        assert function is not None
        function(*call.arguments, **call.keywords)
        return True

    def advance(self, seconds: float) -> None:
        """Let time pass, with all that is due in it."""
        end = self._now + seconds
        while self._heap and self._heap[0][0] <= end:
            at, _, call = heappop(self._heap)
            function = call.call
            if function is None or call.at != at:
                continue
            if at > self._now:
                self._now = at
            call.call, call.called = None, True
            function(*call.arguments, **call.keywords)
        self._now = end
