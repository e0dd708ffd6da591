"""Counts queries by their method and sorts measured times into histograms: plain numbers, for the hot paths.

The methods are those of BEP 5 and BEP 44, and unannounce_peer; all that a node does not know are counted as ``other``.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import ClassVar, Literal, TypeAlias, get_args

METHODS = ("ping", "find_node", "get_peers", "announce_peer", "unannounce_peer", "get", "put")
OTHER = "other"
_NAMES = {name.encode(): name for name in METHODS}

# The upper bounds of a histogram's buckets, in seconds: from a round trip on one host to a lookup that finds nothing.
BOUNDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

#: What a lookup looks for: peers, an item, the closest nodes, or nodes to write to.
Kind: TypeAlias = Literal["peers", "item", "nodes", "write"]
KINDS: tuple[Kind, ...] = get_args(Kind)

# More than come between two calls of ``Times.histogram``; without these calls the oldest are lost.
MAX_UNSORTED = 65_536


def name_of(method: bytes) -> str:
    """Returns the name that queries of a method are counted under."""
    return _NAMES.get(method, OTHER)


class ByMethod:
    """A number of queries of each method. Each name is that of a method, so that a count is one increment."""

    __slots__ = (*METHODS, OTHER)

    def __init__(self) -> None:
        self.ping = self.find_node = self.get_peers = self.announce_peer = self.unannounce_peer = 0
        self.get = self.put = self.other = 0

    def count(self, method: bytes) -> None:
        """Adds one query of ``method``; where it is known beforehand, an increment of the attribute is faster."""
        name = name_of(method)
        setattr(self, name, getattr(self, name) + 1)

    def __iter__(self) -> Iterator[tuple[str, int]]:
        """Returns each name with its number."""
        return iter([(name, getattr(self, name)) for name in (*METHODS, OTHER)])

    @property
    def total(self) -> int:
        """The number of queries of all methods."""
        return sum(number for _, number in self)


class Sent:
    """The queries of one method that this node sent, and how many have ended in which way; the others are in flight."""

    # Not by attrs, which would take 1 ms of a start.
    __slots__ = ("abandoned", "answered", "errors", "invalid", "not_sent", "send_errors", "sent", "timed_out")

    def __init__(self) -> None:
        #: Queries sent.
        self.sent = 0
        #: Ended by a valid response.
        self.answered = 0
        #: Ended by a KRPC error.
        self.errors = 0
        #: Ended without an answer, after 2 s.
        self.timed_out = 0
        #: Ended by a response without a node id, or with our own.
        self.invalid = 0
        #: Ended because the node stopped.
        self.abandoned = 0
        #: Not sent because too many were in flight.
        self.not_sent = 0
        #: Not sent because the operating system refused the datagram.
        self.send_errors = 0


class SentByMethod(dict[bytes, Sent]):
    """The queries sent of each method; ``sent[method]`` is that of all others for a method that is not known."""

    def __init__(self) -> None:
        super().__init__({method: Sent() for method in _NAMES})
        self._other = Sent()

    def __missing__(self, method: bytes) -> Sent:
        return self._other

    def by_name(self) -> list[tuple[str, Sent]]:
        """Returns the name of each method with its counts."""
        return [*((name, self[method]) for method, name in _NAMES.items()), (OTHER, self._other)]

    def total(self, field: str) -> int:
        """Returns the sum of one field of ``Sent`` over all methods."""
        return sum(getattr(sent, field) for _, sent in self.by_name())


class Histogram:
    """The number of measured times up to each of ``bounds``, and their sum, in seconds."""

    bounds: ClassVar[tuple[float, ...]] = BOUNDS

    def __init__(self) -> None:
        self.count = 0
        self.sum = 0.0
        # How many were longer than the bound before, and not than the bound at this place.
        self._within = [0] * len(BOUNDS)

    @property
    def cumulative(self) -> list[int]:
        """How many were not longer than the bound at the same place of ``bounds``."""
        return list(accumulate(self._within))

    def add(self, seconds: Iterable[float]) -> None:
        """Adds times, best many at once: 0.05 us each for a hundred and more."""
        ordered = sorted(seconds)
        count = len(ordered)
        self.count += count
        self.sum += sum(ordered)
        at = 0
        for index, bound in enumerate(BOUNDS):
            if at == count:
                break
            before, at = at, bisect_right(ordered, bound, at)
            self._within[index] += at - before


class Times:
    """Measures how long something takes: times are kept as they come, and sorted into a histogram when it is read."""

    __slots__ = ("_histogram", "_unsorted", "add")

    def __init__(self) -> None:
        self._histogram = Histogram()
        self._unsorted: deque[float] = deque(maxlen=MAX_UNSORTED)
        #: Adds a time, in seconds: an append, and nothing else.
        self.add: Callable[[float], object] = self._unsorted.append

    def histogram(self) -> Histogram:
        """Returns the histogram of all times that were added; to be called every few seconds."""
        self._histogram.add(self._unsorted)
        self._unsorted.clear()
        return self._histogram


class LookupTimes(dict[Kind, Times]):
    """How long the lookups of each kind took that were not cancelled."""

    def __init__(self) -> None:
        super().__init__({kind: Times() for kind in KINDS})
