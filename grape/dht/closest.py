"""Keeps the closest nodes of keys with their write tokens, for as long as they are known to be the closest."""

from __future__ import annotations

from collections.abc import Sequence

from grape.dht.bounded import BoundedDict
from grape.dht.candidates import Candidate, Found
from grape.dht.nodeid import position
from grape.dht.routing import MAX_GONE, K, RoutingTable

TOKEN_REUSE_SECONDS = 300.0


class ClosestSets:
    """The closest nodes that lookups found, of the ``max_tables`` keys looked up last. Times are seconds.

    They serve writes for five minutes, unless since then a contact came that is closer than one of them, or one left.
    """

    def __init__(self, table: RoutingTable, max_tables: int) -> None:
        self._table = table
        # With when they were found, and the latest version of the routing table for which they are the closest.
        self._found: BoundedDict[bytes, tuple[Found, float, int]] = BoundedDict(max_tables)

    def resize(self, max_tables: int) -> None:
        """Keeps at most ``max_tables`` keys from now on."""
        self._found.resize(max_tables)

    def put(self, key: bytes, found: Found, now: float) -> None:
        """Keeps the result of a lookup, unless it is incomplete or empty."""
        if found.complete and found.closest:
            self._found.put(key, (found, now, self._table.version))

    def get(self, key: bytes, now: float) -> Found | None:
        """Returns the result of a lookup whose nodes are still the closest that we know; None if there is none.

        While a slow node may still answer that lookup there is none, either: a write would miss it.
        """
        kept = self._found.get(key)
        if kept is None:
            return None
        found, at, version = kept
        if now - at > TOKEN_REUSE_SECONDS or not self._are_closest(key, found.closest, version):
            del self._found[key]
            return None
        if version != self._table.version:
            # In place: being checked does not make it the newest.
            self._found[key] = (found, at, self._table.version)
        return found if found.is_settled else None

    def clear(self) -> None:
        """Forgets the closest nodes of all keys."""
        self._found.clear()

    def forget(self, key: bytes) -> None:
        """Forgets the closest nodes of a key."""
        self._found.pop(key, None)

    def _are_closest(self, key: bytes, closest: Sequence[Candidate], version: int) -> bool:
        """Returns True if since ``version`` no contact came that is closer than one of ``closest``, and none left."""
        table = self._table
        if version == table.version:
            return True
        if table.version - version > MAX_GONE:
            # More contacts may have gone than the table remembers.
            return False
        if not table.gone_since(version).isdisjoint(holder.node_id for holder in closest):
            return False
        addresses = {holder.address for holder in closest}
        place = position(key)
        other = next((c for c in table.closest(place, sound=True) if c.address not in addresses), None)
        return other is None or (len(closest) >= K and other.position ^ place >= closest[-1].distance)
