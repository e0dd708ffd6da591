"""grape.fairshare: shares of hosts and announcers, compared with plain counts of all of them."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grape.dht.compact import Address
from grape.fairshare import EvictionOrder, FairShares, ShareCounts


def random_shares(dice: random.Random, hosts: int, announcers: int, most: int) -> dict[Address, list[Address]]:
    shares: dict[Address, list[Address]] = {}
    number = 0
    for _ in range(announcers):
        host = f"10.0.0.{dice.randrange(hosts)}"
        count = dice.randint(1, most)
        shares[host, len(shares)] = [(host, number + n) for n in range(count)]
        number += count
    return shares


@given(st.lists(st.tuples(st.sampled_from(["add", "remove", "touch"]), st.integers(0, 11)), max_size=150))
def test_share_counts_find_the_largest_members_under_any_changes(events: list[tuple[str, int]]) -> None:
    shares: ShareCounts[int] = ShareCounts()
    counts: Counter[int] = Counter()
    latest: dict[int, int] = {}
    for turn, (kind, member) in enumerate(events):
        if kind == "add" or not counts[member]:
            shares.add(member)
            counts[member] += 1
        elif kind == "remove":
            shares.remove(member)
            counts[member] -= 1
        else:
            shares.touch(member)
        latest[member] = turn
        listed = [member for member, count in counts.items() if count]
        assert sorted(shares) == sorted(listed)
        assert len(shares) == len(listed)
        assert all(shares[member] == counts[member] for member in range(12))
        if listed:
            assert shares.latest_largest() == max(listed, key=lambda each: (counts[each], latest[each]))
            assert shares.earliest_largest() == max(listed, key=lambda each: (counts[each], -latest[each]))


def test_share_counts_add_many_at_once() -> None:
    shares: ShareCounts[str] = ShareCounts()
    shares.add("a", 3)
    shares.add("b")
    assert [shares["a"], shares["b"], shares["c"]] == [3, 1, 0]
    assert shares.latest_largest() == "a"


@given(st.lists(st.tuples(st.sampled_from(["put", "touch", "evict"]), st.integers(0, 15)), max_size=120))
def test_eviction_order_names_the_oldest_key_of_the_largest_host_whose_turn_it_is(
    events: list[tuple[str, int]],
) -> None:
    order = EvictionOrder()
    # The model: each host's keys, the least recently used first, and when it last had a turn. Key n is host n % 4's.
    keys: dict[str, list[bytes]] = {}
    turns: dict[str, int] = {}
    for turn, (kind, number) in enumerate(events):
        host, key = f"10.0.0.{number % 4}", b"%d" % number
        of_host = keys.setdefault(host, [])
        if kind == "evict" and len(order):
            key = order.first()
            host = max((h for h in keys if keys[h]), key=lambda h: (len(keys[h]), -turns[h]))
            assert key == keys[host][0]
            order.remove(host, key)
            keys[host].remove(key)
        elif key not in of_host:
            order.add(host, key)
            of_host.append(key)
        elif kind == "touch":
            order.touch(host, key)
            of_host.append(of_host.pop(of_host.index(key)))
        else:
            order.remove(host, key)
            of_host.remove(key)
        turns[host] = turn
        assert len(order) == sum(map(len, keys.values()))


def test_eviction_order_lets_equal_hosts_give_in_turn() -> None:
    order = EvictionOrder()
    for number in range(6):
        order.add(f"10.0.0.{number % 3}", b"%d" % number)
    evicted = []
    while len(order):
        evicted.append(order.first())
        order.remove(f"10.0.0.{int(evicted[-1]) % 3}", evicted[-1])
    assert evicted == [b"0", b"1", b"2", b"3", b"4", b"5"]


@pytest.mark.parametrize("seed", range(20))
def test_draw_gives_every_host_a_turn_before_any_has_a_second_one(seed: int) -> None:
    dice = random.Random(seed)
    shares = random_shares(dice, dice.choice((1, 3, 40, 200)), 200, dice.choice((1, 1, 4)))
    fair = FairShares(shares)
    of_host = Counter(announcer[0] for announcer, peers in shares.items() for _ in peers)
    by = {peer: announcer for announcer, peers in shares.items() for peer in peers}
    for count in (1, 50, 100, len(by)):
        drawn = fair.draw(count, shares, dice.sample)
        assert len(drawn) == len(set(drawn)) == count
        assert set(drawn) <= set(by)
        turns = Counter(by[peer][0] for peer in drawn)
        for host in of_host:
            # A host that had fewer turns than another has no peers left.
            assert turns[host] >= max(turns.values()) - 1 or turns[host] == of_host[host]
        of_announcer = Counter(by[peer] for peer in drawn)
        for announcer, peers in shares.items():
            most = max(of_announcer[other] for other in shares if other[0] == announcer[0])
            assert of_announcer[announcer] >= most - 1 or of_announcer[announcer] == len(peers)


def test_draw_reaches_every_peer() -> None:
    dice = random.Random(1)
    shares = random_shares(dice, 2, 60, 30)
    fair = FairShares(shares)
    seen = {peer for _ in range(2_000) for peer in fair.draw(10, shares, dice.sample)}
    assert seen == {peer for peers in shares.values() for peer in peers}


def test_fair_shares_follow_any_additions_and_removals() -> None:
    dice = random.Random(2)
    shares: dict[Address, list[Address]] = {("10.0.0.1", 1): [("10.0.0.1", 1)]}
    fair = FairShares(shares)
    for number in range(2_000):
        announcer = (f"10.0.0.{dice.randrange(5)}", dice.randrange(40))
        share = shares.setdefault(announcer, [])
        if share and dice.random() < 0.5:
            share.pop()
            fair.remove(announcer)
        else:
            share.append((announcer[0], number))
            fair.add(announcer)
        if not share:
            del shares[announcer]
        hosts = Counter(each[0] for each, peers in shares.items() for _ in peers)
        host, size = fair.largest()[0], len(shares[fair.largest()])
        assert hosts[host] == max(hosts.values())
        assert size == max(len(peers) for each, peers in shares.items() if each[0] == host)
        everything = sum(map(len, shares.values()))
        assert len(set(fair.draw(everything, shares, dice.sample))) == everything
