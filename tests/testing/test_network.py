"""grape.testing.network itself: the in-memory network and its clock."""

from __future__ import annotations

import random

from grape.testing import HeapClock, MemoryNetwork, make_grapes
from grape.testing.clock import MIN_DEAD


def test_calls_happen_in_time_order_and_ties_in_order_of_arrival() -> None:
    clock = HeapClock()
    seen: list[str] = []
    clock.callLater(2, seen.append, "late")
    clock.callLater(1, seen.append, "first")
    clock.callLater(1, seen.append, "second")
    clock.callLater(1, seen.append, "never").cancel()
    clock.advance(1.5)
    assert seen == ["first", "second"]
    clock.advance(1)
    assert seen == ["first", "second", "late"]


def test_all_calls_happen_in_time_order_however_they_came() -> None:
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


def test_what_nobody_can_take_back_is_no_delayed_call() -> None:
    clock = HeapClock()
    clock.post(1, list)
    call = clock.callLater(1, list)
    assert clock.getDelayedCalls() == [call]
    assert clock.next_at() == 1


def test_calls_that_were_taken_back_take_no_room() -> None:
    clock = HeapClock()
    seen: list[int] = []
    for number in range(10 * MIN_DEAD):
        clock.callLater(1 + number, seen.append, -1).cancel()
        if number % MIN_DEAD == 0:
            clock.callLater(number, seen.append, number)
    places = len(clock._heap) + sum(map(len, clock._slots.values()))
    assert places <= 2 * MIN_DEAD + 20
    clock.advance(20 * MIN_DEAD)
    assert seen == list(range(0, 10 * MIN_DEAD, MIN_DEAD))


def test_three_grapes_announce_and_look_up() -> None:
    network = MemoryNetwork(seed=1)
    grapes = make_grapes(network, 3)
    assert network.result(grapes[0].announce("rest:util:net", 1337)) == 2
    for grape in grapes:
        assert network.result(grape.lookup("rest:util:net")) == ["10.0.0.1:1337"]


def test_the_same_seed_gives_the_same_datagrams() -> None:
    def trace(seed: int) -> list[tuple[object, ...]]:
        network = MemoryNetwork(seed, latency=lambda dice: dice.uniform(0.001, 0.1), loss=0.1)
        datagrams: list[tuple[object, ...]] = []
        network.sent = lambda *datagram: datagrams.append(datagram)
        grapes = make_grapes(network, 10)
        network.clock.advance(10)
        network.result(grapes[3].announce("a", 1))
        network.result(grapes[7].lookup("a"))
        return datagrams

    assert trace(7) == trace(7)
    assert trace(7) != trace(8)
