"""grape.daemon.supervised: what systemd is told, and when, with a notifier that notes it and a clock handed in."""

from __future__ import annotations

import attrs
import pytest
from twisted.internet.defer import Deferred

from grape import Config, Grape
from grape.daemon.service import Daemon
from grape.daemon.supervised import STATUS_SECONDS, Supervised, status_line
from grape.metrics import Stats
from grape.systemd import Notifier
from grape.testing import HeapClock, MemoryNetwork
from tests.simulation import Remote

STATS = Stats("ab" * 20, 20_001, True, 12, [0, 12], 40, 1, 0, {})
WATCHDOG_SECONDS = 30.0
LINE = "STATUS=12 contacts, 40 services, 1 item"


class Noting(Notifier):
    """A notifier that notes its messages."""

    def __init__(self, watchdog_seconds: float | None = None) -> None:
        super().__init__("/nowhere", watchdog_seconds)
        self.messages: list[tuple[str, ...]] = []
        self.is_heard = True

    def send(self, *assignments: str) -> bool:
        self.messages.append(assignments)
        return self.is_heard

    def taken(self) -> list[tuple[str, ...]]:
        """Returns the messages since the last call."""
        messages, self.messages = self.messages, []
        return messages


class Watched:
    """A grape whose figures the test sets."""

    def __init__(self) -> None:
        self.config = Config(dht_bootstrap="10.0.0.2:20001", drain=7)
        self.figures = STATS
        self.joined: Deferred[None] = Deferred()
        self.commit = 0

    def stats(self) -> Stats:
        return self.figures

    def when_ready(self) -> Deferred[None]:
        return self.joined


class Told:
    """A grape that systemd is told of."""

    def __init__(self, watchdog_seconds: float | None = None) -> None:
        self.grape = Watched()
        self.clock = HeapClock()
        self.notifier = Noting(watchdog_seconds)
        self.supervised = Supervised(
            self.notifier, self.grape, lambda: self.grape.commit, self.clock, lambda: 12.345_678_9
        )

    def ready(self) -> None:
        self.supervised.started()
        self.grape.joined.callback(None)
        self.notifier.taken()


def test_ready_is_said_once_joining_was_tried() -> None:
    told = Told()
    told.supervised.started()
    told.clock.advance(1)
    assert told.notifier.taken() == []
    told.grape.joined.callback(None)
    assert told.notifier.taken() == [("READY=1", LINE)]
    told.clock.advance(100)
    assert told.notifier.taken() == []


def test_ready_is_said_after_three_seconds_of_a_ring_that_starts_cold() -> None:
    told = Told()
    told.grape.figures = attrs.evolve(STATS, contacts=0, services=0, items=0)
    told.supervised.started()
    told.clock.advance(2.9)
    assert told.notifier.taken() == []
    told.clock.advance(0.1)
    status = "STATUS=not joined, 1 bootstrap node asked, 0 contacts, 0 services, 0 items"
    assert told.notifier.taken() == [("READY=1", status)]
    told.grape.joined.callback(None)
    assert told.notifier.taken() == []


def test_ready_is_not_said_by_a_grape_that_stops_before_it_joined() -> None:
    told = Told()
    told.supervised.started()
    told.supervised.stopping()
    told.grape.joined.errback(RuntimeError())
    told.supervised.stopped()
    told.clock.advance(100)
    assert [message[0] for message in told.notifier.taken()] == ["STOPPING=1"]


def test_status_is_renewed_at_a_change_and_not_at_every_one() -> None:
    told = Told()
    told.ready()
    for services in range(41, 44):
        told.clock.advance(STATUS_SECONDS / 4)
        told.grape.figures = attrs.evolve(STATS, services=services)
    assert told.notifier.taken() == []
    told.clock.advance(STATUS_SECONDS)
    assert told.notifier.taken() == [("STATUS=12 contacts, 43 services, 1 item",)]
    told.clock.advance(STATUS_SECONDS)
    assert told.notifier.taken() == []


