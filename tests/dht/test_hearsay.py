"""grape.dht.hearsay: addresses that nodes name and that never answer."""

from __future__ import annotations

import random

import pytest

from grape.dht.compact import Address
from grape.dht.hearsay import MARK_SECONDS, MAX_MARKS, MAX_MARKS_PER_TELLER, Hearsay

TELLER = ("10.0.0.1", 20_001)
OTHER = ("10.0.0.2", 20_001)


def there(number: int) -> Address:
    return f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 20_001


THERE = there(70_000)


@pytest.fixture
def hearsay() -> Hearsay:
    return Hearsay()


def test_unknown_address_is_awaited_by_every_lookup(hearsay: Hearsay) -> None:
    assert all(hearsay.is_awaited(THERE, 0.0) for _ in range(3))
    assert not hearsay.marks


def test_marked_address_is_not_awaited_until_the_mark_ends(hearsay: Hearsay) -> None:
    hearsay.unanswered(THERE, TELLER, 100.0)
    assert not hearsay.is_awaited(THERE, 100.0)
    assert not hearsay.is_awaited(THERE, 104.9)
    assert hearsay.is_awaited(THERE, 105.0)


def test_exactly_one_lookup_waits_when_a_mark_has_ended(hearsay: Hearsay) -> None:
    hearsay.unanswered(THERE, TELLER, 100.0)
    assert [hearsay.is_awaited(THERE, 105.0) for _ in range(5)] == [True, False, False, False, False]


def test_marks_of_an_address_hold_longer_each_time(hearsay: Hearsay) -> None:
    now, held = 0.0, []
    hearsay.unanswered(THERE, TELLER, now)
    for _ in range(6):
        began = now
        while not hearsay.is_awaited(THERE, now):
            now += 1.0
        held.append(now - began)
        hearsay.unanswered(THERE, TELLER, now)
    assert held == [*MARK_SECONDS, MARK_SECONDS[-1]] == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0]


def test_many_lookups_at_once_mark_an_address_once(hearsay: Hearsay) -> None:
    for _ in range(100):
        hearsay.unanswered(THERE, TELLER, 0.0)
    assert hearsay.is_awaited(THERE, 5.0)


def test_mark_ends_at_a_datagram(hearsay: Hearsay) -> None:
    hearsay.unanswered(THERE, TELLER, 0.0)
    hearsay.heard(("10.0.0.9", 1))
    assert not hearsay.is_awaited(THERE, 1.0)
    hearsay.heard(THERE)
    assert not hearsay.marks
    assert all(hearsay.is_awaited(THERE, 1.0) for _ in range(3))
    hearsay.unanswered(THERE, TELLER, 1.0)
    assert hearsay.is_awaited(THERE, 6.0)


def test_teller_has_at_most_32_marks_and_loses_its_own_oldest(hearsay: Hearsay) -> None:
    hearsay.unanswered(THERE, OTHER, 0.0)
    for number in range(1_000):
        hearsay.unanswered(there(number), TELLER, 0.0)
    assert list(hearsay.marks) == [THERE, *map(there, range(1_000 - MAX_MARKS_PER_TELLER, 1_000))]


def test_marks_are_bounded_whoever_tells(hearsay: Hearsay) -> None:
    for number in range(3 * MAX_MARKS):
        hearsay.unanswered(there(number), ("10.9.9.9", number), 0.0)
    assert list(hearsay.marks) == list(map(there, range(2 * MAX_MARKS, 3 * MAX_MARKS)))


def test_marks_are_counted_for_their_tellers_whatever_happens(hearsay: Hearsay) -> None:
    dice = random.Random(1)
    for step in range(20_000):
        address = there(dice.randrange(3_000))
        turn = dice.random()
        if turn < 0.6:
            hearsay.unanswered(address, ("10.9.9.9", dice.choice((1, 2, dice.randrange(200)))), step / 100)
        elif turn < 0.8:
            hearsay.is_awaited(address, step / 100)
        else:
            hearsay.heard(address)
        assert len(hearsay.marks) <= MAX_MARKS
    named = {address: teller for teller, addresses in hearsay._named.items() for address in addresses}
    assert named == {address: mark.told_by for address, mark in hearsay.marks.items()}
    assert all(0 < len(addresses) <= MAX_MARKS_PER_TELLER for addresses in hearsay._named.values())
