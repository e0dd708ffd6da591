"""Marks addresses that are known only because other nodes named them, and that did not answer.

A published port, the sibling behind the same NAT, or a host's second address may be named by every node and answer none
of our queries. While such an address is marked, lookups query it without waiting for it. A mark ends with the first
datagram from the address; otherwise after 5 s, and then exactly one lookup waits for the address again: if that is in
vain, too, the next mark holds longer. Few marks stem from one node, so that it cannot make us forget the others.
"""

from __future__ import annotations

import attrs

from grape.dht.bounded import BoundedDict
from grape.dht.compact import Address

# How long the marks of an address hold, one after the other.
MARK_SECONDS = (5.0, 10.0, 20.0, 40.0, 60.0)
MAX_MARKS = 1_024
MAX_MARKS_PER_TELLER = 32


@attrs.define(slots=True)
class Mark:
    """The mark of an address: it holds ``until`` then, and is the number ``count`` in a row, from 0."""

    told_by: Address
    until: float
    count: int = 0


class Hearsay:
    """The marks of one node. Times are seconds on any steady clock.

    ``marks`` is empty while no address is marked; it is read on the path of every datagram.
    """

    def __init__(self) -> None:
        self.marks: BoundedDict[Address, Mark] = BoundedDict(MAX_MARKS)
        # The marked addresses that each node named, the oldest first.
        self._named: dict[Address, dict[Address, None]] = {}

    def is_awaited(self, address: Address, now: float) -> bool:
        """Returns True if a lookup that is about to query ``address`` is to wait for it.

        After a mark has ended that is true once: the next mark begins with it, provisionally.
        """
        mark = self.marks.get(address)
        if mark is None:
            return True
        if now < mark.until:
            return False
        mark.count += 1
        mark.until = now + MARK_SECONDS[min(mark.count, len(MARK_SECONDS) - 1)]
        self.marks.move_to_end(address)
        return True

    def unanswered(self, address: Address, told_by: Address, now: float) -> None:
        """Marks an address, named by the node at ``told_by``, that did not answer a lookup in time."""
        if address in self.marks:
            # Another lookup has marked it, or it is marked provisionally.
            return
        named = self._named.setdefault(told_by, {})
        if len(named) >= MAX_MARKS_PER_TELLER:
            self.heard(next(iter(named)))
        named[address] = None
        evicted = self.marks.put(address, Mark(told_by, now + MARK_SECONDS[0]))
        if evicted is not None:
            self._forget(*evicted)

    def heard(self, address: Address) -> None:
        """Ends the mark of an address, because something came from it."""
        mark = self.marks.pop(address, None)
        if mark is not None:
            self._forget(address, mark)

    def _forget(self, address: Address, mark: Mark) -> None:
        named = self._named[mark.told_by]
        del named[address]
        if not named:
            del self._named[mark.told_by]
