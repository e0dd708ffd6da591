"""Keeps the routing table (BEP 5): contacts in buckets by the number of leading bits that they share with our id.

A contact is listed only after it answered a query of ours. It is *good* while it answered within the last 15
minutes, *questionable* after that or after one failed query, *bad* (and dropped) after three failed ones in a row.
Only the last bucket, the one nearest to our id, splits; a full bucket keeps later nodes as replacements.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from enum import Enum
from itertools import islice, takewhile
from operator import attrgetter

from grape.dht.addresses import AddressRules, PrivateRules, is_loopback
from grape.dht.bep42 import is_secure
from grape.dht.bounded import BoundedDict
from grape.dht.buckets import REPLACEMENTS_PER_BUCKET, Bucket, Contact, nearest_first
from grape.dht.compact import NODE_BYTES, Address
from grape.dht.nodeid import ID_BITS, position, shared_bits

K = 20
BAD_AFTER_FAILURES = 3
# Two failed queries to a contact in a row, and a node with the same id that answers elsewhere takes its place.
MOVED_AFTER_FAILURES = 2
RELEARN_SECONDS = 60.0
# A dropped address is pinged again from then on: the node may be back and not know that it was dropped.
LOST_SECONDS = 5.0
MAX_DROPPED = 256
# Results are cached for each 1,024th of the id space.
PART_SHIFT = ID_BITS - 10
MAX_GONE = 1_024
# A node that restarts may have a new id at once; one that keeps changing its id is not followed.
RENAME_SECONDS = 60.0
RENAMES = 3
MAX_RENAMED = 4_096


class Listed(Enum):
    """Says what the table did with a node that answered."""

    NEW = "new"
    KNOWN = "known"
    REPLACEMENT = "replacement"
    REFUSED = "refused"


KNOWN = Listed.KNOWN


class RoutingTable:
    """Holds the contacts of the node ``own_id``, up to ``k`` a bucket. Times are seconds on any steady clock.

    ``version`` changes whenever a contact is added or removed: results derived from the table hold until then.
    ``loopback_contacts`` counts the contacts at loopback addresses.
    """

    def __init__(self, own_id: bytes, k: int = K, rules: AddressRules | None = None) -> None:
        self.own_id = own_id
        self.rules: AddressRules = rules if rules is not None else PrivateRules()
        self.version = 0
        self.loopback_contacts = 0
        self._k = k
        self._own = position(own_id)
        self._buckets = [Bucket()]
        self._by_address: dict[Address, Contact] = {}
        self._by_id: dict[bytes, Contact] = {}
        # Two methods of dictionaries, without a Python call around them: each query that arrives needs one or both.
        #: Returns the contact listed at an address, or None.
        self.at: Callable[[Address], Contact | None] = self._by_address.get
        #: Returns the contact listed under a node id, or None.
        self.with_id: Callable[[bytes], Contact | None] = self._by_id.get
        # Addresses that were dropped as bad, and until when other nodes' reports of them are ignored.
        self._dropped: BoundedDict[Address, float] = BoundedDict(MAX_DROPPED)
        # True if a contact may have failed last; and a time since which all contacts were seen.
        self._has_doubtful = False
        self._seen_since = -math.inf
        # The compact form of the contacts closest to each part of the space, until a contact changes its state: a
        # get_peers takes 2 us instead of 22 (benchmarks.micro without it). Under ~part: without loopback contacts.
        self._compact: dict[int, bytes] = {}
        # These contacts themselves, and their ids with addresses, until one is added or removed.
        self._near: dict[int, tuple[list[Contact], frozenset[tuple[bytes, Address]]]] = {}
        # The ids of the latest removed contacts, each with the version before its removal.
        self._gone: deque[tuple[int, bytes]] = deque(maxlen=MAX_GONE)
        # Addresses whose id changed: until when changes are counted, and how many there were.
        self._renamed: BoundedDict[Address, tuple[float, int]] = BoundedDict(MAX_RENAMED)

    def __len__(self) -> int:
        return len(self._by_address)

    def __iter__(self) -> Iterator[Contact]:
        return iter(list(self._by_address.values()))

    def adopt(self, own_id: bytes) -> None:
        """Takes another own id, the one from before a restart; only while no contact is listed."""
        assert not self._by_address
        self.own_id = own_id
        self._own = position(own_id)

    def is_worth_asking(self, address: Address, now: float) -> bool:
        """Returns False for an address that was dropped within the last minute: others' reports of it are ignored."""
        return self._dropped.get(address, now) <= now

    def lost(self, count: int, now: float) -> list[Address]:
        """Returns addresses that were dropped more than LOST_SECONDS ago, to be tried again.

        Looks at the first ``count`` of the dropped, and moves those that it returns behind the others.
        """
        latest = now + RELEARN_SECONDS - LOST_SECONDS
        due = [address for address, until in islice(self._dropped.items(), count) if until <= latest]
        for address in due:
            self._dropped.move_to_end(address)
        return due

    def heard(self, node_id: bytes, address: Address, now: float, round_trip: float = 0.0) -> Listed:
        """Records that the node ``node_id`` answered from ``address`` after ``round_trip`` seconds; lists it if it can.

        Refused are our own id, an id whose contact at another address has not failed MOVED_AFTER_FAILURES times, and a
        new id at an address that changed its id RENAMES times within a minute. For the public profile see
        ``addresses.PublicRules``, too.
        A ``round_trip`` of 0 is not measured.
        """
        contact = self._by_address.get(address)
        if contact is not None and contact.id == node_id:
            contact.heard_at = contact.seen_at = now
            contact.is_silent = False
            if contact.failures:
                contact.failures = 0
                self._compact.clear()
            contact.measured(round_trip)
            return KNOWN
        if node_id == self.own_id:
            return Listed.REFUSED
        self._dropped.pop(address, None)
        if contact is not None:
            until, renames = self._renamed.get(address, (now, 0))
            if now < until and renames >= RENAMES:
                return Listed.REFUSED
            # The node restarted under a new id: the old one will never answer again.
            self._renamed.put(address, (until, renames + 1) if now < until else (now + RENAME_SECONDS, 1))
            self._remove(contact)
        contact = Contact(node_id, address, now)
        contact.measured(round_trip)
        listed = self._by_id.get(node_id)
        if listed is not None:
            if listed.failures < MOVED_AFTER_FAILURES:
                # The same id at another address: the address that works is kept. One lost datagram is no failure of it.
                return Listed.REFUSED
            self._remove(listed)
            self._dropped.put(listed.address, now + RELEARN_SECONDS)
        return self._insert(contact)

    def silent(self, address: Address) -> None:
        """Records that ``address`` let two queries in a row become slow, or that its process is gone.

        Lookups do not wait for it until it answers; it is pinged soon, and told to others as before.
        """
        contact = self._by_address.get(address)
        if contact is not None:
            contact.is_silent = self._has_doubtful = True

    def failed(self, address: Address, sent_at: float, now: float) -> Contact | None:
        """Records that ``address`` did not answer a query sent at ``sent_at``. Returns a contact dropped for it.

        Queries that were in flight together count as one failure: a node may pause for a second or two.
        """
        contact = self._by_address.get(address)
        if contact is None or sent_at < max(contact.failed_at, contact.heard_at):
            return None
        contact.failures += 1
        contact.failed_at = now
        self._has_doubtful = True
        self._compact.clear()
        bucket = self._bucket(contact.position)
        bucket.good_until = -math.inf
        if contact.failures < BAD_AFTER_FAILURES:
            return None
        self._remove(contact)
        self._dropped.put(address, now + RELEARN_SECONDS)
        while bucket.replacements:
            replacement = bucket.replacements.popitem()[1]
            if replacement.address not in self._by_address:
                self._insert(replacement)
                break
        return contact

    def gone_since(self, version: int) -> frozenset[bytes]:
        """Returns the ids of the contacts removed since the table had this version, the last MAX_GONE at most."""
        return frozenset(node_id for _, node_id in takewhile(lambda went: went[0] >= version, reversed(self._gone)))

    def closest(self, place: int, count: int = K, *, sound: bool = False) -> list[Contact]:
        """Returns the ``count`` contacts closest to the position ``place``, nearest first.

        ``sound`` leaves out contacts whose last query failed.
        """
        buckets = self._buckets
        last = len(buckets) - 1
        home = min(shared_bits(self._own, place), last)
        found = nearest_first(buckets[home].contacts, place, sound=sound)
        if len(found) < count and home < last:
            # The contacts of all deeper buckets differ from ``place`` in the same bit: they are sorted together.
            deeper: dict[int, Contact] = {}
            for bucket in buckets[home + 1 :]:
                deeper.update(bucket.contacts)
            found += nearest_first(deeper, place, sound=sound)
        for index in range(home - 1, -1, -1):
            if len(found) >= count:
                break
            found += nearest_first(buckets[index].contacts, place, sound=sound)
        return found[:count]

    def nearest(self, place: int) -> tuple[list[Contact], frozenset[tuple[bytes, Address]]]:
        """Returns the K contacts closest to ``place``, and their ids with addresses. Cached.

        Contacts within the same 1,024th of the id space are in any order.
        """
        part = place >> PART_SHIFT
        near = self._near.get(part)
        if near is None:
            contacts = self.closest(place, K + 1)
            is_kept = _is_apart(contacts, K)
            del contacts[K:]
            near = contacts, frozenset(contact.pair for contact in contacts)
            if is_kept:
                self._near[part] = near
        return near

    def compact_closest(self, place: int, count: int = K) -> bytes:
        """Returns the compact form of the ``count`` closest contacts that did not fail last, K at most. Cached.

        Contacts within the same 1,024th of the id space are in any order, unless ``place`` is in it as well.
        """
        part = place >> PART_SHIFT
        nodes = self._compact.get(part)
        if nodes is None:
            nodes = self._compacted(self.closest(place, K + 1, sound=True), part, part)
        return nodes if count >= K else nodes[: max(count, 0) * NODE_BYTES]

    def compact_closest_elsewhere(self, place: int, count: int = K) -> bytes:
        """Returns what ``compact_closest`` does, without contacts at loopback addresses: for nodes of other hosts."""
        part = place >> PART_SHIFT
        nodes = self._compact.get(~part)
        if nodes is None:
            closest = self.closest(place, len(self._by_address), sound=True)
            reachable = [contact for contact in closest if not is_loopback(contact.address[0])]
            nodes = self._compacted(reachable[: K + 1], part, ~part)
        return nodes if count >= K else nodes[: max(count, 0) * NODE_BYTES]

    def _compacted(self, contacts: list[Contact], part: int, cached_as: int) -> bytes:
        """Returns the compact form of the first K contacts, which are the closest to a position in ``part``."""
        nodes = b"".join([contact.compact for contact in contacts[:K]])
        # The result is the same for every position of this part, unless two contacts of the part itself stand
        # first, or the last one is in the same part as the first that is left out.
        if (len(contacts) < 2 or contacts[1].position >> PART_SHIFT != part) and _is_apart(contacts, K):
            self._compact[cached_as] = nodes
        return nodes

    def unwell(self, moment: float) -> tuple[list[Contact], list[Contact]]:
        """Returns the doubtful contacts, and the others that sent nothing since ``moment``, the longest quiet first."""
        doubtful = (
            [contact for contact in self._by_address.values() if contact.is_doubtful] if self._has_doubtful else []
        )
        self._has_doubtful = bool(doubtful)
        if moment < self._seen_since:
            return doubtful, []
        silent = [contact for contact in self._by_address.values() if contact.seen_at <= moment]
        if silent:
            silent.sort(key=_seen_at)
            self._seen_since = silent[0].seen_at
        else:
            self._seen_since = min(map(_seen_at, self._by_address.values()), default=moment)
        return doubtful, [contact for contact in silent if not contact.is_doubtful]

    def idle_buckets(self, moment: float) -> list[int]:
        """Returns the numbers of the buckets with no sign of life since ``moment``, which BEP 5 has refreshed."""
        return [
            number
            for number, bucket in enumerate(self._buckets)
            if all(contact.seen_at <= moment for contact in bucket.contacts.values())
        ]

    def bucket_sizes(self) -> list[int]:
        """Returns the number of contacts in each bucket, the farthest bucket first."""
        return [len(bucket.contacts) for bucket in self._buckets]

    def has_use_for(self, node_id: bytes, now: float) -> bool:
        """Returns True if a node, once it answers, would be listed or kept as a replacement that is needed."""
        bucket = self._bucket(position(node_id))
        return (
            len(bucket.contacts) < self._k
            or bucket is self._buckets[-1]
            or len(bucket.replacements) < REPLACEMENTS_PER_BUCKET
            or not bucket.is_good(now)
        )

    def questionable_rival(self, node_id: bytes, now: float) -> Contact | None:
        """Returns the contact that ``node_id`` could replace if a ping of it fails: the one silent for longest.

        None if all contacts of that bucket are good.
        """
        bucket = self._bucket(position(node_id))
        if bucket.is_good(now):
            return None
        rivals = [contact for contact in bucket.contacts.values() if not contact.is_good(now)]
        return min(rivals, key=lambda c: c.heard_at) if rivals else None

    def _bucket(self, place: int) -> Bucket:
        # As ``shared_bits``, without a call: this is needed for most queries of nodes that are not listed.
        depth, buckets = ID_BITS - (self._own ^ place).bit_length(), self._buckets
        return buckets[depth] if depth < len(buckets) else buckets[-1]

    def _insert(self, contact: Contact) -> Listed:
        while True:
            bucket = self._bucket(contact.position)
            if self.rules.is_public and not self._is_admitted(contact, bucket):
                return Listed.REFUSED
            if len(bucket.contacts) < self._k:
                bucket.contacts[contact.position] = contact
                bucket.good_until = -math.inf
                bucket.replacements.pop(contact.position, None)
                self._by_address[contact.address] = self._by_id[contact.id] = contact
                self.loopback_contacts += is_loopback(contact.address[0])
                self._seen_since = min(self._seen_since, contact.seen_at)
                self._changed()
                return Listed.NEW
            if bucket is not self._buckets[-1] or len(self._buckets) >= ID_BITS:
                break
            self._split()
        bucket.replacements.put(contact.position, contact)
        return Listed.REPLACEMENT

    def _is_admitted(self, contact: Contact, bucket: Bucket) -> bool:
        """Applies the public profile: one contact of an address and network; secure ids (BEP 42) displace others."""
        hosts = (other.address[0] for other in self)
        neighbours = list(bucket.contacts.values())
        if not self.rules.may_list(contact.address[0], hosts, (other.address[0] for other in neighbours)):
            return False
        if len(neighbours) >= self._k and is_secure(contact.id, contact.address[0]):
            insecure = next((other for other in neighbours if not is_secure(other.id, other.address[0])), None)
            if insecure is not None:
                self._remove(insecure)
        return True

    def _split(self) -> None:
        old, near = self._buckets[-1], Bucket()
        depth = len(self._buckets)
        self._buckets.append(near)
        for place in [p for p in old.contacts if shared_bits(self._own, p) >= depth]:
            near.contacts[place] = old.contacts.pop(place)
        for place in [p for p in old.replacements if shared_bits(self._own, p) >= depth]:
            near.replacements.put(place, old.replacements.pop(place))

    def _remove(self, contact: Contact) -> None:
        self._bucket(contact.position).contacts.pop(contact.position, None)
        del self._by_address[contact.address]
        del self._by_id[contact.id]
        self.loopback_contacts -= is_loopback(contact.address[0])
        self._gone.append((self.version, contact.id))
        self._changed()

    def _changed(self) -> None:
        self._near.clear()
        self.version += 1
        self._compact.clear()


_seen_at = attrgetter("seen_at")


def _is_apart(contacts: list[Contact], index: int) -> bool:
    """Returns True if the contact at ``index``, if any, is in another part of the space than the one before it."""
    if len(contacts) <= index:
        return True
    return contacts[index - 1].position >> PART_SHIFT != contacts[index].position >> PART_SHIFT
