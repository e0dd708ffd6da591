"""grape.fairshare: fair shares among very many announcers, held against a plain count of all of them."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from grape.dht.compact import Address
from grape.fairshare import FairShares, ShareCounts


def crowded(dice: random.Random, hosts: int, announcers: int, most: int) -> dict[Address, list[Address]]:
    shares: dict[Address, list[Address]] = {}
    number = 0
    for _ in range(announcers):
        host = f"10.0.0.{dice.randrange(hosts)}"
        count = dice.randint(1, most)
        shares[host, len(shares)] = [(host, number + n) for n in range(count)]
        number += count
    return shares


@pytest.mark.parametrize("seed", range(20))
def test_the_largest_is_the_one_that_has_most_and_came_to_it_last(seed: int) -> None:
    dice = random.Random(seed)
    tally: ShareCounts[int] = ShareCounts()
    counts: Counter[int] = Counter()
    came: dict[int, int] = {}
    for turn in range(500):
        member = dice.randrange(12)
        if dice.random() < 0.55 or not counts[member]:
            tally.add(member)
            counts[member] += 1
        else:
            tally.remove(member)
            counts[member] -= 1
        came[member] = turn
        there = [member for member, count in counts.items() if count]
        assert sorted(tally) == sorted(there)
        if there:
            assert tally.largest() == max(there, key=lambda each: (counts[each], came[each]))


@pytest.mark.parametrize("seed", range(20))
def test_every_host_has_its_turn_before_any_has_a_second_one(seed: int) -> None:
    dice = random.Random(seed)
    shares = crowded(dice, dice.choice((1, 3, 40, 200)), 200, dice.choice((1, 1, 4)))
    crowd = FairShares(shares)
    of_host = Counter(announcer[0] for announcer, peers in shares.items() for _ in peers)
    by = {peer: announcer for announcer, peers in shares.items() for peer in peers}
    for count in (1, 50, 100, len(by)):
        drawn = crowd.draw(count, shares, dice.sample)
        assert len(drawn) == len(set(drawn)) == count
        assert set(drawn) <= set(by)
        turns = Counter(by[peer][0] for peer in drawn)
        for host in of_host:
            # Who has fewer than another has nothing left.
            assert turns[host] >= max(turns.values()) - 1 or turns[host] == of_host[host]
        of_announcer = Counter(by[peer] for peer in drawn)
        for announcer, peers in shares.items():
            most = max(of_announcer[other] for other in shares if other[0] == announcer[0])
            assert of_announcer[announcer] >= most - 1 or of_announcer[announcer] == len(peers)


def test_everybody_is_drawn_in_the_end() -> None:
    dice = random.Random(1)
    shares = crowded(dice, 2, 60, 30)
    crowd = FairShares(shares)
    seen = {peer for _ in range(2_000) for peer in crowd.draw(10, shares, dice.sample)}
    assert seen == {peer for peers in shares.values() for peer in peers}


def test_it_follows_what_comes_and_goes() -> None:
    dice = random.Random(2)
    shares: dict[Address, list[Address]] = {("10.0.0.1", 1): [("10.0.0.1", 1)]}
    crowd = FairShares(shares)
    for number in range(2_000):
        announcer = (f"10.0.0.{dice.randrange(5)}", dice.randrange(40))
        share = shares.setdefault(announcer, [])
        if share and dice.random() < 0.5:
            share.pop()
            crowd.remove(announcer)
        else:
            share.append((announcer[0], number))
            crowd.add(announcer)
        if not share:
            del shares[announcer]
        hosts = Counter(each[0] for each, peers in shares.items() for _ in peers)
        host, size = crowd.largest()[0], len(shares[crowd.largest()])
        assert hosts[host] == max(hosts.values())
        assert size == max(len(peers) for each, peers in shares.items() if each[0] == host)
        everything = sum(map(len, shares.values()))
        assert len(set(crowd.draw(everything, shares, dice.sample))) == everything
