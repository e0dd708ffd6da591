"""Runs the iterative lookup (Kademlia) as a state machine: given the responses, it names the next nodes to query.

It never sends and never waits. ``ask()`` returns the candidates to query now; ``heard``, ``slow`` and ``failed``
report what became of them; ``finished`` is true once the k closest reachable candidates have answered. A slow
candidate (past its soft timeout) is replaced by the next one and no longer delays the end, unless no candidate
answered at all. A doubtful one (its last query failed) is queried last and not waited for.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from enum import Enum
from operator import attrgetter

import attrs

from grape.dht.buckets import Contact
from grape.dht.compact import Address
from grape.dht.nodeid import position
from grape.dht.routing import K

ALPHA = 16
MAX_QUERIES = 160
MAX_CANDIDATES = 256
# On the public internet: how many candidates of a /24 network wait in case its best one does not answer.
WAITING_PER_NETWORK = 4
# The Node grape returns all contacts that it has, the nearest first.
MAX_NODES_PER_RESPONSE = 20


class State(Enum):
    """Says how far a candidate's query has come."""

    UNASKED = 0
    PENDING = 1
    SLOW = 2
    HEARD = 3
    FAILED = 4


# Attributes of an Enum are slow to look up in Python 3.11.
UNASKED, PENDING, SLOW, HEARD, FAILED = State


class Candidate:
    """Describes a node that a lookup may query. ``token`` came with its response, ``None`` without one."""

    __slots__ = ("address", "awaited", "distance", "doubtful", "node_id", "round_trip", "state", "token")

    def __init__(self, node_id: bytes, address: Address, distance: int, round_trip: float, doubtful: bool) -> None:
        self.node_id = node_id
        self.address = address
        self.distance = distance
        self.round_trip = round_trip
        self.doubtful = doubtful
        self.state = UNASKED
        self.token: bytes | None = None
        # The number of the last survey that counted it among the candidates to wait for.
        self.awaited = 0

    def __lt__(self, other: Candidate) -> bool:
        return self.distance < other.distance

    def is_better_than(self, other: Candidate) -> bool:
        """Returns True if this candidate should be queried rather than another of its network."""
        return (self.doubtful, self.distance) < (other.doubtful, other.distance)


@attrs.define(slots=True)
class Found:
    """Holds a lookup's result: the closest nodes that answered, nearest first, and how many were queried.

    ``complete`` is false for a lookup that was stopped before its k closest had answered.
    """

    complete: bool
    closest: tuple[Candidate, ...]
    asked: int
    answered: int
    failed: int


