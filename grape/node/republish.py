"""Puts the items that were put through this grape again, about every hour (BEP 44).

An item that no node has taken yet, because it was put while this grape was alone, is put on the first nodes that are
met. After that each item is put again at its own time, few in a second: ten thousand items never come all at once, not
even after a restart.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from heapq import heapify, heappop, heappush

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from grape.dht.bounded import BoundedDict
from grape.dht.items import Item
from grape.dht.messages import SEQUENCE_TOO_LOW
from grape.krpc.traversal import WriteOutcome
from grape.metrics import Counters
from grape.protocol import DHTProtocol, ItemFound
from grape.reactor import Clock, Timer

MAX_OWN_ITEMS = 10_000
REPUBLISH_SECONDS = 3_600.0
# Each pause is drawn at random from this share of REPUBLISH_SECONDS around it.
JITTER = 0.2
# The pause after a put that no node accepted.
RETRY_SECONDS = 60.0
MAX_UNDER_WAY = 16
# Ten thousand items an hour are three a second; a put is about forty datagrams.
AGAIN_PER_SECOND = 6
FIRST_PER_SECOND = 100
TICK_SECONDS = 1.0

log = Logger(namespace="grape.node")


@attrs.define(slots=True)
class Own:
    """An item put through this grape: when, when other nodes took it last (None: not yet), and when it is due again."""

    item: Item
    at: float
    published: float | None = None
    due: float = 0.0


class OwnItems:
    """The items put through this grape, the latest ``max_items`` of them; puts each again when it is due.

    ``socket()`` returns the node's protocol, ``jitter()`` a random number from 0 to 1. ``changed(target)`` is called
    when an item was put, taken by other nodes, or dropped.
    """

    def __init__(
        self,
        clock: Clock,
        socket: Callable[[], DHTProtocol],
        jitter: Callable[[], float],
        changed: Callable[[bytes], object] = lambda target: None,
        counters: Counters | None = None,
        max_items: int = MAX_OWN_ITEMS,
    ) -> None:
        self._clock = clock
        self._socket = socket
        self._jitter = jitter
        self._changed = changed
        self._counters = counters if counters is not None else Counters()
        self._own: BoundedDict[bytes, Own] = BoundedDict(max_items)
        # Targets to put now, in this order; a heap of those to put later, by time; those that nobody has taken yet.
        self._now: OrderedDict[bytes, None] = OrderedDict()
        self._later: list[tuple[float, bytes]] = []
        self._untaken: OrderedDict[bytes, None] = OrderedDict()
        self._under_way: set[bytes] = set()
        # How many puts may begin in this second.
        self._first_left = self._again_left = 0
        self._timer: Timer | None = None
        self._running = False

    def __len__(self) -> int:
        return len(self._own)

    def get(self, target: bytes) -> Own | None:
        """Returns the item put here under ``target``, None if there is none."""
        return self._own.get(target)

    def targets(self) -> list[bytes]:
        """Returns the targets of all items put here, the oldest first."""
        return list(self._own)

    def add(self, item: Item) -> Own | None:
        """Adds an item that is being put. Returns the one that it replaces, for ``take_back``."""
        target = item.target
        before = self._own.get(target)
        evicted = self._own.put(target, Own(item, self._clock.seconds()))
        self._changed(target)
        if evicted is not None:
            self._forget(evicted[0])
        return before

    def take_back(self, item: Item, before: Own | None) -> None:
        """Undoes ``add`` after a put that failed; ``before`` is what that returned."""
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
                # Its time may have passed meanwhile.
                self._schedule(before, max(before.due, self._clock.seconds()))

    def not_taken(self, item: Item) -> None:
        """Notes that no other node took an item: it is put when a contact is listed, and in RETRY_SECONDS."""
        target = item.target
        self._untaken[target] = None
        own = self._own.get(target)
        if own is not None and own.item is item:
            # A contact that is only restarting is not listed again.
            self._schedule(own, self._clock.seconds() + RETRY_SECONDS)

    def taken(self, item: Item) -> None:
        """Notes that other nodes took an item, and schedules its next put."""
        target = item.target
        own = self._own.get(target)
        if own is not None and own.item is item:
            own.published = self._clock.seconds()
            self._changed(target)
            self._schedule(own, own.published + self._pause())

    def restore(self, item: Item, at: float, published: float | None) -> None:
        """Takes an item back from before a restart: when it was put, and when other nodes took it last."""
        target = item.target
        own = Own(item, at, published)
        evicted = self._own.put(target, own)
        if evicted is not None:
            self._forget(evicted[0])
        if published is None:
            self._untaken[target] = None
        else:
            self._schedule(own, published + self._pause())

    def contact_listed(self) -> None:
        """Puts what nobody has taken yet, because a contact was listed."""
        self._now.update(self._untaken)
        self._untaken.clear()
        if (self._now and not self._under_way) or (self._later and self._timer is None):
            self._wake(0.0)

    def start(self) -> None:
        """Begins to put what is due."""
        self._running = True
        if self._later:
            self._wake(TICK_SECONDS)

    def stop(self) -> None:
        """Puts no more items; they are kept."""
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

    def _schedule(self, own: Own, due: float) -> None:
        own.due = due
        heappush(self._later, (due, own.item.target))
        if len(self._later) > 2 * self._own.max_size:
            # Most entries are of items that were put again since and have another one.
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
            log.failure("own items that are due could not be put; retrying in {seconds} s", seconds=TICK_SECONDS)
        if not len(self._socket().table):
            # ``contact_listed`` wakes it.
            return
        if self._now or self._under_way:
            self._wake(TICK_SECONDS)
        elif self._later:
            self._wake(max(self._later[0][0] - self._clock.seconds(), TICK_SECONDS))

    def _put_due(self) -> None:
        """Begins the puts that are due, within the limits on puts under way and in a second."""
        now, protocol = self._clock.seconds(), self._socket()
        if not len(protocol.table) or protocol.is_busy:
            return
        while self._now and self._first_left and len(self._under_way) < MAX_UNDER_WAY:
            self._first_left -= 1
            self._put(protocol, self._now.popitem(last=False)[0])
        while self._later and self._again_left and len(self._under_way) < MAX_UNDER_WAY and self._later[0][0] <= now:
            due, target = heappop(self._later)
            own = self._own.get(target)
            # An item that was put again since has another entry.
            if own is not None and own.due == due:
                self._again_left -= 1
                self._put(protocol, target)

    def _put(self, protocol: DHTProtocol, target: bytes) -> None:
        own = self._own.get(target)
        if own is None or target in self._under_way:
            return
        self._counters.republished += 1
        self._under_way.add(target)

        def done(written: WriteOutcome) -> Deferred[None] | None:
            if own.item.key is not None and any(refusal.code == SEQUENCE_TOO_LOW for refusal in written.refusals):
                # Its owner may have put a newer one elsewhere. A node that says so has to show it, signed.
                return protocol.get(target, own.item.salt).addCallback(compare, written.accepted > 0)
            self._put_again(own, is_taken=written.accepted > 0)
            return None

        def compare(found: ItemFound, is_taken: bool) -> None:
            if found.item is None or found.item.seq <= own.item.seq:
                self._put_again(own, is_taken=is_taken)
            elif self._own.get(target) is own:
                self._forget(target)

        def ended(_: object) -> None:
            self._under_way.discard(target)
            if self._running:
                self._put_due()

        protocol.put(own.item).addCallback(done).addErrback(self._failed, own).addCallback(ended)

    def _put_again(self, own: Own, *, is_taken: bool) -> None:
        if is_taken:
            self.taken(own.item)
            return
        self._schedule(own, self._clock.seconds() + RETRY_SECONDS)
        if own.published is None:
            self._untaken[own.item.target] = None

    def _failed(self, failure: Failure, own: Own) -> None:
        log.warn("item {hash} could not be put again; retrying in {seconds} s: {error}",
                 hash=own.item.target.hex(), seconds=RETRY_SECONDS, error=failure.value)  # fmt: skip
        self._schedule(own, self._clock.seconds() + RETRY_SECONDS)
