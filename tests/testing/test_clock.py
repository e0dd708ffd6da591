"""Tests grape.testing.clock: virtual time and the order of calls."""

from __future__ import annotations

import random

import pytest
from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface.verify import verifyObject

from grape.testing import HeapClock


@pytest.fixture
def clock() -> HeapClock:
    """A clock at 0."""
    return HeapClock()


def test_clock_and_its_calls_provide_twisteds_interfaces(clock: HeapClock) -> None:
    assert verifyObject(IReactorTime, clock)
    assert verifyObject(IDelayedCall, clock.callLater(1, list))


def test_clock_makes_calls_in_the_order_of_their_times_and_of_their_scheduling(clock: HeapClock) -> None:
    seen: list[str] = []
    clock.callLater(2, seen.append, "late")
    clock.callLater(1, seen.append, "first")
    clock.post(1, seen.append, "second")
    moved = clock.callLater(0, seen.append, "third")
    clock.callLater(1, seen.append, "never").cancel()
    moved.reset(1)
    clock.advance(1.5)
    assert (seen, clock.seconds()) == (["first", "second", "third"], 1.5)
    clock.advance(0.5)
    assert (seen, clock.seconds()) == (["first", "second", "third", "late"], 2)


def test_clock_keeps_the_order_of_times_whatever_is_scheduled_meanwhile() -> None:
    for seed in range(20):
        dice = random.Random(seed)
        clock = HeapClock()
        expected: list[float] = []
        seen: list[float] = []

        def plan(clock: HeapClock, dice: random.Random, expected: list[float], seen: list[float]) -> None:
            delay = dice.choice((0.0, dice.uniform(0, 0.002), dice.uniform(0, 2), dice.uniform(0, 900)))
            at = clock.seconds() + delay
            expected.append(at)

            def happens() -> None:
                assert clock.seconds() == at
                seen.append(at)
                if len(expected) < 500:
                    plan(clock, dice, expected, seen)
                    plan(clock, dice, expected, seen)

            if dice.random() < 0.5:
                clock.post(delay, happens)
            else:
                moved = clock.callLater(dice.uniform(0, 5), happens)
                moved.reset(delay)
                clock.callLater(delay, happens).cancel()

        for _ in range(10):
            plan(clock, dice, expected, seen)
        while clock.next_at() is not None:
            if dice.random() < 0.5:
                clock.step()
            else:
                clock.advance(dice.uniform(0, 10))
        assert seen == sorted(expected), f"seed {seed}"


def test_call_takes_keywords(clock: HeapClock) -> None:
    seen: list[tuple[object, ...]] = []
    clock.callLater(1, lambda *args, **kwargs: seen.append((args, kwargs)), 1, b=2)
    clock.advance(1)
    assert seen == [((1,), {"b": 2})]


def test_call_is_moved_by_reset_and_delay(clock: HeapClock) -> None:
    seen: list[float] = []
    call = clock.callLater(5, lambda: seen.append(clock.seconds()))
    clock.advance(2)
    call.reset(1)
    assert call.getTime() == 3
    call.delay(4)
    assert (call.getTime(), clock.next_at(), clock.getDelayedCalls()) == (7, 7, [call])
    clock.advance(10)
    assert seen == [7]


def test_call_is_no_longer_active_once_it_was_made_or_cancelled(clock: HeapClock) -> None:
    made, cancelled = clock.callLater(1, list), clock.callLater(1, list)
    assert made.active()
    cancelled.cancel()
    clock.advance(1)
    assert not made.active()
    assert not cancelled.active()
    for late in (made.cancel, lambda: made.reset(1), lambda: made.delay(1)):
        with pytest.raises(AlreadyCalled):
            late()
    for late in (cancelled.cancel, lambda: cancelled.reset(1), lambda: cancelled.delay(1)):
        with pytest.raises(AlreadyCancelled):
            late()
    assert clock.getDelayedCalls() == []


def test_call_is_inactive_while_it_is_made(clock: HeapClock) -> None:
    seen: list[bool] = []
    call = clock.callLater(1, lambda: seen.append(call.active()))
    clock.advance(1)
    assert seen == [False]


def test_post_is_no_delayed_call(clock: HeapClock) -> None:
    clock.post(1, list)
    call = clock.callLater(2, list)
    assert clock.getDelayedCalls() == [call]
    assert clock.next_at() == 1


def test_step_makes_one_call(clock: HeapClock) -> None:
    seen: list[int] = []
    clock.callLater(1, seen.append, -1).cancel()
    clock.callLater(2, seen.append, 2)
    clock.callLater(2, seen.append, 3)
    assert clock.step()
    assert (seen, clock.seconds()) == ([2], 2)
    assert clock.step()
    assert not clock.step()
    assert (seen, clock.next_at()) == ([2, 3], None)
