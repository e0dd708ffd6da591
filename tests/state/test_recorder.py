"""Nodes that go on after a restart, and the meaning of the answer to a put."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import CancelledError
from twisted.logger import LogEvent

from grape import Grape, GrapeError
from grape.dht import messages as krpc
from grape.dht.items import immutable
from grape.dht.messages import Error, Response
from grape.state.clock import Moment
from grape.state.lock import StateError
from grape.state.recorder import WRITE_SECONDS
from grape.state.sqlite import StateFile
from grape.state.tables import Change
from grape.state.writer import Done, Stamp
from grape.testing import MemoryNetwork
from tests.simulation import Key, Remote, outcome
from tests.state.conftest import Kill

MAX_AGE = 240.0
HOUR = 3_600.0
DAY = 86_400.0
FULL = "database or disk is full"


class Ring:
    """Nodes on hosts 10.0.0.1 and up, each with a state file, killed and started again; their clocks can be set."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, kill: Kill) -> None:
        self.network = MemoryNetwork(seed=1)
        self.boot = "first boot"
        self.down = 0.0
        self.wall_offset = 0.0
        self.grapes: dict[int, Grape] = {}
        self._folder = folder
        self._kill = kill
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
        """Ends a node as kill -9 does: its file has what was committed."""
        del self.grapes[number]
        self._kill(self.network, f"10.0.0.{number}", self.path(number))

    def result(self, deferred: Any) -> Any:
        return self.network.result(deferred)


@pytest.fixture
def ring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kill: Kill) -> Any:
    ring = Ring(tmp_path, monkeypatch, kill)
    yield ring
    for number in list(ring.grapes):
        ring.result(ring.grapes[number].stopService())


def test_ring_of_killed_nodes_finds_everything_again_without_a_bootstrap_list(ring: Ring) -> None:
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


def test_first_lookup_after_a_start_is_fast_and_dead_contacts_are_dropped(ring: Ring) -> None:
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


def test_dead_contacts_are_retried_until_one_answers(ring: Ring) -> None:
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


def test_service_that_expired_during_the_downtime_is_gone(ring: Ring) -> None:
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
def test_wall_clock_that_jumps_loses_nothing(ring: Ring, step: float, when: str) -> None:
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


def test_wall_clock_is_trusted_after_a_reboot_but_never_runs_backwards(ring: Ring) -> None:
    grape = ring.start(1, host="10.0.0.1")
    ring.result(grape.announce("name", 1))
    ring.network.clock.advance(1)
    for boot, step, found in (("second", -DAY, True), ("third", -DAY + 100, True), ("fourth", 0.0, False)):
        ring.kill(1)
        ring.boot, ring.wall_offset = boot, step
        grape = ring.start(1, host="10.0.0.1")
        assert bool(ring.result(grape.lookup("name"))) == found
        ring.network.clock.advance(1)


def test_token_of_a_client_survives_a_restart(ring: Ring) -> None:
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


def test_items_put_while_alone_are_shared_after_a_restart(ring: Ring) -> None:
    grape = ring.start(1)
    hashes = [ring.result(grape.put("hello")), ring.result(Key().put(grape, "mine", 1))]
    ring.kill(1)
    ring.start(1)
    newcomer = ring.start(2, dht_bootstrap=["10.0.0.1:20001"])
    ring.network.clock.advance(3)
    ring.kill(1)
    assert [ring.result(newcomer.get(hash)).item.value for hash in hashes] == [b"hello", b"mine"]


def test_stopped_node_goes_on_when_it_is_started_again(ring: Ring) -> None:
    grape = ring.start(1)
    hash = ring.result(grape.put("hello"))
    ring.result(grape.stopService())
    grape.startService()
    assert ring.result(grape.get(hash)).item.value == b"hello"
    ring.result(grape.put("more"))
    assert grape.stats().degraded is None


