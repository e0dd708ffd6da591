"""Grapes that go on after a restart, and what the answer to a put means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from grape import Grape, GrapeError
from grape.dht import messages as krpc
from grape.dht.items import immutable
from grape.dht.messages import Error, Response
from grape.state.clock import Heartbeat, Moment
from grape.state.journal import OnDurable
from grape.testing import MemoryNetwork
from tests.simulation import Key, Remote, outcome

MAX_AGE = 240.0
HOUR = 3_600.0
DAY = 86_400.0


class Ring:
    """Grapes on hosts 10.0.0.1 and up, each with a state file, killed and started again; on a machine of its own."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.network = MemoryNetwork(seed=1)
        self.boot = "first boot"
        self.down = 0.0
        self.wall_offset = 0.0
        self.grapes: dict[int, Grape] = {}
        self._folder = folder
        monkeypatch.setattr(Moment, "now", self._now)

    def _now(self) -> Moment:
        seconds = self.network.clock.seconds() + self.down
        return Moment(1_000_000.0 + seconds + self.wall_offset, self.boot, seconds)

    def start(self, number: int, **keywords: Any) -> Grape:
        reactor = self.network.reactor(f"10.0.0.{number}")
        grape = self.grapes[number] = Grape(reactor=reactor, state=self.path(number), **keywords)
        grape.startService()
        return grape

    def path(self, number: int) -> str:
        return str(self._folder / f"{number}.sqlite")

    def ring(self, size: int = 3) -> list[Grape]:
        for number in range(1, size + 1):
            self.start(number, dht_bootstrap=["10.0.0.1:20001"] if number > 1 else [])
            self.network.clock.advance(1)
        return list(self.grapes.values())

    def kill(self, number: int) -> None:
        """kill -9: the file has what was committed."""
        self.network.kill(f"10.0.0.{number}")
        state = self.grapes.pop(number).node._recorder
        assert state is not None
        assert state._file is not None
        state._file.close()

    def result(self, deferred: Any) -> Any:
        return self.network.result(deferred)


@pytest.fixture
def ring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    ring = Ring(tmp_path, monkeypatch)
    yield ring
    for number in list(ring.grapes):
        ring.result(ring.grapes[number].stopService())


def test_all_grapes_die_and_everything_is_found_again_without_a_bootstrap_list(ring: Ring) -> None:
    grapes = ring.ring()
    ids = [grape.node.node_id for grape in grapes]
    hashes = [ring.result(grapes[n % 3].put(f"item {n}")) for n in range(30)]
    mutable = ring.result(Key().put(grapes[0], "mine", 5, salt=b"salt"))
    for n in range(30):
        ring.result(grapes[n % 3].announce(f"service {n}", 1_000 + n))
    ring.network.clock.advance(3)
    for number in (1, 2, 3):
        ring.kill(number)
    again = [ring.start(number) for number in (1, 2, 3)]
    for grape in again:
        ring.result(grape.when_ready())
    assert [grape.node.node_id for grape in again] == ids
    for grape in again:
        for n, hash in enumerate(hashes):
            assert ring.result(grape.get(hash)).item.value == b"item %d" % n
        got = ring.result(grape.get(mutable, b"salt"))
        assert (got.item.value, got.item.seq) == (b"mine", 5)
        for n in range(30):
            assert ring.result(grape.lookup(f"service {n}")) == [f"10.0.0.{n % 3 + 1}:{1_000 + n}"]


def test_the_first_lookup_after_a_start_is_quick_and_dead_contacts_are_dropped(ring: Ring) -> None:
    grapes = ring.ring(4)
    ring.result(grapes[2].announce("name", 7))
    ring.network.clock.advance(3)
    for number in (1, 4):
        ring.kill(number)
    began = ring.network.clock.seconds()
    again = ring.start(1)
    ring.result(again.when_ready())
    assert ring.result(again.lookup("name")) == ["10.0.0.3:7"]
    assert ring.network.clock.seconds() - began < 0.1
    ring.network.clock.advance(10)
    assert again.stats().contacts == 2


def test_when_all_contacts_are_dead_they_are_asked_until_one_is_there(ring: Ring) -> None:
    ring.ring(2)
    ring.network.clock.advance(3)
    ring.kill(1)
    ring.kill(2)
    again = ring.start(1)
    ring.result(again.when_ready())
    ring.network.clock.advance(100)
    ring.kill(1)
    again = ring.start(1)
    ring.start(2)
    ring.network.clock.advance(6)
    assert again.stats().contacts == 1


