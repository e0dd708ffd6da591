"""grape.dht.transactions: queries in flight and their two deadlines."""

from __future__ import annotations

import random

import pytest

from grape.dht.errors import LocalProtocolError, QueryFailed
from grape.dht.messages import Response
from grape.dht.transactions import QUERY_TIMEOUT_SECONDS, TRANSACTION_ID_BYTES, Pending, Transactions

HERE = ("10.0.0.1", 20_001)
THERE = ("10.0.0.2", 20_001)


class Nobody:
    """Ignores how a query ends."""

    def answered(self, pending: Pending, response: Response) -> None:
        """Does nothing."""

    def slow(self, pending: Pending) -> None:
        """Does nothing."""

    def failed(self, pending: Pending, reason: QueryFailed) -> None:
        """Does nothing."""


@pytest.fixture
def transactions() -> Transactions:
    return Transactions(random.Random(1).randbytes)


def test_close_matches_a_response_once_by_id_and_address(transactions: Transactions) -> None:
    pending = transactions.open(HERE, Nobody(), 0.0, 0.1)
    assert len(pending.transaction_id) == TRANSACTION_ID_BYTES
    assert transactions.close(pending.transaction_id, THERE) is None
    assert transactions.close(pending.transaction_id, (HERE[0], HERE[1] + 1)) is None
    assert transactions.close(b"??", HERE) is None
    assert transactions.close(pending.transaction_id, HERE) is pending
    assert transactions.close(pending.transaction_id, HERE) is None
    assert len(transactions) == 0


@pytest.mark.parametrize("transaction_id", [None, 5, [], {}, [b"aa"], ""])
def test_close_matches_nothing_by_what_is_no_transaction_id(transactions: Transactions, transaction_id: object) -> None:
    transactions.open(HERE, Nobody(), 0.0, 0.1)
    assert transactions.close(transaction_id, HERE) is None
    assert len(transactions) == 1


def test_due_returns_a_query_slow_at_its_soft_deadline_and_failed_after_two_seconds(transactions: Transactions) -> None:
    pending = transactions.open(HERE, Nobody(), 10.0, 0.25)
    assert transactions.next_deadline() == 10.25
    assert transactions.due(10.2) == ([], [])
    assert transactions.due(10.25) == ([pending], [])
    assert transactions.next_deadline() == 10.0 + QUERY_TIMEOUT_SECONDS
    assert transactions.due(11.9) == ([], [])
    assert transactions.due(12.0) == ([], [pending])
    assert transactions.next_deadline() is None
    assert transactions.close(pending.transaction_id, HERE) is None


def test_close_matches_a_slow_query(transactions: Transactions) -> None:
    pending = transactions.open(HERE, Nobody(), 0.0, 0.1)
    transactions.due(0.1)
    assert transactions.close(pending.transaction_id, HERE) is pending
    assert transactions.next_deadline() is None
    assert transactions.due(10.0) == ([], [])


def test_due_returns_a_query_as_failed_alone_after_a_long_pause(transactions: Transactions) -> None:
    pending = transactions.open(HERE, Nobody(), 0.0, 0.1)
    assert transactions.due(60.0) == ([], [pending])


def test_deadlines_of_answered_queries_are_skipped(transactions: Transactions) -> None:
    first = transactions.open(HERE, Nobody(), 0.0, 0.1)
    second = transactions.open(THERE, Nobody(), 0.0, 0.2)
    transactions.close(first.transaction_id, HERE)
    assert transactions.next_deadline() == 0.2
    assert transactions.due(0.3) == ([second], [])


def test_deadlines_come_in_order_of_time(transactions: Transactions) -> None:
    late = transactions.open(HERE, Nobody(), 0.0, 0.9)
    early = transactions.open(HERE, Nobody(), 0.0, 0.1)
    assert transactions.due(1.0) == ([early, late], [])


def test_open_refuses_too_many_queries() -> None:
    transactions = Transactions(random.Random(1).randbytes, max_pending=2)
    first = transactions.open(HERE, Nobody(), 0.0, 0.1)
    transactions.open(HERE, Nobody(), 0.0, 0.1)
    with pytest.raises(LocalProtocolError):
        transactions.open(THERE, Nobody(), 0.0, 0.1)
    transactions.close(first.transaction_id, HERE)
    transactions.open(THERE, Nobody(), 0.0, 0.1)


def test_open_draws_again_an_id_in_use_at_the_address_alone() -> None:
    transactions = Transactions(lambda size: b"aaaabbaa".ljust(size, b"c"))
    ids = [transactions.open(address, Nobody(), 0.0, 0.1).transaction_id for address in (HERE, HERE, THERE)]
    assert ids == [b"aa", b"bb", b"aa"]


