"""Provides the bounded dictionary for everything that other hosts can make us remember.

Under 60 lines: it is the one eviction rule that the core, the node and the stores share.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


class BoundedDict(OrderedDict[K, V]):
    """Holds at most ``max_size`` entries: above that ``put`` evicts the entry that was put or touched longest ago.

    Reading does not count as use; ``move_to_end(key)`` does. Entries are added by ``put`` alone: assignment to a new
    key would exceed the bound (checking it there too would make every assignment a Python call).
    """

    def __init__(self, max_size: int) -> None:
        super().__init__()
        self.max_size = max_size

    def resize(self, max_size: int) -> list[tuple[K, V]]:
        """Sets the number of entries. Returns those evicted for it, the oldest first."""
        self.max_size = max_size
        return [self.popitem(last=False) for _ in range(len(self) - max_size)]

    def put(self, key: K, value: V) -> tuple[K, V] | None:
        """Sets an entry and makes it the newest. Returns the entry that was evicted for it, None if none was."""
        self[key] = value
        self.move_to_end(key)
        return self.popitem(last=False) if len(self) > self.max_size else None
