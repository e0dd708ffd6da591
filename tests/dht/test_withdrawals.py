"""grape.dht.withdrawals: the later of announce and withdrawal counts; limits and fair shares."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from grape.dht import messages as krpc
from grape.dht.bencoding import BValue
from grape.dht.compact import Address
from grape.dht.errors import RemoteProtocolError
from grape.dht.messages import Query
from grape.dht.responder import Responder
from grape.dht.routing import RoutingTable
from grape.dht.tokens import Tokens
from grape.dht.withdrawals import OWN, WITHDRAWAL_OVERHEAD_BYTES, Withdrawals
from grape.fairshare import EvictionOrder
from grape.store import MemoryItems, MemoryPeers

MAX_AGE = 240.0
KEY = b"rest:util:net"
HOST = "10.0.0.2"
PEER = (HOST, 1_337)


class Holder:
    """A node that holds peers and withdrawals, asked by HOST with valid tokens; ``now`` is its clock."""

    def __init__(self, max_age: float = MAX_AGE, max_size: int = 10_000, max_bytes: int = 10**9) -> None:
        self.now = 1_000.0
        dice = random.Random(1)
        self.tokens = Tokens(dice.randbytes, self.now)
        self.peers = MemoryPeers(max_age)
        self.changed: list[tuple[bytes, Address]] = []
        self.withdrawals = Withdrawals(
            max_age,
            self.peers,
            EvictionOrder(),
            max_size,
            max_bytes,
            lambda key, peer: self.changed.append((key, peer)),
        )
        self.responder = Responder(
            RoutingTable(dice.randbytes(20)),
            self.tokens,
            self.peers,
            MemoryItems(),
            dice.sample,
            lambda key, peer: None,
            withdrawals=self.withdrawals,
        )

    def ask(self, method: str, host: str = HOST, **arguments: BValue) -> None:
        named: dict[bytes, BValue] = {b"id": b"i" * 20, b"info_hash": KEY, b"port": PEER[1]}
        named[b"token"] = self.tokens.issue(host, self.now)
        named |= {name.encode(): value for name, value in arguments.items()}
        answer = self.responder.answer(Query(method.encode(), named, b"aa"), (host, 20_001), self.now)
        assert answer is not None
        message = krpc.decode(answer)
        assert isinstance(message, krpc.Response)
        assert list(message.values) == [b"id"]

    def announce(self, host: str = HOST, **arguments: BValue) -> None:
        self.ask("announce_peer", host, **arguments)

    def withdraw(self, host: str = HOST, **arguments: BValue) -> None:
        self.ask("unannounce_peer", host, **arguments)

    @property
    def found(self) -> list[Address]:
        return self.peers.peers(KEY, self.now)


def test_withdrawn_peer_is_removed_and_the_change_told() -> None:
    holder = Holder()
    holder.announce()
    holder.announce(port=1_338)
    holder.withdraw()
    assert holder.found == [(HOST, 1_338)]
    assert holder.withdrawals.at(KEY, PEER) == holder.now
    assert holder.changed == [(KEY, PEER)]
    assert holder.withdrawals.hidden(KEY, [PEER, (HOST, 1_338)], holder.now) == [PEER]


def test_new_announce_ends_a_withdrawal() -> None:
    holder = Holder()
    holder.withdraw()
    holder.announce()
    assert holder.found == [PEER]
    assert not holder.withdrawals.entries


def test_announce_that_is_older_is_taken_without_effect_and_a_newer_one_counts() -> None:
    holder = Holder()
    holder.withdraw()
    holder.now += 10
    holder.announce(age=10_000)
    holder.announce(age=200_000)
    assert holder.found == []
    assert holder.withdrawals.at(KEY, PEER) == holder.now - 10
    holder.announce(age=9_999)
    assert holder.found == [PEER]
    assert not holder.withdrawals.entries


def test_announce_with_a_short_life_is_as_old_as_it_says() -> None:
    holder = Holder()
    holder.withdraw()
    holder.now += 10
    holder.announce(age=200_000, made_ago=10_000)
    assert holder.found == []
    holder.announce(age=200_000, made_ago=5_000)
    assert holder.found == [PEER]
    holder.now += 40
    assert holder.found == []


def test_time_that_is_longer_ago_than_the_age_is_not_believed() -> None:
    holder = Holder()
    holder.withdraw()
    holder.now += 10
    holder.announce(age=5_000, made_ago=20_000)
    assert holder.found == [PEER]


def test_withdrawal_that_is_older_than_the_announce_does_nothing() -> None:
    holder = Holder()
    holder.announce()
    holder.now += 10
    holder.withdraw(age=10_001)
    assert holder.found == [PEER]
    assert not holder.withdrawals.entries
    holder.withdraw(age=9_999)
    assert holder.found == []


def test_older_withdrawal_does_not_replace_a_newer_one() -> None:
    holder = Holder()
    holder.withdraw()
    holder.now += 10
    at = holder.withdrawals.at(KEY, PEER)
    holder.withdraw(age=20_000)
    assert holder.withdrawals.at(KEY, PEER) == at
    holder.withdraw()
    assert holder.withdrawals.at(KEY, PEER) == holder.now


def test_withdrawal_counts_for_one_age() -> None:
    holder = Holder()
    holder.withdraw()
    holder.now += MAX_AGE - 1
    assert holder.withdrawals.hidden(KEY, [PEER], holder.now) == [PEER]
    holder.withdrawals.expire(holder.now)
    assert len(holder.withdrawals) == 1
    holder.now += 1
    assert holder.withdrawals.hidden(KEY, [PEER], holder.now) == []
    holder.withdrawals.expire(holder.now)
    assert not holder.withdrawals.entries
    assert holder.changed == [(KEY, PEER)] * 2


def test_withdrawal_of_longer_ago_than_an_age_is_not_kept() -> None:
    holder = Holder()
    holder.withdraw(age=240_000)
    assert not holder.withdrawals.entries


def test_withdrawal_counts_for_ever_where_peers_live_for_ever() -> None:
    holder = Holder(max_age=0)
    holder.withdraw()
    holder.now += 10**9
    holder.withdrawals.expire(holder.now)
    assert holder.withdrawals.hidden(KEY, [PEER], holder.now) == [PEER]


def test_host_withdraws_peers_at_its_own_address_alone() -> None:
    holder = Holder()
    holder.announce()
    holder.withdraw("10.0.0.3")
    holder.withdraw("10.0.0.3", implied_port=1)
    assert holder.found == [PEER]
    assert holder.withdrawals.at(KEY, ("10.0.0.3", 20_001)) is not None


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"info_hash": 5}, "missing required `a.info_hash`"),
        ({"info_hash": b""}, "missing required `a.info_hash`"),
        ({"info_hash": b"k" * 8_193}, "too long"),
        ({"port": 0}, "missing required `a.port`"),
        ({"port": 65_536}, "missing required `a.port`"),
        ({"port": b"1337"}, "missing required `a.port`"),
        ({"token": 5}, "missing required `a.token`"),
        ({"token": b"12345678"}, "bad token"),
    ],
)
def test_malformed_withdrawal_is_refused_with_203(arguments: dict[str, BValue], problem: str) -> None:
    holder = Holder()
    with pytest.raises(RemoteProtocolError, match=problem) as caught:
        holder.withdraw(**arguments)  # type: ignore[arg-type]
    assert caught.value.code == 203
    assert not holder.withdrawals.entries


@pytest.mark.parametrize("age", [-1, b"5", [], 2**63, 86_400_000])
def test_age_that_is_none_counts_as_no_age(age: BValue) -> None:
    holder = Holder()
    holder.withdraw(age=age)
    assert holder.withdrawals.at(KEY, PEER) == holder.now


def test_above_the_limit_the_host_with_most_gives_its_oldest() -> None:
    holder = Holder(max_size=10)
    holder.withdraw("10.0.0.9")
    for port in range(1, 30):
        holder.withdraw(port=port)
    assert len(holder.withdrawals) == 10
    assert holder.withdrawals.evicted == 20
    assert holder.withdrawals.at(KEY, ("10.0.0.9", 1_337)) is not None
    assert [port for port in range(1, 30) if holder.withdrawals.at(KEY, (HOST, port))] == list(range(21, 30))


def test_long_names_are_bounded_by_their_bytes() -> None:
    holder = Holder(max_bytes=10 * (WITHDRAWAL_OVERHEAD_BYTES + 2 * 1_000))
    for n in range(30):
        holder.ask("unannounce_peer", info_hash=b"%04d" % n * 250)
    assert len(holder.withdrawals) == 10
    holder.withdrawals.set_limits(3, 10**9)
    assert len(holder.withdrawals) == 3


def test_own_withdrawals_hide_every_address_of_the_node_and_are_not_evicted() -> None:
    holder = Holder(max_size=1)
    holder.withdrawals.is_own = lambda host: host in (HOST, "127.0.0.1")
    for port in (1, 2, 3):
        holder.withdrawals.withdraw(KEY, (OWN, port), holder.now)
    found = [(HOST, 1), ("127.0.0.1", 2), ("10.0.0.3", 3)]
    assert holder.withdrawals.hidden(KEY, found, holder.now) == found[:2]
    ended: list[tuple[bytes, Address]] = []
    holder.withdrawals.on_end = lambda key, peer: ended.append((key, peer))
    holder.now += 5
    holder.announce(port=1, age=6_000)
    assert holder.found == []
    holder.announce(port=1)
    assert holder.found == [(HOST, 1)]
    assert ended == [(KEY, (OWN, 1))]


PORTS = st.integers(1, 3)
HOSTS = st.sampled_from([HOST, "10.0.0.3"])
SECONDS = st.sampled_from([0.0, 0.001, 1.0, 30.0, 100.0, 239.0])


class Order(RuleBasedStateMachine):
    """Announces, withdrawals and their repetitions reach a holder in any order; the latest by its time counts."""

    def __init__(self) -> None:
        super().__init__()
        self.holder = Holder()
        # For each peer the times at which it was announced and withdrawn, as far as the holder was told.
        self.announced: dict[Address, float] = {}
        self.withdrawn: dict[Address, float] = {}

    @rule(seconds=st.sampled_from([0.001, 0.5, 20.0, 130.0]))
    def pass_time(self, seconds: float) -> None:
        self.holder.now += seconds

    @rule()
    def expire(self) -> None:
        self.holder.peers.expire(self.holder.now)
        self.holder.withdrawals.expire(self.holder.now)

    @rule(host=HOSTS, port=PORTS, age=SECONDS)
    def announce(self, host: str, port: int, age: float) -> None:
        self._tell(self.holder.announce, host, port, age)
        peer, at = (host, port), self.holder.now - age
        withdrawn_at = self._live(self.withdrawn.get(peer))
        if withdrawn_at is not None and age and at <= withdrawn_at:
            return
        self.withdrawn.pop(peer, None)
        self.announced[peer] = max(self.announced.get(peer, at), at)

    @rule(host=HOSTS, port=PORTS, age=SECONDS)
    def withdraw(self, host: str, port: int, age: float) -> None:
        self._tell(self.holder.withdraw, host, port, age)
        peer, at = (host, port), self.holder.now - age
        announced_at = self._live(self.announced.get(peer))
        if announced_at is not None and announced_at > at:
            return
        self.announced.pop(peer, None)
        self.withdrawn[peer] = max(self.withdrawn.get(peer, at), at)

    def _tell(self, query: Callable[..., None], host: str, port: int, age: float) -> None:
        if age:
            query(host, port=port, age=round(age * 1000))
        else:
            query(host, port=port)

    def _live(self, at: float | None) -> float | None:
        return at if at is not None and self.holder.now - at < MAX_AGE else None

    @invariant()
    def lists_what_was_announced_last(self) -> None:
        expected = {peer for peer, at in self.announced.items() if self._live(at) is not None}
        assert set(self.holder.found) == expected
        peers = [(host, port) for host in (HOST, "10.0.0.3") for port in (1, 2, 3)]
        hidden = self.holder.withdrawals.hidden(KEY, peers, self.holder.now)
        assert set(hidden) == {peer for peer, at in self.withdrawn.items() if self._live(at) is not None}
        assert not expected & set(hidden)


TestOrder = Order.TestCase