class Lookup:
    """Looks up the ``k`` nodes closest to ``key`` (any length) for the node ``own_id``.

    At most ``alpha`` queries are in flight, and ``max_queries`` are sent in all. ``one_per_network`` lets one node of
    a /24 network count.
    """

    def __init__(
        self,
        key: bytes,
        own_id: bytes,
        k: int = K,
        alpha: int = ALPHA,
        *,
        one_per_network: bool = False,
        max_queries: int = MAX_QUERIES,
    ) -> None:
        self.key = key
        self.position = position(key)
        self.own_id = own_id
        self._k = k
        self._alpha = alpha
        self._max_queries = max_queries
        self._candidates: list[Candidate] = []
        self._seen: dict[Address, Candidate] = {}
        # On the public internet a key must not be surrounded from one /24 network: one candidate of each is listed
        # (its holder), the next best few wait.
        self._holders: dict[str, Candidate] | None = {} if one_per_network else None
        self._waiting: dict[str, list[Candidate]] = {}
        self._in_flight = self._slow = 0
        self._asked = self._answered = self._failed = 0
        self._stopped = False
        # How many candidates are worth waiting for, by the last survey and the responses since; and whether another
        # survey could choose more candidates.
        self._survey = 0
        self._awaited = 1
        self._is_due = True
        self._has_doubtful = False

    def begin(self, contacts: Sequence[Contact]) -> None:
        """Adds the first candidates, from the routing table; called before all else."""
        if self._holders is not None:
            for contact in contacts:
                self.add(contact.id, contact.address, contact.round_trip, doubtful=contact.failures > 0)
            return
        here = self.position
        self._candidates = [
            Candidate(c.id, c.address, c.position ^ here, c.round_trip, c.failures > 0) for c in contacts
        ]
        self._candidates.sort(key=_distance)
        self._has_doubtful = any(map(_doubtful, self._candidates))
        self._seen = {candidate.address: candidate for candidate in self._candidates}

    def add(self, node_id: bytes, address: Address, round_trip: float = 0.0, *, doubtful: bool = False) -> None:
        """Adds a candidate, once for each address; skips our own id and nodes too far to matter."""
        if node_id == self.own_id:
            return
        known = self._seen.get(address)
        if known is not None:
            if node_id != known.node_id and known.state is UNASKED:
                self._bring_nearer(known, node_id)
            return
        candidate = Candidate(node_id, address, position(node_id) ^ self.position, round_trip, doubtful)
        self._has_doubtful = self._has_doubtful or doubtful
        if self._holders is None:
            self._list(candidate)
        else:
            self._compete(candidate, self._holders)

    def _bring_nearer(self, candidate: Candidate, node_id: bytes) -> None:
        """Gives a candidate another id reported for its address if that is nearer: a false far id must not hide it."""
        distance = position(node_id) ^ self.position
        if distance >= candidate.distance:
            return
        is_waiting = self._holders is not None and self._holders.get(_network(candidate)) is not candidate
        candidates = self._waiting[_network(candidate)] if is_waiting else self._candidates
        candidates.remove(candidate)
        candidate.node_id, candidate.distance = node_id, distance
        if is_waiting and self._holders is not None:
            del self._seen[candidate.address]
            self._compete(candidate, self._holders)
        else:
            insort(self._candidates, candidate)
            self._is_due = True

    def _list(self, candidate: Candidate) -> bool:
        """Lists a candidate; if the list is full, instead of the farthest one not yet queried, if that is farther."""
        candidates = self._candidates
        if len(candidates) >= MAX_CANDIDATES:
            rival = next((c for c in reversed(candidates) if c.state is UNASKED), None)
            if rival is None or candidate.distance >= rival.distance:
                return False
            candidates.remove(rival)
            # Forgotten, so that another response may add it again.
            self._seen.pop(rival.address, None)
            if self._holders is not None:
                network = _network(rival)
                del self._holders[network]
                for waiting in self._waiting.pop(network, ()):
                    self._seen.pop(waiting.address, None)
        self._seen[candidate.address] = candidate
        insort(candidates, candidate)
        self._is_due = True
        return True

    def _compete(self, candidate: Candidate, holders: dict[str, Candidate]) -> None:
        """Lists a candidate if it is the best known one of its network, else lets it wait."""
        network = _network(candidate)
        holder = holders.get(network)
        if holder is None:
            if self._list(candidate):
                holders[network] = candidate
        elif holder.state is UNASKED and candidate.is_better_than(holder):
            self._candidates.remove(holder)
            self._seen[candidate.address] = candidate
            insort(self._candidates, candidate)
            self._is_due = True
            holders[network] = candidate
            self._wait(holder, network)
        else:
            self._wait(candidate, network)

    def _wait(self, candidate: Candidate, network: str) -> None:
        waiting = self._waiting.setdefault(network, [])
        self._seen[candidate.address] = candidate
        insort(waiting, candidate)
        if len(waiting) > WAITING_PER_NETWORK:
            self._seen.pop(waiting.pop().address, None)

    def _next_of_network(self, candidate: Candidate) -> None:
        """Lists the next candidate of a network after its holder did not answer (in time)."""
        if self._holders is None:
            return
        network = _network(candidate)
        if self._holders.get(network) is candidate:
            del self._holders[network]
            waiting = self._waiting.get(network)
            if waiting:
                following = waiting.pop(0)
                self._seen.pop(following.address, None)
                self._compete(following, self._holders)

    def _counts(self, candidate: Candidate, holders: dict[str, Candidate]) -> bool:
        """Returns True if a candidate that answered is the first of its network to do so."""
        network = _network(candidate)
        holder = holders.get(network)
        if holder is not None and holder is not candidate:
            if holder.state is HEARD:
                return False
            if holder.state is UNASKED:
                self._candidates.remove(holder)
                self._is_due = True
                self._wait(holder, network)
        holders[network] = candidate
        return True

    def ask(self) -> list[Candidate]:
        """Returns the candidates to query now, and counts them as pending."""
        is_last_chance = self._has_doubtful and not self._in_flight and self._answered < self._k
        if not (self._is_due or is_last_chance) or self._stopped:
            return []
        may_ask = self._max_queries - self._asked
        free = min(self._alpha - self._in_flight, may_ask)
        chosen = self._survey_candidates(free, may_ask > 0)
        if not chosen and is_last_chance and free > 0:
            doubtful = (c for c in self._candidates if c.doubtful and c.state is UNASKED)
            chosen = [c for c, _ in zip(doubtful, range(free), strict=False)]
        for candidate in chosen:
            candidate.state = PENDING
        self._asked += len(chosen)
        self._in_flight += len(chosen)
        return chosen

    def _survey_candidates(self, free: int, may_ask: bool) -> list[Candidate]:
        """Chooses candidates to query among the k closest that can still answer, and counts those to wait for."""
        chosen: list[Candidate] = []
        self._survey += 1
        self._is_due = False
        survey, left, awaited = self._survey, self._k, 0
        for candidate in self._candidates:
            state = candidate.state
            if state is not HEARD:
                if candidate.doubtful or state is SLOW or state is FAILED:
                    continue
                if state is PENDING or may_ask:
                    awaited += 1
                    candidate.awaited = survey
                if state is UNASKED:
                    if free > len(chosen):
                        chosen.append(candidate)
                    elif may_ask:
                        self._is_due = True
            left -= 1
            if not left:
                break
        self._awaited = awaited
        return chosen

    def heard(self, candidate: Candidate, node_id: bytes, token: bytes | None) -> None:
        """Records that ``candidate`` answered under the id ``node_id``, with a write ``token`` if it gave one."""
        if candidate.state is PENDING:
            self._in_flight -= 1
        else:
            self._leave(candidate)
        candidate.state = HEARD
        if candidate.awaited == self._survey:
            self._awaited -= 1
            candidate.awaited = 0
        else:
            self._is_due = True
        candidate.token = token
        self._answered += 1
        if self._holders is not None and not self._counts(candidate, self._holders):
            self._candidates.remove(candidate)
            self._is_due = True
        elif node_id != candidate.node_id:
            # The node has another id than was reported: it counts at the position of the one that it answered with.
            self._candidates.remove(candidate)
            candidate.node_id = node_id
            candidate.distance = position(node_id) ^ self.position
            insort(self._candidates, candidate)
            self._is_due = True

    def slow(self, candidate: Candidate) -> None:
        """Records that ``candidate`` is past its soft timeout."""
        self._leave(candidate)
        candidate.state = SLOW
        self._slow += 1
        self._is_due = True
        self._next_of_network(candidate)

    def failed(self, candidate: Candidate) -> None:
        """Records that ``candidate`` will not answer, or answered with an error."""
        self._leave(candidate)
        candidate.state = FAILED
        self._is_due = True
        self._failed += 1
        self._next_of_network(candidate)

    def asked_again(self) -> None:
        """Counts a query that was sent to a slow candidate again."""
        self._asked += 1

    def stop(self) -> None:
        """Ends the lookup with the responses so far."""
        self._stopped = True

    @property
    def answered(self) -> int:
        """The number of candidates that answered so far."""
        return self._answered

    @property
    def finished(self) -> bool:
        """True once the lookup has its result; read it after ``ask()`` was called."""
        if self._stopped:
            return True
        if self._answered == 0:
            return not self._in_flight and not self._slow
        return not self._awaited

    @property
    def has_slow(self) -> bool:
        """True while a slow candidate, whose last query did not fail, may still answer."""
        return self._slow > 0 and any(c.state is SLOW and not c.doubtful for c in self._candidates)

    def found(self) -> Found:
        """Returns the result so far."""
        complete = self.finished and not self._stopped
        heard = [c for c in self._candidates if c.state is HEARD]
        return Found(complete, tuple(heard[: self._k]), self._asked, self._answered, self._failed)

    def _leave(self, candidate: Candidate) -> None:
        if candidate.state is PENDING:
            self._in_flight -= 1
        elif candidate.state is SLOW:
            self._slow -= 1


_distance = attrgetter("distance")
_doubtful = attrgetter("doubtful")


def _network(candidate: Candidate) -> str:
    return candidate.address[0].rpartition(".")[0]