def test_node_without_a_file_writes_none(ring: Ring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for state in (None, ":memory:"):
        grape = Grape(reactor=ring.network.reactor("10.0.0.7"), state=state)
        grape.startService()
        ring.result(grape.put("hello"))
        ring.result(grape.stopService())
    assert list(tmp_path.iterdir()) == []


# Acknowledgements of puts


class HeldWriter:
    """A writer that commits when the test says so."""

    def __init__(self, file: StateFile, stamp: Stamp) -> None:
        self._file = file
        self._jobs: list[tuple[Sequence[Change], Done]] = []

    @property
    def waiting(self) -> int:
        return len(self._jobs)

    def write(self, changes: Sequence[Change], done: Done) -> None:
        self._jobs.append((changes, done))

    def close(self, done: Callable[[], object]) -> None:
        self.commit()
        self._file.close()
        done()

    def commit(self) -> None:
        """Commits what is held."""
        jobs, self._jobs = self._jobs, []
        for changes, done in jobs:
            self._file.commit(changes)
            done(None)

    def fail(self, problem: str) -> None:
        """Lets what is held fail."""
        jobs, self._jobs = self._jobs, []
        for _, done in jobs:
            done(StateError(self._file.path, problem))


@pytest.fixture
def held(network: MemoryNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Grape, HeldWriter]]:
    """A node on 10.0.0.1 whose changes are committed when the test says so, and its writer."""
    writers: list[HeldWriter] = []

    def make(file: StateFile, stamp: Stamp) -> HeldWriter:
        writers.append(HeldWriter(file, stamp))
        return writers[-1]

    monkeypatch.setattr("grape.state.recorder.DirectWriter", make)
    grape = Grape(reactor=network.reactor("10.0.0.1"), state=str(tmp_path / "grape.sqlite"))
    grape.startService()
    yield grape, writers[0]
    network.result(grape.stopService())


def break_disk(network: MemoryNetwork, writer: HeldWriter, logged_failures: list[LogEvent]) -> None:
    """Lets a commit fail: until another succeeds, the node knows that its disk fails."""
    network.clock.advance(WRITE_SECONDS)
    writer.fail(FULL)
    logged_failures.clear()


def token_for(network: MemoryNetwork, client: Remote) -> bytes:
    client.ask(("10.0.0.1", 20_001), b"get", target=bytes(20))
    network.clock.advance(1)
    token = [m.values[b"token"] for m in client.heard if isinstance(m, Response) and b"token" in m.values][-1]
    client.heard.clear()
    assert isinstance(token, bytes)
    return token


def test_put_by_call_is_answered_once_durable(network: MemoryNetwork, held: tuple[Grape, HeldWriter]) -> None:
    grape, writer = held
    results = outcome(grape.put("hello"))
    network.clock.advance(10)
    assert results == []
    writer.commit()
    assert results == [immutable(b"hello").target.hex()]


@pytest.mark.parametrize("when", ["before", "after"])
def test_put_by_call_fails_if_it_cannot_become_durable(
    network: MemoryNetwork, held: tuple[Grape, HeldWriter], logged_failures: list[LogEvent], when: str
) -> None:
    grape, writer = held
    if when == "before":
        break_disk(network, writer, logged_failures)
        results = outcome(grape.put("hello"))
    else:
        results = outcome(grape.put("hello"))
        assert results == []
        writer.fail(FULL)
        logged_failures.clear()
    (error,) = results
    assert isinstance(error, GrapeError)
    assert (error.code, error.status) == ("ERR_GRAPE_STATE: the item cannot be kept", 503)


def test_put_by_datagram_is_answered_once_durable_and_nothing_else_waits(
    network: MemoryNetwork, held: tuple[Grape, HeldWriter]
) -> None:
    _, writer = held
    client = Remote(network, "10.0.0.9")
    token = token_for(network, client)
    client.ask(("10.0.0.1", 20_001), b"put", token=token, v=b"hello")
    network.clock.advance(1)
    assert client.heard == []
    for method in (b"ping", b"get_peers", b"announce_peer"):
        client.ask(("10.0.0.1", 20_001), method, token=token, info_hash=b"name", port=1)
    network.clock.advance(1)
    assert [type(message) for message in client.heard] == [Response] * 3
    writer.commit()
    network.clock.advance(1)
    assert [type(message) for message in client.heard] == [Response] * 4


@pytest.mark.parametrize("when", ["before", "after"])
def test_put_by_datagram_is_refused_if_it_cannot_become_durable(
    network: MemoryNetwork, held: tuple[Grape, HeldWriter], logged_failures: list[LogEvent], when: str
) -> None:
    _, writer = held
    client = Remote(network, "10.0.0.9")
    token = token_for(network, client)
    if when == "before":
        break_disk(network, writer, logged_failures)
    client.ask(("10.0.0.1", 20_001), b"put", token=token, v=b"hello")
    network.clock.advance(1)
    if when == "after":
        assert client.heard == []
        writer.fail(FULL)
        logged_failures.clear()
    network.clock.advance(1)
    (answer,) = client.heard
    assert isinstance(answer, Error)
    assert (answer.code, answer.message) == (202, f"the item cannot be kept: {FULL}")


def test_put_that_was_cancelled_has_one_result_if_its_commit_fails(
    held: tuple[Grape, HeldWriter], logged_failures: list[LogEvent]
) -> None:
    grape, writer = held
    put = grape.put("hello")
    results = outcome(put)
    put.cancel()
    assert [type(result) for result in results] == [CancelledError]
    writer.fail(FULL)
    (failure,) = logged_failures
    assert failure["problem"] == FULL
    logged_failures.clear()
    assert len(results) == 1
