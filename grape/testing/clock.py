"""Virtual time: a clock for a whole simulated network."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import chain, count

from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

SLOTS_PER_SECOND = 1_024
# Places of calls that were taken back, beyond as many as there are others, before they are cleared away.
MIN_DEAD = 1_000


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

    def make(self) -> None:
        """Make the call."""
        function, self.call, self.called = self.call, None, True
        assert function is not None
        function(*self.arguments, **self.keywords)

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


# When something is due, its place among what is due then, and the call that it is; or, if nobody can take it back,
# what to call then.
Entry = tuple[float, int, "HeapCall | None", Callable[..., object], tuple[object, ...]]


@implementer(IReactorTime)
class HeapClock:
    """Virtual time. ``twisted.internet.task.Clock`` sorts all its calls at every new one; this has a heap of those that
    are due within the millisecond, and keeps the others by theirs."""

    def __init__(self) -> None:
        self._now = 0.0
        self._order = count()
        # What is due up to the end of the slot of time that was opened last; later ones, and which there are.
        self._heap: list[Entry] = []
        self._slot = -1
        self._slots: dict[int, list[Entry]] = {}
        self._numbers: list[int] = []
        self._dead = 0
        self._most_dead = MIN_DEAD

    def seconds(self) -> float:
        """The time, from 0."""
        return self._now

    def callLater(self, delay: float, callable: Callable[..., object], *args: object, **kwargs: object) -> HeapCall:
        """Call something ``delay`` seconds from now."""
        call = HeapCall(self, self._now + delay, callable, args, kwargs)
        self.push(call)
        return call

    def post(self, delay: float, function: Callable[..., object], *arguments: object) -> None:
        """The same for what nobody takes back, as a datagram on its way: it costs less, and is no delayed call."""
        self._put((self._now + delay, next(self._order), None, function, arguments))

    def getDelayedCalls(self) -> list[HeapCall]:
        """The calls that are due some time and can be taken back."""
        entries = chain(self._heap, *self._slots.values())
        return [entry[2] for entry in entries if entry[2] is not None and _is_alive(entry)]

    def push(self, call: HeapCall) -> None:
        self._put((call.at, next(self._order), call, call.make, ()))

    def cancelled(self) -> None:
        """A call was taken back; its place is cleared away with many others."""
        self._dead += 1
        if self._dead > self._most_dead:
            self._heap[:] = filter(_is_alive, self._heap)
            heapify(self._heap)
            alive = {number: list(filter(_is_alive, entries)) for number, entries in self._slots.items()}
            self._slots = {number: entries for number, entries in alive.items() if entries}
            self._numbers = sorted(self._slots)
            self._dead = 0
            self._most_dead = MIN_DEAD + sum(map(len, self._slots.values()))

    def next_at(self) -> float | None:
        """When the next call is due."""
        heap = self._heap
        while True:
            while heap and not _is_alive(heap[0]):
                heappop(heap)
            if heap:
                return heap[0][0]
            if not self._numbers:
                return None
            self._open_slot()

    def step(self) -> bool:
        """Go to the next call and make it. False if there is none."""
        at = self.next_at()
        if at is None:
            return False
        _, _, _, function, arguments = heappop(self._heap)
        if at > self._now:
            self._now = at
        function(*arguments)
        return True

    def advance(self, seconds: float) -> None:
        """Let time pass, with all that is due in it."""
        end = self._now + seconds
        last = int(end * SLOTS_PER_SECOND)
        heap = self._heap
        while True:
            while heap and heap[0][0] <= end:
                at, _, call, function, arguments = heappop(heap)
                if call is None or (call.call is not None and call.at == at):
                    if at > self._now:
                        self._now = at
                    function(*arguments)
            if heap or not self._numbers or self._numbers[0] > last:
                break
            self._open_slot()
        self._now = end

    def _put(self, entry: Entry) -> None:
        number = int(entry[0] * SLOTS_PER_SECOND)
        if number <= self._slot:
            heappush(self._heap, entry)
        elif (entries := self._slots.get(number)) is None:
            self._slots[number] = [entry]
            heappush(self._numbers, number)
        else:
            entries.append(entry)

    def _open_slot(self) -> None:
        """Go on to the next slot of time, when nothing is left in the one before."""
        self._slot = heappop(self._numbers)
        self._heap += self._slots.pop(self._slot)
        self._heap.sort()


def _is_alive(entry: Entry) -> bool:
    """Whether an entry is still to be made then: no call that was made, or taken back, or moved to another moment."""
    call = entry[2]
    return call is None or (call.call is not None and call.at == entry[0])
