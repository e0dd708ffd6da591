"""Runs the iterative lookup (Kademlia) as a state machine: given the responses, it names the next nodes to query.

It never sends and never waits. ``ask()`` returns the candidates to query now; ``heard``, ``slow`` and ``failed``
report what became of them; ``finished`` is true once the k closest candidates that answer in time have answered.
``waits()`` is true while others may still answer for which a lookup waits whose result does not do yet
(``dht.candidates`` says for whom). While no candidate at all has answered, all are waited for.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Sequence
from operator import attrgetter

from grape.dht.buckets import Contact
from grape.dht.candidates import FAILED, HEARD, LATE, PENDING, SLOW, TARDY, UNASKED, Candidate, Found, State, network_of
from grape.dht.compact import Address
from grape.dht.nodeid import ID_BYTES, cached_position, position
from grape.dht.routing import K

ALPHA = 16
MAX_QUERIES = 160
MAX_CANDIDATES = 256
# On the public internet: how many candidates of a /24 network wait in case its best one does not answer.
WAITING_PER_NETWORK = 4
# The Node grape returns all contacts that it has, the nearest first.
MAX_NODES_PER_RESPONSE = 20


class Lookup:
    """Looks up the ``k`` nodes closest to ``key`` (any length) for the node ``own_id``.

    At most ``alpha`` queries are waited for at a time, and ``max_queries`` are sent in all. ``one_per_network`` lets
    one node of a /24 network count. A contact whose round trip exceeds ``usual_seconds``, the soft timeout that is
    usual in this network, is tardy.
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
        usual_seconds: float = math.inf,
    ) -> None:
        self.key = key
        self.position = cached_position(key[:ID_BYTES])
        self.own_id = own_id
        self._k = k
        self._alpha = alpha
        self._max_queries = max_queries
        self._usual_seconds = usual_seconds
        self._candidates: list[Candidate] = []
        self._seen: dict[Address, Candidate] = {}
        # On the public internet a key must not be surrounded from one /24 network: one candidate of each is listed
        # (its holder), the next best few wait.
        self._holders: dict[str, Candidate] | None = {} if one_per_network else None
        self._waiting: dict[str, list[Candidate]] = {}
        #: The number of TARDY and LATE candidates; read it before ``waits()`` is called.
        self.late = 0
        self._in_flight = self._tardy = self._slow = 0
        #: The number of candidates that answered so far.
        self.answered = 0
        self._asked = self._failed = 0
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
                self.add_contact(contact)
            return
        here, usual = self.position, self._usual_seconds
        self._candidates = [
            Candidate(
                c.id,
                c.address,
                c.position ^ here,
                c.round_trip,
                c.failures > 0 or c.is_silent,
                PENDING if c.round_trip <= usual or not c.has_record else TARDY,
            )
            for c in contacts
        ]
        self._candidates.sort(key=_distance)
        if any(map(_doubtful, self._candidates)):
            self._has_doubtful = True
        self._seen = {candidate.address: candidate for candidate in self._candidates}

    def add_contact(self, contact: Contact) -> None:
        """Adds a contact as a candidate, as ``add`` does."""
        self.add(
            contact.id,
            contact.address,
            contact.round_trip,
            doubtful=contact.is_doubtful,
            has_record=contact.has_record,
        )

    def add(
        self,
        node_id: bytes,
        address: Address,
        round_trip: float = 0.0,
        *,
        doubtful: bool = False,
        has_record: bool = True,
        told_by: Address | None = None,
        is_awaited: bool = True,
    ) -> None:
        """Adds a candidate, once for each address; skips our own id and nodes too far to matter.

        ``told_by`` is the node that named it, if no more is known of it; ``is_awaited`` is false for an address that is
        queried without being waited for. Without ``has_record`` a long ``round_trip`` does not make it tardy.
        """
        if node_id == self.own_id:
            return
        known = self._seen.get(address)
        if known is not None:
            if node_id != known.node_id and known.state is UNASKED:
                self._bring_nearer(known, node_id)
            return
        is_usual = round_trip <= self._usual_seconds or not has_record
        asked_as = SLOW if not is_awaited else PENDING if is_usual else TARDY
        distance = position(node_id) ^ self.position
        candidate = Candidate(node_id, address, distance, round_trip, doubtful, asked_as, told_by)
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
        is_waiting = self._holders is not None and self._holders.get(network_of(candidate)) is not candidate
        candidates = self._waiting[network_of(candidate)] if is_waiting else self._candidates
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
                network = network_of(rival)
                del self._holders[network]
                for waiting in self._waiting.pop(network, ()):
                    self._seen.pop(waiting.address, None)
        self._seen[candidate.address] = candidate
        insort(candidates, candidate)
        self._is_due = True
        return True

    def _compete(self, candidate: Candidate, holders: dict[str, Candidate]) -> None:
        """Lists a candidate if it is the best known one of its network, else lets it wait."""
        network = network_of(candidate)
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
        network = network_of(candidate)
        if self._holders.get(network) is candidate:
            del self._holders[network]
            waiting = self._waiting.get(network)
            if waiting:
                following = waiting.pop(0)
                self._seen.pop(following.address, None)
                self._compete(following, self._holders)

    def _counts(self, candidate: Candidate, holders: dict[str, Candidate]) -> bool:
        """Returns True if a candidate that answered is the first of its network to do so."""
        network = network_of(candidate)
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
        is_last_chance = self._has_doubtful and not self._in_flight and self.answered < self._k
        if not (self._is_due or is_last_chance) or self._stopped:
            return []
        may_ask = self._max_queries - self._asked
        free = min(self._alpha - self._in_flight, may_ask)
        chosen = self._survey_candidates(free, may_ask > 0)
        if not chosen and is_last_chance and free > 0:
            doubtful = (c for c in self._candidates if c.doubtful and c.state is UNASKED)
            chosen = [c for c, _ in zip(doubtful, range(free), strict=False)]
        self._asked += len(chosen)
        for candidate in chosen:
            if candidate.doubtful or candidate.asked_as is PENDING:
                candidate.state = PENDING
                self._in_flight += 1
            else:
                self._enter(candidate, candidate.asked_as)
        return chosen

    def _survey_candidates(self, free: int, may_ask: bool) -> list[Candidate]:
        """Chooses candidates to query among the k closest that can still answer, and counts those to wait for."""
        chosen: list[Candidate] = []
        self._survey += 1
        self._is_due = False
        survey, left, awaited = self._survey, self._k, 0
        for candidate in self._candidates:
            state = candidate.state
            if state is UNASKED:
                if candidate.doubtful:
                    continue
                if free > len(chosen):
                    chosen.append(candidate)
                elif may_ask:
                    self._is_due = True
                if may_ask:
                    state = candidate.asked_as
                    if state is SLOW:
                        continue
            elif state is not HEARD and (candidate.doubtful or state is SLOW or state is LATE or state is FAILED):
                continue
            if state is PENDING:
                awaited += 1
                candidate.awaited = survey
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
        self.answered += 1
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

    def heard_late(self, found: Found, candidate: Candidate, node_id: bytes, token: bytes | None) -> bool:
        """Records an answer as ``heard`` does, after the end of the lookup with the result ``found``.

        Returns True if ``candidate`` is one of the k closest: it is among those of ``found`` now.
        """
        self.heard(candidate, node_id, token)
        closest = self.found().closest
        if candidate not in closest:
            return False
        found.closest = closest
        return True

    def slow(self, candidate: Candidate) -> None:
        """Records that the latest query to ``candidate`` is past its soft timeout."""
        is_asked_again = candidate.state is PENDING and not candidate.doubtful
        self._leave(candidate)
        self._enter(candidate, LATE if is_asked_again else SLOW)
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
    def finished(self) -> bool:
        """True once the lookup has its result; read it after ``ask()`` was called."""
        if self._stopped:
            return True
        if self.answered == 0:
            return not self._in_flight and not self.late and not self._slow
        return not self._awaited

    def waits(self, *, is_empty: bool) -> bool:
        """Returns True while a lookup whose result does not do yet waits for candidates that are late.

        It waits for those that are slow by their own record, and, if it has found nothing (``is_empty``), for those
        that were asked again, too.
        """
        return (self.late if is_empty else self._tardy) > 0 and not self._stopped

    def found(self) -> Found:
        """Returns the result so far."""
        complete = not self._stopped and self.finished
        closest = tuple([c for c in self._candidates if c.state is HEARD][: self._k])
        expected = tuple([c for c in self._candidates if c.state is TARDY]) if self._tardy else ()
        return Found(complete, closest, self._asked, self.answered, self._failed, expected)

    def _enter(self, candidate: Candidate, state: State) -> None:
        candidate.state = state
        if state is PENDING:
            self._in_flight += 1
        elif state is SLOW:
            self._slow += 1
        else:
            self.late += 1
            self._tardy += state is TARDY

    def _leave(self, candidate: Candidate) -> None:
        state = candidate.state
        if state is PENDING:
            self._in_flight -= 1
        elif state is SLOW:
            self._slow -= 1
        elif state is TARDY or state is LATE:
            self.late -= 1
            self._tardy -= state is TARDY


_distance = attrgetter("distance")
_doubtful = attrgetter("doubtful")