def test_a_service_that_expired_while_the_grape_was_down_is_gone(ring: Ring) -> None:
    grape = ring.start(1, host="10.0.0.1")
    ring.result(grape.announce("old", 1))
    ring.network.clock.advance(100)
    ring.result(grape.announce("young", 2))
    ring.network.clock.advance(1)
    ring.kill(1)
    ring.down = MAX_AGE - 100
    grape = ring.start(1, host="10.0.0.1")
    assert ring.result(grape.lookup("old")) == []
    assert ring.result(grape.lookup("young")) == ["10.0.0.1:2"]
    ring.network.clock.advance(100)
    assert ring.result(grape.lookup("young")) == []


@pytest.mark.parametrize("step", [HOUR, -HOUR, DAY, -DAY])
@pytest.mark.parametrize("when", ["while it runs", "while it is down"])
def test_a_wall_clock_that_jumps_loses_nothing(ring: Ring, step: float, when: str) -> None:
    grape = ring.start(1, host="10.0.0.1")
    hash = ring.result(grape.put("kept"))
    ring.result(grape.announce("name", 1))
    if when == "while it runs":
        ring.wall_offset = step
    ring.network.clock.advance(20)
    ring.kill(1)
    ring.wall_offset = step
    ring.down = 100.0
    grape = ring.start(1, host="10.0.0.1")
    assert ring.result(grape.get(hash)).item.value == b"kept"
    assert ring.result(grape.lookup("name")) == ["10.0.0.1:1"]
    ring.network.clock.advance(MAX_AGE - 120 - 1)
    assert ring.result(grape.lookup("name")) == ["10.0.0.1:1"]
    ring.network.clock.advance(2)
    assert ring.result(grape.lookup("name")) == []


def test_after_a_boot_the_wall_clock_counts_but_never_backwards(ring: Ring) -> None:
    grape = ring.start(1, host="10.0.0.1")
    ring.result(grape.announce("name", 1))
    ring.network.clock.advance(1)
    for boot, step, found in (("second", -DAY, True), ("third", -DAY + 100, True), ("fourth", 0.0, False)):
        ring.kill(1)
        ring.boot, ring.wall_offset = boot, step
        grape = ring.start(1, host="10.0.0.1")
        assert bool(ring.result(grape.lookup("name"))) == found
        ring.network.clock.advance(1)


def test_moments_and_heartbeats() -> None:
    then = Heartbeat(100.0, Moment(5_000.0, "boot", 50.0))
    assert Heartbeat.from_text(then.to_text()) == then
    assert then.seconds_at(Moment(0.0, "boot", 60.0)) == 110.0
    assert then.seconds_at(Moment(5_007.0, "other", 1.0)) == 107.0
    assert then.seconds_at(Moment(4_000.0, "other", 1.0)) == 100.0
    assert then.seconds_at(Moment(5_001.0, "", 0.0)) == 101.0
    for text in (None, "", "[]", "[1, 2]", '["a", 1, "b", 2]', b"\xff"):
        assert Heartbeat.from_text(text) is None
    now = Moment.now()
    assert Moment.now().seconds_since(now) >= 0.0


def test_a_clients_token_outlives_a_restart(ring: Ring) -> None:
    ring.start(1)
    client = Remote(ring.network, "10.0.0.9")
    client.ask(("10.0.0.1", 20_001), b"get", target=bytes(20))
    ring.network.clock.advance(1)
    (token,) = [m.values[b"token"] for m in client.heard if isinstance(m, Response) and b"token" in m.values]
    ring.kill(1)
    ring.start(1)
    client.heard.clear()
    client.ask(("10.0.0.1", 20_001), b"put", token=token, v=b"hello")
    ring.network.clock.advance(1)
    assert [type(message) for message in client.heard if not isinstance(message, krpc.Query)] == [Response]


def test_own_announces_are_renewed_after_a_restart_with_their_age(ring: Ring) -> None:
    grape = ring.start(1)
    ring.result(grape.announce("name", 1))
    ring.network.clock.advance(100)
    ring.kill(1)
    ring.start(1)
    newcomer = ring.start(2, dht_bootstrap=["10.0.0.1:20001"])
    ring.network.clock.advance(5)
    assert ring.result(newcomer.lookup("name"))
    ring.network.clock.advance(MAX_AGE - 105)
    ring.kill(1)
    assert ring.result(newcomer.lookup("name")) == []


def test_what_was_put_while_alone_is_shared_after_a_restart(ring: Ring) -> None:
    grape = ring.start(1)
    hashes = [ring.result(grape.put("hello")), ring.result(Key().put(grape, "mine", 1))]
    ring.kill(1)
    ring.start(1)
    newcomer = ring.start(2, dht_bootstrap=["10.0.0.1:20001"])
    ring.network.clock.advance(3)
    ring.kill(1)
    assert [ring.result(newcomer.get(hash)).item.value for hash in hashes] == [b"hello", b"mine"]