@pytest.mark.parametrize(
    ("figures", "bootstrap_nodes", "line"),
    [
        (STATS, 3, "12 contacts, 40 services, 1 item"),
        (attrs.evolve(STATS, contacts=0), 3, "not joined, 3 bootstrap nodes asked, 0 contacts, 40 services, 1 item"),
        (attrs.evolve(STATS, contacts=0), 0, "alone, no bootstrap nodes, 0 contacts, 40 services, 1 item"),
        (
            attrs.evolve(STATS, degraded="database or disk is full"),
            0,
            "12 contacts, 40 services, 1 item, state file: database or disk is full",
        ),
    ],
)
def test_status_line_says_what_the_grape_holds_and_what_is_wrong(
    figures: Stats, bootstrap_nodes: int, line: str
) -> None:
    assert status_line(figures, bootstrap_nodes) == line


def test_watchdog_hears_of_the_process_at_half_its_time() -> None:
    told = Told(WATCHDOG_SECONDS)
    told.supervised.started()
    told.grape.joined.callback(None)
    assert told.notifier.taken() == [("READY=1", LINE), ("WATCHDOG=1",)]
    for _ in range(5):
        told.clock.advance(WATCHDOG_SECONDS / 2)
        assert told.notifier.taken() == [("WATCHDOG=1",)]


def test_watchdog_hears_nothing_while_one_commit_hangs() -> None:
    told = Told(WATCHDOG_SECONDS)
    told.ready()
    told.grape.commit = 7
    told.clock.advance(WATCHDOG_SECONDS / 2)
    assert told.notifier.taken() == [("WATCHDOG=1",)]
    told.clock.advance(WATCHDOG_SECONDS / 2)
    told.clock.advance(WATCHDOG_SECONDS - 1)
    assert told.notifier.taken() == []
    # It ends before systemd has lost patience: heard of within a second.
    told.grape.commit = 0
    told.clock.advance(1)
    assert told.notifier.taken() == [("WATCHDOG=1",)]


def test_watchdog_hears_of_a_process_whose_commits_fail_or_are_slow() -> None:
    told = Told(WATCHDOG_SECONDS)
    told.ready()
    told.grape.figures = attrs.evolve(STATS, degraded="database or disk is full")
    for commit in range(1, 6):
        told.grape.commit = commit
        told.clock.advance(WATCHDOG_SECONDS / 2)
        assert ("WATCHDOG=1",) in told.notifier.taken()


def test_reload_begins_with_the_monotonic_time_and_ends_ready() -> None:
    told = Told()
    told.ready()
    told.supervised.reloading()
    told.supervised.reloaded()
    assert told.notifier.taken() == [("RELOADING=1", "MONOTONIC_USEC=12345678"), ("READY=1",)]


def test_stop_asks_for_the_time_of_the_drain_while_the_watchdog_hears_on() -> None:
    told = Told(WATCHDOG_SECONDS)
    told.ready()
    told.supervised.stopping()
    assert told.notifier.taken() == [("STOPPING=1", "EXTEND_TIMEOUT_USEC=17000000", "STATUS=stopping")]
    told.clock.advance(WATCHDOG_SECONDS / 2)
    assert told.notifier.taken() == [("WATCHDOG=1",)]
    told.supervised.stopped()
    told.clock.advance(WATCHDOG_SECONDS)
    assert told.notifier.taken() == []


def test_daemon_tells_systemd_of_its_start_and_its_end(network: MemoryNetwork) -> None:
    notifier = Noting()
    daemon = Daemon(Config(api_port=None), network.reactor("10.0.0.1"), notifier=notifier)
    daemon.startService()
    network.clock.advance(3)
    assert notifier.taken() == [("READY=1", "STATUS=alone, no bootstrap nodes, 0 contacts, 0 services, 0 items")]
    network.result(daemon.stopService())
    assert [message[0] for message in notifier.taken()] == ["STOPPING=1"]
    network.clock.advance(60)
    assert notifier.taken() == []


def test_daemon_tells_systemd_why_it_cannot_start(network: MemoryNetwork) -> None:
    Remote(network, "10.0.0.1")
    notifier = Noting()
    daemon = Daemon(Config(api_port=None), network.reactor("10.0.0.1"), notifier=notifier)
    with pytest.raises(SystemExit):
        daemon.startService()
    ((status,),) = notifier.taken()
    assert status.startswith("STATUS=cannot listen on UDP port 20001 of 10.0.0.1: ")


def test_embedded_grape_is_watched_by_nobody(network: MemoryNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere")
    monkeypatch.setenv("LISTEN_FDS", "1")
    grape = Grape(reactor=network.reactor("10.0.0.1"))
    grape.startService()
    network.result(grape.stopService())
