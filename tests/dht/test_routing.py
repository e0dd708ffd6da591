"""grape.dht.routing: listing, dropping, replacements, and the closest contacts."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grape.dht.buckets import GOOD_SECONDS, REPLACEMENTS_PER_BUCKET
from grape.dht.compact import Address
from grape.dht.nodeid import distance, position, shared_bits
from grape.dht.routing import (
    BAD_AFTER_FAILURES,
    LOST_SECONDS,
    MAX_DROPPED,
    RELEARN_SECONDS,
    RENAMES,
    K,
    Listed,
    RoutingTable,
)
from tests import strategies

OWN = bytes(20)


@pytest.fixture
def table() -> RoutingTable:
    return RoutingTable(OWN)


@pytest.fixture
def dice() -> random.Random:
    return random.Random(1)


def far(n: int) -> tuple[bytes, Address]:
    """Returns a node in the other half of the id space: all of these are in one bucket that never splits."""
    return b"\x80" + n.to_bytes(19, "big"), (f"10.0.{n >> 8}.{n & 255}", 20_001)


def near(n: int) -> tuple[bytes, Address]:
    """Returns a node that shares 64 bits with our id."""
    return bytes(8) + b"\x80" + n.to_bytes(11, "big"), (f"10.1.{n >> 8}.{n & 255}", 20_001)


def fill(table: RoutingTable, count: int = K) -> None:
    """Fills the far bucket; node n was heard at n seconds."""
    for n in range(count):
        table.heard(*far(n), float(n))


def drop(table: RoutingTable, address: Address, at: float = 100.0) -> None:
    """Lets a contact fail until it is dropped."""
    for n in range(BAD_AFTER_FAILURES):
        table.failed(address, at + n, at + n)
    assert table.at(address) is None


def test_heard_lists_a_node_once(table: RoutingTable) -> None:
    assert table.heard(*far(1), 0.0) is Listed.NEW
    assert table.heard(*far(1), 1.0) is Listed.KNOWN
    assert [(contact.id, contact.address, contact.heard_at) for contact in table] == [(*far(1), 1.0)]


def test_heard_refuses_our_own_id(table: RoutingTable) -> None:
    assert table.heard(OWN, ("10.0.0.1", 1), 0.0) is Listed.REFUSED
    assert len(table) == 0


def test_table_splits_the_last_bucket_alone(table: RoutingTable) -> None:
    for n in range(3 * K):
        table.heard(*far(n), 0.0)
    assert table.bucket_sizes() == [K, 0]
    for n in range(K):
        assert table.heard(*near(n), 0.0) is Listed.NEW
    assert table.bucket_sizes() == [K, K]
    assert table.heard(*near(K), 0.0) is Listed.REPLACEMENT
    assert table.bucket_sizes() == [K] + [0] * 63 + [K, 0]


def test_table_has_each_contact_in_the_bucket_of_the_bits_it_shares(dice: random.Random) -> None:
    table = RoutingTable(dice.randbytes(20))
    for n in range(5_000):
        table.heard(dice.randbytes(20), (f"10.0.{n >> 8}.{n & 255}", 1), 0.0)
    sizes = table.bucket_sizes()
    own = position(table.own_id)
    shared = [min(shared_bits(own, contact.position), len(sizes) - 1) for contact in table]
    assert sizes == [shared.count(bits) for bits in range(len(sizes))]
    assert sizes[:7] == [K] * 7
    assert max(sizes) == K


def test_full_bucket_keeps_the_latest_nodes_as_replacements(table: RoutingTable) -> None:
    fill(table)
    for n in range(K, 2 * K):
        assert table.heard(*far(n), 50.0) is Listed.REPLACEMENT
    drop(table, far(0)[1])
    # The last nodes are left, and the very last is promoted first.
    promoted: list[Address] = []
    for n in range(1, REPLACEMENTS_PER_BUCKET + 2):
        promoted += [c.address for c in table if c.address not in {far(m)[1] for m in range(K)} | set(promoted)]
        drop(table, far(n)[1], 200.0 + 10 * n)
    assert promoted == [far(2 * K - 1 - n)[1] for n in range(REPLACEMENTS_PER_BUCKET)]
    assert len(table) == K - 2


def test_failed_drops_a_contact_after_three_failures_for_a_replacement(table: RoutingTable) -> None:
    fill(table)
    table.heard(*far(K), 50.0)
    bad = far(3)[1]
    assert table.failed(bad, 100.0, 102.0) is None
    assert table.failed(bad, 103.0, 105.0) is None
    assert table.at(bad) is not None
    dropped = table.failed(bad, 106.0, 108.0)
    assert dropped is not None
    assert dropped.address == bad
    assert table.at(bad) is None
    assert table.at(far(K)[1]) is not None
    assert len(table) == K


def test_failed_counts_queries_in_flight_together_once(table: RoutingTable) -> None:
    table.heard(*far(1), 0.0)
    for n in range(10):
        table.failed(far(1)[1], 10.0 + n / 10, 12.0 + n / 10)
    contact = table.at(far(1)[1])
    assert contact is not None
    assert contact.failures == 1
    table.failed(far(1)[1], 12.0, 14.0)
    assert contact.failures == 2


def test_failed_ignores_a_query_sent_before_the_last_response(table: RoutingTable) -> None:
    table.heard(*far(1), 0.0)
    table.heard(*far(1), 11.0)
    table.failed(far(1)[1], 10.0, 12.0)
    contact = table.at(far(1)[1])
    assert contact is not None
    assert contact.failures == 0


def test_heard_resets_failures(table: RoutingTable) -> None:
    table.heard(*far(1), 0.0)
    for at in (10.0, 20.0, 30.0, 40.0):
        table.failed(far(1)[1], at, at + 2)
        table.heard(*far(1), at + 3)
    contact = table.at(far(1)[1])
    assert contact is not None
    assert contact.is_good(43.0)


def test_failed_ignores_an_unlisted_address(table: RoutingTable) -> None:
    assert table.failed(("10.0.0.1", 1), 0.0, 2.0) is None
    assert table.is_worth_asking(("10.0.0.1", 1), 2.0)


def test_contact_is_good_for_fifteen_minutes_after_its_response(table: RoutingTable) -> None:
    table.heard(*far(1), 0.0)
    (contact,) = table
    assert contact.is_good(GOOD_SECONDS - 0.1)
    assert not contact.is_good(GOOD_SECONDS)


def test_heard_replaces_the_old_id_of_an_address(table: RoutingTable) -> None:
    table.heard(far(1)[0], ("10.0.0.1", 1), 0.0)
    assert table.heard(near(1)[0], ("10.0.0.1", 1), 1.0) is Listed.NEW
    assert [contact.id for contact in table] == [near(1)[0]]
    assert [contact.id for contact in table.closest(position(far(1)[0]))] == [near(1)[0]]


def test_heard_refuses_an_id_that_keeps_changing_within_a_minute(table: RoutingTable) -> None:
    address = ("10.0.0.1", 1)
    table.heard(far(1)[0], address, 0.0)
    for n in range(RENAMES):
        assert table.heard(far(2 + n)[0], address, 1.0 + n) is Listed.NEW
    version = table.version
    for n in range(100):
        assert table.heard(far(10 + n)[0], address, 5.0 + n / 2) is Listed.REFUSED
    assert table.version == version
    assert table.heard(far(1 + RENAMES)[0], address, 60.0) is Listed.KNOWN
    assert table.heard(far(3)[0], address, 61.0) is Listed.NEW


def test_heard_keeps_the_working_address_of_an_id(table: RoutingTable) -> None:
    node_id, address = far(1)
    table.heard(node_id, address, 0.0)
    assert table.heard(node_id, ("10.6.6.6", 666), 1.0) is Listed.REFUSED
    table.failed(address, 2.0, 4.0)
    # One datagram may have been lost.
    assert table.heard(node_id, ("10.6.6.6", 666), 5.0) is Listed.REFUSED
    assert table.with_id(node_id) is table.at(address) is not None
    table.failed(address, 5.0, 7.0)
    version = table.version
    assert table.heard(node_id, ("10.6.6.6", 666), 8.0) is Listed.NEW
    assert [contact.address for contact in table] == [("10.6.6.6", 666)]
    assert table.version > version
    assert not table.is_worth_asking(address, 8.0)


def test_failed_does_not_promote_a_replacement_listed_under_another_id(table: RoutingTable) -> None:
    fill(table)
    table.heard(far(K)[0], ("10.5.5.5", 1), 50.0)
    table.heard(near(1)[0], ("10.5.5.5", 1), 60.0)
    drop(table, far(0)[1])
    contact = table.at(("10.5.5.5", 1))
    assert contact is not None
    assert contact.id == near(1)[0]
    assert table.bucket_sizes()[0] == K - 1
    assert len(table) == sum(table.bucket_sizes())


def test_dropped_address_is_not_worth_asking_for_a_minute(table: RoutingTable) -> None:
    address = far(1)[1]
    table.heard(*far(1), 0.0)
    drop(table, address, 100.0)
    dropped_at = 100.0 + BAD_AFTER_FAILURES - 1
    assert not table.is_worth_asking(address, dropped_at)
    assert not table.is_worth_asking(address, dropped_at + RELEARN_SECONDS - 0.1)
    assert table.is_worth_asking(address, dropped_at + RELEARN_SECONDS)


def test_dropped_address_that_answers_is_listed_at_once(table: RoutingTable) -> None:
    table.heard(*far(1), 0.0)
    drop(table, far(1)[1])
    assert table.heard(*far(1), 103.0) is Listed.NEW
    assert table.is_worth_asking(far(1)[1], 103.0)
    assert table.lost(10, 1_000.0) == []


def test_lost_returns_dropped_addresses_in_turn_after_some_seconds(table: RoutingTable) -> None:
    for n in range(1, 6):
        table.heard(*far(n), 0.0)
        drop(table, far(n)[1], 10.0 * n)
    assert table.lost(5, 12.0 + LOST_SECONDS - 0.1) == []
    assert table.lost(5, 22.0 + LOST_SECONDS) == [far(1)[1], far(2)[1]]
    assert [table.lost(2, 1_000.0) for _ in range(3)] == [
        [far(3)[1], far(4)[1]],
        [far(5)[1], far(1)[1]],
        [far(2)[1], far(3)[1]],
    ]


def test_lost_remembers_a_bounded_number_of_addresses(table: RoutingTable) -> None:
    for n in range(MAX_DROPPED + 10):
        table.heard(*far(n), 0.0)
        drop(table, far(n)[1], 10.0)
    assert len(table.lost(10_000, 1_000.0)) == MAX_DROPPED
    assert table.is_worth_asking(far(0)[1], 13.0)


def test_version_changes_only_when_a_contact_is_added_or_removed(table: RoutingTable) -> None:
    versions = [table.version]

    def changed() -> bool:
        versions.append(table.version)
        return versions[-1] != versions[-2]

    table.heard(*far(1), 0.0)
    assert changed()
    table.heard(*far(1), 1.0)
    assert not changed()
    table.failed(far(1)[1], 10.0, 12.0)
    assert not changed()
    table.heard(near(1)[0], far(1)[1], 13.0)
    assert changed()
    drop(table, far(1)[1])
    assert changed()
    fill(table)
    assert changed()
    table.heard(*far(K), 30.0)
    assert not changed()


def test_gone_since_returns_the_contacts_removed_since_a_version(table: RoutingTable) -> None:
    fill(table, 3)
    before = table.version
    drop(table, far(1)[1])
    between = table.version
    table.heard(near(1)[0], far(2)[1], 200.0)
    assert table.gone_since(before) == {far(1)[0], far(2)[0]}
    assert table.gone_since(between) == {far(2)[0]}
    assert table.gone_since(table.version) == frozenset()


def test_closest_sound_leaves_out_contacts_that_failed_last(table: RoutingTable) -> None:
    fill(table, 10)
    for n in (0, 1):
        table.failed(far(n)[1], 50.0, 52.0)
    place = position(far(0)[0])
    assert [contact.address for contact in table.closest(place, 3)] == [far(n)[1] for n in (0, 1, 2)]
    assert [contact.address for contact in table.closest(place, 3, sound=True)] == [far(n)[1] for n in (2, 3, 4)]


def test_questionable_rival_is_the_longest_silent_contact_that_is_not_good(table: RoutingTable) -> None:
    fill(table)
    assert table.questionable_rival(far(99)[0], 100.0) is None
    table.failed(far(7)[1], 50.0, 52.0)
    rival = table.questionable_rival(far(99)[0], 100.0)
    assert rival is not None
    assert rival.address == far(7)[1]
    rival = table.questionable_rival(far(99)[0], GOOD_SECONDS + 3.0)
    assert rival is not None
    assert rival.address == far(0)[1]


def test_unwell_returns_the_longest_silent_first(table: RoutingTable) -> None:
    for n in (3, 1, 2, 9):
        table.heard(*far(n), float(n))
    assert [contact.seen_at for contact in table.unwell(3.0)[1]] == [1.0, 2.0, 3.0]


@given(
    strategies.distinct_contacts(60), strategies.node_ids(), strategies.keys(), st.integers(1, 40), st.integers(1, 8)
)
def test_closest_agrees_with_brute_force(
    nodes: list[tuple[bytes, Address]], own: bytes, key: bytes, count: int, k: int
) -> None:
    table = RoutingTable(own, k)
    for n, (node_id, address) in enumerate(nodes):
        table.heard(node_id, address, 0.0)
        if n % 3 == 0:
            table.failed(address, 1.0, 3.0)
    ordered = sorted(table, key=lambda contact: distance(contact.id, key))
    assert table.closest(position(key), count) == ordered[:count]
    sound = [contact for contact in ordered if not contact.failures]
    assert table.closest(position(key), count, sound=True) == sound[:count]


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60), st.booleans()), max_size=150), st.integers(1, 4))
def test_table_is_consistent_under_any_events(events: list[tuple[int, int, bool]], k: int) -> None:
    table = RoutingTable(OWN, k)
    for now, (identity, host, fails) in enumerate(events):
        address = far(host)[1]
        if fails:
            table.failed(address, float(now), float(now))
        else:
            table.heard((far if identity % 2 else near)(identity)[0], address, float(now))
        contacts = list(table)
        assert len(contacts) == len(table) == sum(table.bucket_sizes())
        assert len({contact.id for contact in contacts}) == len(contacts)
        assert max(table.bucket_sizes()) <= k
        assert all(table.at(contact.address) is contact for contact in contacts)
        assert set(table.closest(0, 1_000)) == set(contacts)


@pytest.mark.parametrize("seed", range(20))
def test_has_use_for_agrees_with_the_contacts_health_at_any_time(seed: int) -> None:
    dice = random.Random(seed)
    table = RoutingTable(OWN)
    table.heard(*near(1), 0.0)
    fill(table)
    now, seen = float(K), set()
    for step in range(300):
        now += dice.expovariate(1 / 15)
        contact = dice.choice(list(table))
        if dice.random() < 0.97:
            table.heard(contact.id, contact.address, now)
        else:
            table.failed(contact.address, now, now)
        # Fills the replacements again: while they are not full, the table has a use for any node.
        for n in range(2 * REPLACEMENTS_PER_BUCKET):
            table.heard(*far(100 + 2 * REPLACEMENTS_PER_BUCKET * step + n), now)
        listed = [contact for contact in table if contact.position >> 159]
        assert len(listed) == K
        is_good = all(contact.is_good(now) for contact in listed)
        stranger = far(99)[0]
        assert table.has_use_for(stranger, now) == (not is_good)
        assert (table.questionable_rival(stranger, now) is None) == is_good
        seen.add(is_good)
    assert seen == {True, False}


def test_silent_contact_is_doubtful_until_it_answers(table: RoutingTable) -> None:
    table.heard(b"a" * 20, ("10.0.0.1", 1), 0.0)
    contact = table.at(("10.0.0.1", 1))
    assert contact is not None
    table.silent(("10.0.0.9", 9))
    assert table.unwell(-1.0) == ([], [])
    table.silent(contact.address)
    assert [other.address for other in table.unwell(-1.0)[0]] == [contact.address]
    assert [other.id for other in table.closest(0, sound=True)] == [contact.id]
    table.heard(contact.id, contact.address, 1.0)
    assert table.unwell(-1.0) == ([], [])