def test_a_grape_that_is_stopped_and_started_again_goes_on(ring: Ring) -> None:
    grape = ring.start(1)
    hash = ring.result(grape.put("hello"))
    ring.result(grape.stopService())
    grape.startService()
    assert ring.result(grape.get(hash)).item.value == b"hello"
    ring.result(grape.put("more"))
    assert grape.stats().degraded is None


def test_a_grape_without_a_file_keeps_nothing(ring: Ring, tmp_path: Path) -> None:
    for state in (None, ":memory:"):
        grape = Grape(reactor=ring.network.reactor("10.0.0.7"), state=state)
        grape.startService()
        ring.result(grape.put("hello"))
        ring.result(grape.stopService())
    assert list(tmp_path.iterdir()) == []


# What an acknowledgement means


class Slow:
    """A journal that keeps what it is told when the test says so."""

    def __init__(self, grape: Grape) -> None:
        self.waiting: list[OnDurable] = []
        self.refusal: str | None = None
        node: Any = grape.node
        node._journal = node._item_calls._journal = node._protocol._journal = self

    def when_durable(self, kept: OnDurable) -> None:
        self.waiting.append(kept)

    def keep(self, problem: str | None = None) -> None:
        waiting, self.waiting = self.waiting, []
        for kept in waiting:
            kept(problem)


def slow_grape(network: MemoryNetwork) -> tuple[Grape, Slow]:
    grape = Grape(reactor=network.reactor("10.0.0.1"))
    grape.startService()
    return grape, Slow(grape)


def token_for(network: MemoryNetwork, client: Remote) -> bytes:
    client.ask(("10.0.0.1", 20_001), b"get", target=bytes(20))
    network.clock.advance(1)
    token = [m.values[b"token"] for m in client.heard if isinstance(m, Response) and b"token" in m.values][-1]
    client.heard.clear()
    assert isinstance(token, bytes)
    return token


def test_a_put_by_a_call_is_answered_when_it_is_kept(network: MemoryNetwork) -> None:
    grape, journal = slow_grape(network)
    results = outcome(grape.put("hello"))
    network.clock.advance(10)
    assert results == []
    journal.keep()
    assert results == [immutable(b"hello").target.hex()]


@pytest.mark.parametrize("problem", ["at once", "later"])
def test_a_put_by_a_call_that_cannot_be_kept_fails(network: MemoryNetwork, problem: str) -> None:
    grape, journal = slow_grape(network)
    if problem == "at once":
        journal.refusal = "disk full"
    results = outcome(grape.put("hello"))
    journal.keep("disk full")
    (error,) = results
    assert isinstance(error, GrapeError)
    assert (error.code, error.status) == ("ERR_GRAPE_STATE: the item cannot be kept", 503)


def test_a_put_by_a_datagram_is_answered_when_it_is_kept_and_nothing_else_waits(network: MemoryNetwork) -> None:
    _, journal = slow_grape(network)
    client = Remote(network, "10.0.0.9")
    token = token_for(network, client)
    client.ask(("10.0.0.1", 20_001), b"put", token=token, v=b"hello")
    network.clock.advance(1)
    assert client.heard == []
    for method in (b"ping", b"get_peers", b"announce_peer"):
        client.ask(("10.0.0.1", 20_001), method, token=token, info_hash=b"name", port=1)
    network.clock.advance(1)
    assert [type(message) for message in client.heard] == [Response] * 3
    journal.keep()
    network.clock.advance(1)
    assert [type(message) for message in client.heard] == [Response] * 4


@pytest.mark.parametrize("problem", ["at once", "later"])
def test_a_put_by_a_datagram_that_cannot_be_kept_is_refused(network: MemoryNetwork, problem: str) -> None:
    _, journal = slow_grape(network)
    client = Remote(network, "10.0.0.9")
    token = token_for(network, client)
    if problem == "at once":
        journal.refusal = "disk full"
    client.ask(("10.0.0.1", 20_001), b"put", token=token, v=b"hello")
    network.clock.advance(1)
    journal.keep("disk full")
    network.clock.advance(1)
    (answer,) = client.heard
    assert isinstance(answer, Error)
    assert (answer.code, answer.message) == (202, "the item cannot be kept: disk full")


def test_a_put_that_is_given_up_while_it_is_kept_leaves_no_trace(network: MemoryNetwork) -> None:
    grape, journal = slow_grape(network)
    put = grape.put("hello")
    results = outcome(put)
    put.cancel()
    assert len(results) == 1
    journal.keep("disk full")
