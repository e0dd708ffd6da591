"""Describes the nodes that a lookup may query, and how far the query of each has come.

A lookup waits for its candidates as follows:

- PENDING: it waits for the answer.
- TARDY: the contact is slow by its own record (its round trip is longer than the usual soft timeout). The lookup waits
  only while its result does not do, up to the candidate's own soft timeout.
- LATE: past its soft timeout and asked again. The lookup waits only while it has found nothing, up to the soft timeout
  of the second query; the next candidate takes its place.
- SLOW: the lookup does not wait, though an answer still counts.
"""

from __future__ import annotations

from enum import Enum

from grape.dht.compact import Address


class State(Enum):
    """Says how far a candidate's query has come."""

    UNASKED = 0
    PENDING = 1
    TARDY = 2
    LATE = 3
    SLOW = 4
    HEARD = 5
    FAILED = 6


# Attributes of an Enum are slow to look up in Python 3.11.
UNASKED, PENDING, TARDY, LATE, SLOW, HEARD, FAILED = State


class Candidate:
    """Describes a node that a lookup may query. ``token`` came with its response, ``None`` without one.

    ``asked_as`` is its state once it is queried: PENDING, TARDY, or SLOW for an address that is not waited for.
    A doubtful one (its last query failed) is queried last, as PENDING, and not waited for. ``told_by`` named an address
    that is known from hearsay alone; None for others.
    """

    __slots__ = (
        "address",
        "asked_as",
        "awaited",
        "distance",
        "doubtful",
        "node_id",
        "round_trip",
        "state",
        "token",
        "told_by",
    )

    def __init__(
        self,
        node_id: bytes,
        address: Address,
        distance: int,
        round_trip: float,
        doubtful: bool,
        asked_as: State,
        told_by: Address | None = None,
    ) -> None:
        self.node_id = node_id
        self.address = address
        self.distance = distance
        self.round_trip = round_trip
        self.doubtful = doubtful
        self.asked_as = asked_as
        self.told_by = told_by
        self.state = UNASKED
        self.token: bytes | None = None
        # The number of the last survey that counted it among the candidates to wait for.
        self.awaited = 0

    def __lt__(self, other: Candidate) -> bool:
        return self.distance < other.distance

    @property
    def is_tardy(self) -> bool:
        """True for a contact that is slow by its own record."""
        return self.asked_as is TARDY

    def is_better_than(self, other: Candidate) -> bool:
        """Returns True if this candidate should be queried rather than another of its network."""
        return (self.doubtful, self.distance) < (other.doubtful, other.distance)


class Found:
    """Holds a lookup's result: the closest nodes that answered, nearest first, and how many were queried.

    ``complete`` is false for a lookup that was stopped before its k closest had answered. ``expected`` are the
    candidates that are slow by their own record and had not answered yet; those of the k closest are added to
    ``closest`` when they answer.
    """

    __slots__ = ("answered", "asked", "closest", "complete", "expected", "failed")

    def __init__(
        self,
        complete: bool,
        closest: tuple[Candidate, ...],
        asked: int,
        answered: int,
        failed: int,
        expected: tuple[Candidate, ...] = (),
    ) -> None:
        self.complete = complete
        self.closest = closest
        self.asked = asked
        self.answered = answered
        self.failed = failed
        self.expected = expected

    def __eq__(self, other: object) -> bool:
        """Returns True for a result with the same candidates and counts."""
        return isinstance(other, Found) and self._compared() == other._compared()

    def __repr__(self) -> str:
        return (
            f"Found(complete={self.complete!r}, closest={self.closest!r}, asked={self.asked!r}, "
            f"answered={self.answered!r}, failed={self.failed!r}, expected={self.expected!r})"
        )

    def _compared(self) -> tuple[object, ...]:
        return self.complete, self.closest, self.asked, self.answered, self.failed, self.expected

    @property
    def is_settled(self) -> bool:
        """True once no answer is expected any more that may change ``closest``."""
        return not self.expected or all(candidate.state is not TARDY for candidate in self.expected)


def network_of(candidate: Candidate) -> str:
    """Returns the /24 network of a candidate: the first three numbers of its address."""
    return candidate.address[0].rpartition(".")[0]
