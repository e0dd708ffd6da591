"""grape.coalesce: equal callers wait for one piece of work."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from grape.coalesce import Cancellable, Coalescer, deferred
from tests.simulation import outcome


class Work:
    """Work that the test ends; ``under_way`` has one Deferred for each start."""

    def __init__(self) -> None:
        self.under_way: list[Deferred[int]] = []

    def start(self, done: Callable[[int], None]) -> Deferred[int]:
        def tell(result: int) -> int:
            done(result)
            return result

        work: Deferred[int] = Deferred()
        work.addCallback(tell).addErrback(lambda failure: failure.trap(CancelledError))
        self.under_way.append(work)
        return work


def run(
    coalescer: Coalescer[str, int, int], key: str, start: Callable[[Callable[[int], None]], Deferred[int]]
) -> Deferred[int]:
    """Joins or starts work, as Services does, and returns a Deferred."""

    def join(done: Callable[[int | Failure], object]) -> Cancellable:
        joined = coalescer.join(key, done)
        return coalescer.start(key, start, done) if joined is None else joined

    return deferred(join)


def test_equal_keys_share_the_work_and_its_result() -> None:
    coalescer: Coalescer[str, int, int] = Coalescer(int)
    work = Work()
    results = [outcome(run(coalescer, "key", work.start)) for _ in range(3)]
    other = outcome(run(coalescer, "other", work.start))
    assert len(work.under_way) == 2
    work.under_way[0].callback(7)
    assert results == [[7]] * 3
    assert other == []
    assert len(coalescer) == 1


def test_work_starts_anew_after_its_end() -> None:
    coalescer: Coalescer[str, int, int] = Coalescer(int)
    work = Work()
    for number in range(3):
        result = outcome(run(coalescer, "key", work.start))
        work.under_way[number].callback(number)
        assert result == [number]
    assert len(coalescer) == 0


def test_work_that_ends_at_once_is_not_kept() -> None:
    coalescer: Coalescer[str, int, int] = Coalescer(int)

    def start(done: Callable[[int], None]) -> Deferred[int]:
        done(5)
        return Deferred()

    assert [outcome(run(coalescer, "key", start)) for _ in range(2)] == [[5], [5]]
    assert len(coalescer) == 0


def test_work_that_raises_at_its_start_is_forgotten() -> None:
    coalescer: Coalescer[str, int, int] = Coalescer(int)

    def start(done: Callable[[int], None]) -> Deferred[int]:
        raise KeyError("lost")

    for _ in range(2):
        with pytest.raises(KeyError):
            run(coalescer, "key", start)
    assert len(coalescer) == 0


def test_caller_can_cancel_without_the_others() -> None:
    coalescer: Coalescer[str, int, int] = Coalescer(int)
    work = Work()
    callers = [run(coalescer, "key", work.start) for _ in range(3)]
    results = [outcome(caller) for caller in callers]
    callers[1].cancel()
    assert isinstance(results[1][0], CancelledError)
    assert not work.under_way[0].called
    work.under_way[0].callback(1)
    assert (results[0], results[2]) == ([1], [1])


def test_last_caller_to_cancel_cancels_the_work() -> None:
    coalescer: Coalescer[str, int, int] = Coalescer(int)
    work = Work()
    callers = [run(coalescer, "key", work.start) for _ in range(2)]
    results = [outcome(caller) for caller in callers]
    for caller in callers:
        caller.cancel()
    assert work.under_way[0].called
    assert [type(result[0]) for result in results] == [CancelledError] * 2
    assert len(coalescer) == 0
    outcome(run(coalescer, "key", work.start))
    assert len(work.under_way) == 2


def test_caller_may_cancel_another_in_its_callback() -> None:
    coalescer: Coalescer[str, int, int] = Coalescer(int)
    work = Work()
    first = run(coalescer, "key", work.start)
    second = run(coalescer, "key", work.start)
    results = outcome(second)
    first.addCallback(lambda _: second.cancel())
    third = outcome(run(coalescer, "key", work.start))
    work.under_way[0].callback(1)
    assert isinstance(results[0], CancelledError)
    assert third == [1]


def test_caller_may_start_anew_in_its_callback() -> None:
    coalescer: Coalescer[str, int, int] = Coalescer(int)
    work = Work()
    again: list[list[int]] = []
    run(coalescer, "key", work.start).addCallback(lambda _: again.append(outcome(run(coalescer, "key", work.start))))
    work.under_way[0].callback(1)
    assert again == [[]]
    work.under_way[1].callback(2)
    assert again == [[2]]
