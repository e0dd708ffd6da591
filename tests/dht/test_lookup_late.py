"""grape.dht.lookup: for whom a lookup waits, and what becomes of answers that come late."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grape.dht.buckets import MIN_RECORD, Contact
from grape.dht.candidates import FAILED, HEARD, LATE, PENDING, SLOW, TARDY, Candidate
from grape.dht.closest import TOKEN_REUSE_SECONDS, ClosestSets
from grape.dht.lookup import MAX_QUERIES, Lookup
from grape.dht.routing import RoutingTable
from tests.dht.test_lookup import KEY, OWN, answer, fars, node

USUAL_SECONDS = 0.03
NEAR_SECONDS = 0.001
FAR_SECONDS = 0.4


def lookup_with(
    near: Iterable[int],
    far: Iterable[int],
    k: int = 20,
    *,
    one_per_network: bool = False,
    answers: int = MIN_RECORD,
) -> Lookup:
    """Returns a lookup whose contacts at these distances from KEY are near and far away, by so many answers each."""
    lookup = Lookup(KEY, OWN, k, usual_seconds=USUAL_SECONDS, one_per_network=one_per_network)
    contacts = []
    for numbers, seconds in ((near, NEAR_SECONDS), (far, FAR_SECONDS)):
        for number in numbers:
            contacts.append(Contact(*node(number)))
            for _ in range(answers):
                contacts[-1].measured(seconds)
    lookup.begin(contacts)
    return lookup


@pytest.mark.parametrize("one_per_network", [False, True])
def test_candidate_of_few_answers_is_not_tardy(one_per_network: bool) -> None:
    # The processes of a ring that has just been started are late at first.
    lookup = lookup_with([257], [514], one_per_network=one_per_network, answers=MIN_RECORD - 1)
    asked = lookup.ask()
    assert [c.state for c in asked] == [PENDING, PENDING]
    answer(lookup, asked[:1])
    lookup.ask()
    assert not lookup.finished


@pytest.mark.parametrize("one_per_network", [False, True])
def test_tardy_candidate_is_asked_at_once_and_not_waited_for(one_per_network: bool) -> None:
    lookup = lookup_with([257, 770], [514], one_per_network=one_per_network)
    asked = lookup.ask()
    assert [(c.distance, c.state) for c in asked] == [(257, PENDING), (514, TARDY), (770, PENDING)]
    answer(lookup, [asked[0], asked[2]])
    assert lookup.ask() == []
    assert lookup.finished
    assert lookup.late == 1
    # Whatever it found but a peer or an immutable item, it does wait.
    assert lookup.waits(is_empty=True)
    assert lookup.waits(is_empty=False)
    lookup.slow(asked[1])
    assert asked[1].state is SLOW
    assert not lookup.waits(is_empty=True)


def test_tardy_candidate_takes_its_place_among_the_closest_until_it_is_slow() -> None:
    lookup = lookup_with([2, 3, 4], [1], k=2)
    tardy, second = lookup.ask()
    assert fars([tardy, second]) == [1, 2]
    answer(lookup, [second])
    assert lookup.ask() == []
    assert lookup.finished
    lookup.slow(tardy)
    assert fars(lookup.ask()) == [3]


def test_lookup_whose_contacts_are_all_tardy_sends_no_more_queries_than_usual() -> None:
    lookup = lookup_with([], range(1, 200), k=20)
    sent = []
    while asked := lookup.ask():
        sent += asked
    assert len(sent) == 20
    assert not lookup.finished
    lookup.heard(sent[3], sent[3].node_id, b"token")
    assert lookup.finished
    assert lookup.waits(is_empty=False)


def test_candidate_that_was_asked_again_is_waited_for_only_while_nothing_was_found() -> None:
    lookup = lookup_with([1, 2], [])
    first, second = lookup.ask()
    answer(lookup, [first])
    lookup.slow(second)
    assert second.state is LATE
    assert lookup.ask() == []
    assert lookup.finished
    assert not lookup.waits(is_empty=False)
    assert lookup.waits(is_empty=True)
    lookup.slow(second)
    assert second.state is SLOW
    assert not lookup.waits(is_empty=True)


def test_candidate_from_hearsay_that_is_marked_is_asked_and_takes_no_place() -> None:
    lookup = Lookup(KEY, OWN, k=2)
    lookup.add(*node(1), told_by=("10.0.0.9", 1), is_awaited=False)
    for number in (2, 3, 4):
        lookup.add(*node(number))
    asked = lookup.ask()
    assert [(c.distance, c.state) for c in asked] == [(1, SLOW), (2, PENDING), (3, PENDING)]
    answer(lookup, asked[1:])
    assert lookup.finished
    assert lookup.late == 0
    lookup.heard(asked[0], asked[0].node_id, b"token")
    assert fars(lookup.found().closest) == [1, 2]


@pytest.mark.parametrize("kind", ["tardy", "marked"])
def test_lookup_waits_for_all_while_nobody_has_answered(kind: str) -> None:
    lookup = Lookup(KEY, OWN, usual_seconds=USUAL_SECONDS)
    lookup.add(*node(1), FAR_SECONDS if kind == "tardy" else 0.0, is_awaited=kind == "tardy")
    (asked,) = lookup.ask()
    assert not lookup.finished
    lookup.failed(asked)
    assert lookup.ask() == []
    assert lookup.finished


def test_doubtful_candidate_is_not_waited_for_though_it_is_far_away() -> None:
    lookup = Lookup(KEY, OWN, usual_seconds=USUAL_SECONDS)
    lookup.add(*node(1), FAR_SECONDS, doubtful=True)
    lookup.add(*node(2), NEAR_SECONDS)
    answer(lookup, lookup.ask())
    (doubtful,) = lookup.ask()
    assert doubtful.state is PENDING
    assert lookup.finished
    assert lookup.late == 0
    lookup.slow(doubtful)
    assert lookup.late == 0


def test_found_expects_tardy_candidates_until_they_answer_or_are_slow() -> None:
    for end in ("heard", "slow", "failed"):
        lookup = lookup_with([2], [1])
        tardy, near = lookup.ask()
        answer(lookup, [near])
        found = lookup.found()
        assert found.complete
        assert found.expected == (tardy,)
        assert not found.is_settled
        if end == "heard":
            assert lookup.heard_late(found, tardy, tardy.node_id, b"token")
        else:
            (lookup.slow if end == "slow" else lookup.failed)(tardy)
        assert found.is_settled
        assert fars(found.closest) == ([1, 2] if end == "heard" else [2])


def test_answer_after_the_end_counts_only_among_the_k_closest() -> None:
    lookup = lookup_with([1, 3, 4], [2, 5], k=3)
    first, tardy, third = lookup.ask()
    lookup.slow(tardy)
    (fourth,) = lookup.ask()
    answer(lookup, [first, third, fourth])
    found = lookup.found()
    assert fars(found.closest) == [1, 3, 4]
    assert lookup.heard_late(found, tardy, tardy.node_id, b"token")
    assert fars(found.closest) == [1, 2, 3]
    far = Lookup(KEY, OWN, k=2)
    for number in (1, 2, 3):
        far.add(*node(number))
    first, second = far.ask()
    far.slow(first)
    (third,) = far.ask()
    answer(far, [second, third])
    found = far.found()
    assert not far.heard_late(found, first, node(9)[0], b"token")
    assert fars(found.closest) == [2, 3]


def test_closest_sets_are_kept_while_they_are_settled() -> None:
    table = RoutingTable(OWN)
    kept = ClosestSets(table, 10)
    lookup = lookup_with([2], [1])
    tardy, near = lookup.ask()
    answer(lookup, [near])
    found = lookup.found()
    kept.put(KEY, found, 0.0)
    assert kept.get(KEY, 0.1) is None
    lookup.heard_late(found, tardy, tardy.node_id, b"token")
    assert kept.get(KEY, 0.5) is found
    assert kept.get(KEY, TOKEN_REUSE_SECONDS + 0.1) is None


@given(st.data())
def test_lookup_ends_whatever_its_candidates_are(data: st.DataObject) -> None:
    """As its namesake in test_lookup, with contacts that are far away, marked addresses, and second queries."""
    lookup = Lookup(
        KEY,
        OWN,
        data.draw(st.integers(1, 5)),
        data.draw(st.integers(1, 4)),
        one_per_network=data.draw(st.booleans()),
        usual_seconds=USUAL_SECONDS,
    )
    places = st.integers(1, 400)

    def add() -> None:
        lookup.add(
            *node(data.draw(places)),
            data.draw(st.sampled_from([0.0, NEAR_SECONDS, FAR_SECONDS])),
            doubtful=data.draw(st.booleans()),
            is_awaited=data.draw(st.booleans()),
        )

    for _ in range(data.draw(st.integers(0, 8))):
        add()
    waiting: list[Candidate] = []
    for _ in range(2_000):
        waiting += lookup.ask()
        if (lookup.finished and not lookup.waits(is_empty=True)) or not waiting:
            break
        candidate = waiting[data.draw(st.integers(0, len(waiting) - 1))]
        kinds = ["heard", "failed"] + ["slow"] * (candidate.state in (PENDING, TARDY, LATE))
        kind = data.draw(st.sampled_from(kinds))
        if kind == "slow":
            lookup.slow(candidate)
            continue
        waiting.remove(candidate)
        if kind == "failed":
            lookup.failed(candidate)
        else:
            for _ in range(data.draw(st.integers(0, 3))):
                add()
            lookup.heard(candidate, candidate.node_id, None)
    assert lookup.finished
    assert not lookup.waits(is_empty=True)
    found = lookup.found()
    assert found.asked <= MAX_QUERIES
    assert found.is_settled
    states = [candidate.state for candidate in lookup._candidates]
    assert lookup.late == sum(state in (TARDY, LATE) for state in states) == 0
    assert lookup._in_flight == states.count(PENDING)
    assert states.count(HEARD) <= found.answered
    assert states.count(FAILED) <= found.failed