def test_abandon_ends_all_queries(transactions: Transactions) -> None:
    opened = [transactions.open(HERE, Nobody(), 0.0, 0.1) for _ in range(3)]
    assert transactions.abandon() == opened
    assert all(pending.done for pending in opened)
    assert len(transactions) == 0
    assert transactions.next_deadline() is None
    assert transactions.due(9.0) == ([], [])


def test_take_back_leaves_nothing_of_a_query(transactions: Transactions) -> None:
    first = transactions.open(HERE, Nobody(), 0.0, 0.1)
    for soft_seconds in (0.5, 0.05):
        transactions.take_back(transactions.open(THERE, Nobody(), 0.0, soft_seconds))
    assert len(transactions) == 1
    assert transactions.next_deadline() == 0.1
    assert transactions.due(0.1) == ([first], [])


def test_hastened_query_is_slow_once_and_fails_at_its_hard_deadline(transactions: Transactions) -> None:
    opened = transactions.open(HERE, Nobody(), 0.0, 0.1)
    hastened = transactions.hasten(opened.transaction_id, HERE)
    assert hastened is not None
    assert (hastened.outcome, hastened.sent_at, hastened.done) == (opened.outcome, 0.0, False)
    assert transactions.hasten(opened.transaction_id, HERE) is None
    assert len(transactions) == 1
    assert transactions.next_deadline() == QUERY_TIMEOUT_SECONDS
    assert transactions.due(1.0) == ([], [])
    assert transactions.due(QUERY_TIMEOUT_SECONDS) == ([], [hastened])


def test_hastened_query_can_be_answered(transactions: Transactions) -> None:
    opened = transactions.open(HERE, Nobody(), 0.0, 0.1)
    hastened = transactions.hasten(opened.transaction_id, HERE)
    assert transactions.close(opened.transaction_id, HERE) is hastened
    assert transactions.due(QUERY_TIMEOUT_SECONDS) == ([], [])


def test_hasten_ignores_slow_and_unknown_queries(transactions: Transactions) -> None:
    opened = transactions.open(HERE, Nobody(), 0.0, 0.1)
    assert transactions.hasten(opened.transaction_id, THERE) is None
    assert transactions.hasten(b"", HERE) is None
    transactions.due(0.1)
    assert transactions.hasten(opened.transaction_id, HERE) is None
    assert transactions.due(QUERY_TIMEOUT_SECONDS) == ([], [opened])


@pytest.mark.parametrize("seed", range(50))
def test_due_agrees_with_a_list_of_all_deadlines(seed: int) -> None:
    """Compares the queue and the heap, which are there for speed, with a plain list."""
    dice = random.Random(seed)
    transactions = Transactions(dice.randbytes)
    now = 0.0
    soft: dict[Pending, float] = {}
    slow: set[Pending] = set()

    def deadlines() -> list[float]:
        return [pending.sent_at + QUERY_TIMEOUT_SECONDS if pending in slow else at for pending, at in soft.items()]

    for _ in range(200):
        now += dice.choice((0.0, 0.0, dice.expovariate(50), dice.expovariate(2)))
        turn = dice.random()
        if turn < 0.5:
            seconds = dice.choice((0.03, 0.25, 1.0, dice.uniform(0.03, 1.0)))
            pending = transactions.open((HERE[0], dice.randrange(5)), Nobody(), now, seconds)
            soft[pending] = now + seconds
        elif turn < 0.8 and soft:
            pending = dice.choice(list(soft))
            del soft[pending]
            slow.discard(pending)
            assert transactions.close(pending.transaction_id, pending.address) is pending
        elif turn < 0.85 and soft:
            pending = dice.choice(list(soft))
            hastened = transactions.hasten(pending.transaction_id, pending.address)
            assert (hastened is None) == (pending in slow)
            if hastened is not None:
                soft[hastened] = soft.pop(pending)
                slow.add(hastened)
        else:
            assert transactions.next_deadline() == min(deadlines(), default=None)
            late = {pending for pending in soft if now >= pending.sent_at + QUERY_TIMEOUT_SECONDS}
            newly = {pending for pending, at in soft.items() if at <= now and pending not in slow} - late
            told = transactions.due(now)
            assert (set(told[0]), set(told[1])) == (newly, late)
            slow = (slow | newly) - late
            soft = {pending: at for pending, at in soft.items() if pending not in late}
