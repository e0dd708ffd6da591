"""Own items: what was put through this grape, given to the nodes where it belongs, and again each hour (BEP 44).

An item that nobody has taken yet, because it was put while alone, goes to the first nodes that are met. Then it is
put again about once an hour, each item at its own time and few in a second: ten thousand of them are no storm, not
after a restart either.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from heapq import heapify, heappop, heappush

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from grape.dht.items import Item
from grape.dht.messages import SEQUENCE_TOO_LOW
from grape.krpc.traversal import WriteOutcome
from grape.protocol import DHTProtocol, ItemFound
from grape.reactor import Clock, Timer

MAX_OWN_ITEMS = 10_000
REPUBLISH_SECONDS = 3_600.0
# Each time is drawn from this share of the pause around it.
JITTER = 0.2
# The pause after nobody took an item.
RETRY_SECONDS = 60.0
MAX_UNDER_WAY = 16
# Ten thousand items an hour take three; a put of an item is some forty datagrams.
AGAIN_PER_SECOND = 6
FIRST_PER_SECOND = 100
TICK_SECONDS = 1.0

log = Logger(namespace="grape")


@attrs.define(slots=True)
class Own:
    """An item put here: when, when others took it last (None: nobody yet), and when it is put again."""

    item: Item
    at: float
    published: float | None = None
    due: float = 0.0


class OwnItems:
    """The items put through this grape, the latest MAX_OWN_ITEMS of them. ``jitter()`` is a random number, 0 to 1.

    ``changed(target)`` is called when an item was put, taken or dropped.
    """

    def __init__(
        self,
        clock: Clock,
        socket: Callable[[], DHTProtocol],
        jitter: Callable[[], float],
        changed: Callable[[bytes], object] = lambda target: None,
    ) -> None:
        self._changed = changed
        self.republished = 0
        self._clock = clock
        self._socket = socket
        self._jitter = jitter
        self._own: OrderedDict[bytes, Own] = OrderedDict()
        # Those to be put now, in turn; those to be put later, by time; those that nobody would take.
        self._now: OrderedDict[bytes, None] = OrderedDict()
        self._later: list[tuple[float, bytes]] = []
        self._untaken: OrderedDict[bytes, None] = OrderedDict()
        self._under_way: set[bytes] = set()
        self._first_left = self._again_left = 0
        self._timer: Timer | None = None
        self._running = False

    def __len__(self) -> int:
        return len(self._own)

    def get(self, target: bytes) -> Own | None:
        """What was put here under ``target``."""
        return self._own.get(target)

    def targets(self) -> list[bytes]:
        """All that were put here, the oldest first."""
        return list(self._own)

    def add(self, item: Item) -> Own | None:
        """Keep an item that is being put. Returns what it takes the place of, for ``take_back``."""
        target = item.target
        before = self._own.pop(target, None)
        self._own[target] = Own(item, self._clock.seconds())
        self._changed(target)
        if len(self._own) > MAX_OWN_ITEMS:
            oldest = next(iter(self._own))
            self._forget(oldest)
        return before

    def take_back(self, item: Item, before: Own | None) -> None:
        """The put failed: what was there before counts."""
        target = item.target
        own = self._own.get(target)
        if own is None or own.item is not item:
            return
        if before is None:
            self._forget(target)
        else:
            self._own[target] = before
            self._changed(target)
            if before.published is not None:
                # Its turn may have passed meanwhile.
                self._set(before, max(before.due, self._clock.seconds()))

    def alone(self, item: Item) -> None:
        """Nobody was there to take it: it waits for whom is met."""
        self._untaken[item.target] = None

    def taken(self, item: Item) -> None:
        """Others took it."""
        target = item.target
        own = self._own.get(target)
        if own is not None and own.item is item:
            own.published = self._clock.seconds()
            self._changed(target)
            self._set(own, own.published + self._pause())

    def restore(self, item: Item, at: float, published: float | None) -> None:
        """Takes back an item that was put before a restart."""
        target = item.target
        own = self._own[target] = Own(item, at, published)
        if published is None:
            self._untaken[target] = None
        else:
            self._set(own, published + self._pause())

    def contact_listed(self) -> None:
        """A contact came: what nobody would take may be taken now."""
        self._now.update(self._untaken)
        self._untaken.clear()
        if (self._now and not self._under_way) or (self._later and self._timer is None):
            self._wake(0.0)

    def start(self) -> None:
        """Put what is due."""
        self._running = True
        if self._later:
            self._wake(TICK_SECONDS)

    def stop(self) -> None:
        """Put nothing any more."""
        self._running = False
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def _forget(self, target: bytes) -> None:
        self._own.pop(target, None)
        self._now.pop(target, None)
        self._untaken.pop(target, None)
        self._changed(target)

    def _pause(self) -> float:
        return REPUBLISH_SECONDS * (1 + JITTER * (self._jitter() - 0.5))

    def _set(self, own: Own, due: float) -> None:
        own.due = due
        heappush(self._later, (due, own.item.target))
        if len(self._later) > 2 * MAX_OWN_ITEMS:
            # Most of them were put anew since, and have another time.
            self._later = [(each.due, target) for target, each in self._own.items() if each.due]
            heapify(self._later)
        if self._timer is None:
            self._wake(max(due - self._clock.seconds(), TICK_SECONDS))

    def _wake(self, delay: float) -> None:
        if self._running:
            if self._timer is not None and self._timer.active():
                self._timer.cancel()
            self._timer = self._clock.callLater(delay, self._tick)

    def _tick(self) -> None:
        self._timer = None
        try:
            self._first_left, self._again_left = FIRST_PER_SECOND, AGAIN_PER_SECOND
            self._put_due()
        except Exception:
            log.failure("own items could not be looked through")
        if not len(self._socket().table):
            # The next contact wakes it.
            return
        if self._now or self._under_way:
            self._wake(TICK_SECONDS)
        elif self._later:
            self._wake(max(self._later[0][0] - self._clock.seconds(), TICK_SECONDS))

    def _put_due(self) -> None:
        """Begin what may be begun: so many at once, so many in a second."""
        now, protocol = self._clock.seconds(), self._socket()
        if not len(protocol.table) or protocol.is_busy:
            return
        while self._now and self._first_left and len(self._under_way) < MAX_UNDER_WAY:
            self._first_left -= 1
            self._put(protocol, self._now.popitem(last=False)[0])
        while self._later and self._again_left and len(self._under_way) < MAX_UNDER_WAY and self._later[0][0] <= now:
            due, target = heappop(self._later)
            own = self._own.get(target)
            # One that was put anew since has its time elsewhere in the line.
            if own is not None and own.due == due:
                self._again_left -= 1
                self._put(protocol, target)

    def _put(self, protocol: DHTProtocol, target: bytes) -> None:
        own = self._own.get(target)
        if own is None or target in self._under_way:
            return
        self.republished += 1
        self._under_way.add(target)

        def done(written: WriteOutcome) -> Deferred[None] | None:
            if own.item.key is not None and any(refusal.code == SEQUENCE_TOO_LOW for refusal in written.refusals):
                # Its owner may have put a newer one elsewhere. Whoever says so has to show it, signed.
                return protocol.get(target, own.item.salt).addCallback(compare, written.accepted > 0)
            self._put_again(own, is_taken=written.accepted > 0)
            return None

        def compare(found: ItemFound, is_taken: bool) -> None:
            if found.item is None or found.item.seq <= own.item.seq:
                self._put_again(own, is_taken=is_taken)
            elif self._own.get(target) is own:
                self._forget(target)

        def over(_: object) -> None:
            self._under_way.discard(target)
            if self._running:
                self._put_due()

        protocol.put(own.item).addCallback(done).addErrback(self._failed, own).addCallback(over)

    def _put_again(self, own: Own, *, is_taken: bool) -> None:
        if is_taken:
            self.taken(own.item)
            return
        self._set(own, self._clock.seconds() + RETRY_SECONDS)
        if own.published is None:
            self._untaken[own.item.target] = None

    def _failed(self, failure: object, own: Own) -> None:
        log.warn("an own item could not be put again: {failure}", failure=failure)
        self._set(own, self._clock.seconds() + RETRY_SECONDS)
