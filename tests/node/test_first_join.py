"""grape.node.first_join: calls made right after a start wait for the first answer, and no longer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from treq.testing import StubTreq
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import LogEvent
from twisted.python.failure import Failure

from grape import Grape, GrapeError
from grape.node.first_join import FIRST_ANSWER_SECONDS, FIRST_CALL_SECONDS, FirstJoin
from grape.testing import HeapClock, MemoryNetwork, make_grapes
from tests.simulation import Key, Remote, Traffic, lone_grape, outcome

FIRST = "10.0.0.1:20001"
DEAD = "10.0.0.9:1"
DISTANT_SECONDS = 0.3


class Work:
    """Stands for the work of a call: how it was begun, and whether it was cancelled."""

    def __init__(self, error: Exception | None = None) -> None:
        self.seconds: list[float] = []
        self.cancelled = False
        self._error = error

    def begin(self, seconds: float) -> Work:
        self.seconds.append(seconds)
        if self._error is not None:
            raise self._error
        return self

    def cancel(self) -> None:
        self.cancelled = True


@pytest.fixture
def clock() -> HeapClock:
    return HeapClock()


@pytest.fixture
def join(clock: HeapClock) -> FirstJoin:
    """A first join that has begun."""
    join = FirstJoin(clock)
    join.start()
    return join


def unused(failure: Failure) -> None:
    raise AssertionError(failure)


def test_call_before_a_join_or_after_one_begins_at_once(clock: HeapClock) -> None:
    join, work = FirstJoin(clock), Work()
    assert not join.is_under_way
    assert join.run(work.begin, unused, 2.0) is work
    join.start()
    assert join.is_under_way
    join.over()
    assert join.run(work.begin, unused, 2.0) is work
    assert work.seconds == [2.0, 2.0]
    assert not clock.getDelayedCalls()


def test_call_waits_for_the_first_answer(join: FirstJoin, clock: HeapClock) -> None:
    work = Work()
    join.run(work.begin, unused, 2.0)
    clock.advance(0.25)
    assert work.seconds == []
    join.over()
    assert work.seconds == [2.0]


def test_call_waits_no_longer_than_its_time_allows(join: FirstJoin, clock: HeapClock) -> None:
    early, late = Work(), Work()
    join.run(early.begin, unused, 2.0)
    clock.advance(FIRST_ANSWER_SECONDS - 0.01)
    join.run(late.begin, unused, 0.1)
    assert early.seconds == late.seconds == []
    clock.advance(0.02)
    assert early.seconds == [pytest.approx(FIRST_CALL_SECONDS - FIRST_ANSWER_SECONDS)]
    assert late.seconds == [0.1]
    assert not join.is_under_way


def test_calls_begin_in_the_order_in_which_they_were_made(join: FirstJoin) -> None:
    begun: list[int] = []

    def call(number: int) -> None:
        def begin(seconds: float) -> Work:
            begun.append(number)
            return Work()

        join.run(begin, unused, 2.0)

    for number in range(5):
        call(number)
    join.over()
    assert begun == [0, 1, 2, 3, 4]


def test_call_that_is_cancelled_while_it_waits_never_begins(join: FirstJoin, clock: HeapClock) -> None:
    work, other = Work(), Work()
    waiting = join.run(work.begin, unused, 2.0)
    join.run(other.begin, unused, 2.0)
    waiting.cancel()
    waiting.cancel()
    clock.advance(3)
    assert (work.seconds, work.cancelled) == ([], False)
    assert len(other.seconds) == 1


def test_call_that_is_cancelled_after_it_began_cancels_its_work(join: FirstJoin) -> None:
    work = Work()
    waiting = join.run(work.begin, unused, 2.0)
    join.over()
    waiting.cancel()
    assert work.cancelled


def test_call_that_cannot_begin_at_once_raises(clock: HeapClock) -> None:
    with pytest.raises(ZeroDivisionError):
        FirstJoin(clock).run(Work(ZeroDivisionError()).begin, unused, 2.0)


def test_call_that_cannot_begin_later_fails_and_the_others_begin(join: FirstJoin) -> None:
    failures: list[Failure] = []
    other = Work()
    join.run(Work(ZeroDivisionError()).begin, failures.append, 2.0)
    join.run(other.begin, unused, 2.0)
    join.over()
    assert [failure.type for failure in failures] == [ZeroDivisionError]
    assert len(other.seconds) == 1


def test_caller_that_raises_is_logged_and_the_others_are_told(join: FirstJoin, logged_failures: list[LogEvent]) -> None:
    failures: list[Failure] = []
    join.run(Work().begin, lambda failure: 1 / 0, 2.0)
    join.run(Work().begin, failures.append, 2.0)
    join.stop()
    assert len(failures) == len(logged_failures) == 1
    logged_failures.clear()


def test_stop_fails_the_calls_that_wait(join: FirstJoin, clock: HeapClock) -> None:
    work, failures = Work(), list[Failure]()
    join.run(work.begin, failures.append, 2.0)
    join.stop()
    clock.advance(3)
    assert work.seconds == []
    (error,) = [failure.value for failure in failures]
    assert isinstance(error, GrapeError)
    assert (error.code, error.status) == ("ERR_GRAPE_NOT_RUNNING", 503)
    assert not clock.getDelayedCalls()


def test_call_made_while_others_begin_begins_at_once(join: FirstJoin) -> None:
    inner = Work()

    def begin(seconds: float) -> Work:
        join.run(inner.begin, unused, 2.0)
        return Work()

    join.run(begin, unused, 2.0)
    join.over()
    assert inner.seconds == [2.0]


def test_deferred_call_waits_fires_and_can_be_cancelled(join: FirstJoin) -> None:
    under_way: list[Deferred[int]] = []

    def begin(seconds: float) -> Deferred[int]:
        under_way.append(Deferred())
        return under_way[-1]

    calls = [join.deferred(begin, 2.0) for _ in range(3)]
    results = [outcome(call) for call in calls]
    calls[0].cancel()
    assert isinstance(results[0][0], CancelledError)
    join.over()
    under_way[0].callback(7)
    calls[2].cancel()
    assert results[1] == [7]
    assert isinstance(results[2][0], CancelledError)
    assert len(under_way) == 2


# In a node


def joining(network: MemoryNetwork, **keywords: Any) -> Grape:
    """A grape that has just begun to join a distant ring of two, in which "held" is announced and "value" was put."""
    grapes = make_grapes(network, 2)
    network.result(grapes[0].announce("held", 7))
    network.result(grapes[0].put("value"))
    network.latency = lambda dice: DISTANT_SECONDS / 2
    return lone_grape(network, "10.0.0.3", **{"dht_bootstrap": [FIRST], **keywords})


@pytest.mark.parametrize("milliseconds", [24, 40, 150, 300])
def test_first_calls_are_right_at_any_distance(network: MemoryNetwork, milliseconds: int) -> None:
    grape = joining(network)
    network.latency = lambda dice: milliseconds / 2_000
    calls: dict[str, Deferred[Any]] = {
        "lookup": grape.lookup("held"),
        "announce": grape.announce("first", 8),
        "put": grape.put("value"),
        "mutable": Key().put(grape, "mine", 1),
    }
    began = network.clock.seconds()
    results: dict[str, Any] = {name: network.result(call) for name, call in calls.items()}
    assert results["lookup"] == ["10.0.0.1:7"]
    assert results["announce"] == 2
    got = network.result(grape.get(results["mutable"], cache=False))
    assert got is not None
    assert network.clock.seconds() - began < FIRST_CALL_SECONDS


def test_first_get_is_right(network: MemoryNetwork) -> None:
    grapes = make_grapes(network, 2)
    hash = network.result(grapes[0].put("value"))
    network.latency = lambda dice: DISTANT_SECONDS / 2
    grape = lone_grape(network, "10.0.0.3", dht_bootstrap=[FIRST])
    got = network.result(grape.get(hash))
    assert got is not None
    assert got.value == b"value"


def test_waiting_lookups_of_one_name_share_one_search(network: MemoryNetwork) -> None:
    grape = joining(network)
    traffic = Traffic(network)
    results = [outcome(grape.lookup("held")) for _ in range(50)]
    network.clock.advance(3)
    assert results == [[["10.0.0.1:7"]]] * 50
    assert len(traffic.queries(b"get_peers", source=("10.0.0.3", 20_001))) <= 4


def test_waiting_calls_count_as_under_way(network: MemoryNetwork) -> None:
    grape = joining(network, max_calls=3)
    client: Any = StubTreq(grape.resource())
    for number in range(5):
        client.post("http://localhost/lookup", json.dumps({"data": f"name {number}"}).encode())
    client.flush()
    assert grape.stats().counters["overloads"] == 2
    network.clock.advance(3)
    client.flush()


def test_lone_grape_never_waits(network: MemoryNetwork) -> None:
    grape = lone_grape(network)
    assert outcome(grape.announce("a", 1)) == [1]
    assert outcome(grape.lookup("a")) == [["127.0.0.1:1"]]
    assert outcome(grape.get("0" * 40)) == [None]


def test_grape_whose_join_is_over_never_waits_again(network: MemoryNetwork) -> None:
    grape = lone_grape(network, dht_bootstrap=[DEAD])
    network.clock.advance(FIRST_ANSWER_SECONDS + 0.1)
    assert outcome(grape.lookup("a")) == [[]]
    network.clock.advance(3_600)
    assert outcome(grape.lookup("a")) == [[]]


@pytest.mark.parametrize("entries", [[DEAD], [DEAD, "10.0.0.8:1"], ["nowhere.invalid:1"], [FIRST], [FIRST, DEAD]])
def test_first_calls_end_in_time_though_no_other_node_answers(network: MemoryNetwork, entries: list[str]) -> None:
    # 10.0.0.1 is the grape itself.
    grape = lone_grape(network, dht_bootstrap=entries)
    began = network.clock.seconds()
    results = [outcome(grape.lookup("a")), outcome(grape.announce("a", 1)), outcome(grape.get("0" * 40))]
    network.clock.advance(FIRST_ANSWER_SECONDS + 0.1)
    assert results[0] == [[]]
    assert results[1][0].code == "No nodes to query"
    assert results[2] == [None]
    assert network.clock.seconds() - began < FIRST_CALL_SECONDS


@pytest.mark.parametrize("entries", [[FIRST], ["nowhere.invalid:1"]])
def test_bootstrap_list_without_another_node_holds_no_call(network: MemoryNetwork, entries: list[str]) -> None:
    grape = lone_grape(network, dht_bootstrap=entries)
    results = outcome(grape.lookup("a"))
    network.clock.advance(0.05)
    assert results == [[]]


def test_name_whose_resolution_hangs_holds_calls_no_longer_than_a_dead_node(network: MemoryNetwork) -> None:
    reactor = network.reactor("10.0.0.1")
    reactor.resolve_all = lambda name: Deferred()  # type: ignore[method-assign]
    grape = lone_grape(network, dht_bootstrap=["slow.example:1"])
    results = outcome(grape.lookup("a"))
    network.clock.advance(FIRST_ANSWER_SECONDS - 0.1)
    assert results == []
    network.clock.advance(0.2)
    assert results == [[]]
    network.result(grape.stopService())


def test_items_that_the_grape_holds_come_at_once(network: MemoryNetwork) -> None:
    grape = lone_grape(network, dht_bootstrap=[DEAD])
    put, mutable = grape.put("value"), Key().put(grape, "mine", 1)
    for call in (put, mutable):
        call.addErrback(lambda failure: None)
    (immutable,) = [target.hex() for target in grape.node._item_store]
    (got,) = outcome(grape.get(immutable))
    assert got.value == b"value"
    network.clock.advance(3)


def test_cached_lookup_is_answered_at_once(network: MemoryNetwork) -> None:
    grapes = make_grapes(network, 2)
    network.result(grapes[1].announce("held", 7))
    assert network.result(grapes[1].lookup("held")) == ["10.0.0.2:7"]
    network.result(grapes[0].stopService())
    while grapes[1].stats().contacts:
        network.result(grapes[1].lookup("another"))
        network.clock.advance(1)
    network.result(grapes[1].stopService())
    grapes[1].startService()
    assert outcome(grapes[1].lookup("held")) == [["10.0.0.2:7"]]
    unknown = outcome(grapes[1].lookup("unknown"))
    assert unknown == []
    network.clock.advance(3)
    assert unknown == [[]]


def test_node_started_again_with_its_contacts_does_not_wait(network: MemoryNetwork) -> None:
    grapes = make_grapes(network, 2)
    grape = lone_grape(network, "10.0.0.3", dht_bootstrap=[FIRST, DEAD])
    network.clock.advance(1)
    network.result(grapes[0].announce("held", 7))
    network.result(grape.stopService())
    grape.startService()
    began = network.clock.seconds()
    assert network.result(grape.lookup("held")) == ["10.0.0.1:7"]
    assert network.clock.seconds() - began < 0.1


def test_waiting_calls_fail_when_the_grape_stops(network: MemoryNetwork) -> None:
    grape = lone_grape(network, dht_bootstrap=[DEAD])
    results = [
        outcome(grape.lookup("a")),
        outcome(grape.announce("a", 1)),
        outcome(grape.put("a")),
        outcome(Key().put(grape, "mine", 1)),
        outcome(grape.get("0" * 40)),
    ]
    network.result(grape.stopService(), seconds=0)
    for (error,) in results:
        assert isinstance(error, GrapeError)
        assert (error.code, error.status) == ("ERR_GRAPE_NOT_RUNNING", 503)
    network.clock.advance(1)
    assert not network.clock.getDelayedCalls()


def test_querier_that_answers_ends_the_wait(network: MemoryNetwork) -> None:
    grape = lone_grape(network, dht_bootstrap=[DEAD])
    results = outcome(grape.lookup("a"))
    Remote(network, "10.0.0.3").ask(("10.0.0.1", 20_001), b"ping")
    network.clock.advance(0.2)
    assert results == [[]]
