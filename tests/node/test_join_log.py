"""grape.node.join_log: the lines about joining, each once, whatever the network does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from twisted.logger import LogEvent, LogLevel, capturedLogs, formatEvent

from grape.dht.compact import Address
from grape.node.join_log import FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS, JoinLog
from grape.testing import HeapClock, MemoryNetwork, make_grape, make_grapes
from tests.simulation import lone_grape

A = ("10.0.0.1", 20_001)
B = ("10.0.0.2", 20_001)
LOST = "all contacts lost; trying to join again"


class Watched:
    """Runs a JoinLog on a clock of its own, with the contacts that the test says."""

    def __init__(self, logs: list[LogEvent], own: frozenset[Address] = frozenset()) -> None:
        self.clock = HeapClock()
        self.contacts = 0
        self.log = JoinLog(self.clock, lambda: self.contacts)
        self._own = own
        self._logs = logs

    def start(self, bootstrap: list[Address], remembered: list[Address] | None = None) -> None:
        self.log.start(bootstrap, remembered or [], lambda: self._own)

    def find(self, address: Address = A, number: int = 1) -> None:
        self.contacts = number
        self.log.contact_listed(address)

    def lose(self) -> None:
        self.contacts = 0
        self.log.contact_dropped()

    def lines(self) -> list[str]:
        """Takes the lines logged since the last call."""
        lines = [formatEvent(event) for event in self._logs]
        self._logs.clear()
        return lines


@pytest.fixture
def logs() -> Iterator[list[LogEvent]]:
    with capturedLogs() as logs:
        yield cast("list[LogEvent]", logs)


@pytest.fixture
def watched(logs: list[LogEvent]) -> Watched:
    return Watched(logs)


def said(logs: list[LogEvent]) -> list[str]:
    """The lines of a node about joining."""
    words = ("joined", "all contacts", "none of", "no bootstrap", "all bootstrap", "restored")
    return [line for line in map(formatEvent, logs) if line.startswith(words)]


def test_silent_bootstrap_nodes_are_named_once_after_three_seconds(watched: Watched, logs: list[LogEvent]) -> None:
    watched.start([A, B])
    watched.clock.advance(2.9)
    assert watched.lines() == []
    watched.clock.advance(0.2)
    assert [event["log_level"] for event in logs] == [LogLevel.warn]
    assert watched.lines() == ["none of 2 bootstrap nodes answers: 10.0.0.1:20001, 10.0.0.2:20001; trying on"]
    watched.clock.advance(100_000)
    assert watched.lines() == []


def test_join_is_logged_with_the_contacts_that_it_found(watched: Watched) -> None:
    watched.start([A])
    watched.find(A, 1)
    watched.find(B, 3)
    assert watched.lines() == []
    watched.clock.advance(100)
    assert watched.lines() == ["joined through 10.0.0.1:20001, 3 contacts"]


def test_late_join_is_logged_as_one(watched: Watched) -> None:
    watched.start([A])
    watched.clock.advance(60)
    watched.find(A)
    watched.clock.advance(60)
    assert watched.lines() == [
        "none of 1 bootstrap nodes answers: 10.0.0.1:20001; trying on",
        "joined through 10.0.0.1:20001, 1 contact",
    ]


def test_remembered_contacts_are_counted_and_named(watched: Watched) -> None:
    watched.start([], [A, B])
    watched.clock.advance(4)
    assert watched.lines() == [
        "no bootstrap nodes; asking 2 contacts of the last run",
        "none of 2 contacts of the last run answers: 10.0.0.1:20001, 10.0.0.2:20001; trying on",
    ]


def test_remembered_contacts_stand_beside_bootstrap_nodes(watched: Watched) -> None:
    watched.start([A], [A, *((f"10.0.1.{n}", 1) for n in range(1, 11))])
    watched.clock.advance(4)
    listed = ", ".join(f"10.0.1.{n}:1" for n in range(1, 9))
    assert watched.lines() == [
        "none of 1 bootstrap nodes answers: 10.0.0.1:20001; "
        f"none of 10 contacts of the last run answers: {listed} and 2 more; trying on"
    ]


def test_bootstrap_list_with_the_grape_itself_alone_is_no_fault(logs: list[LogEvent]) -> None:
    watched = Watched(logs, frozenset([A]))
    watched.start([A])
    watched.clock.advance(100)
    assert watched.lines() == ["all bootstrap nodes are this grape itself; waiting for others to join through it"]
    watched.find(B)
    watched.clock.advance(1)
    assert watched.lines() == ["joined through 10.0.0.2:20001, 1 contact"]


def test_lone_grape_says_nothing_until_it_meets_another(watched: Watched) -> None:
    watched.start([])
    watched.clock.advance(1_000)
    assert watched.lines() == []
    watched.find(B)
    watched.clock.advance(1)
    assert watched.lines() == ["joined through 10.0.0.2:20001, 1 contact"]


def test_loss_of_all_contacts_is_logged_once_and_so_is_its_end(watched: Watched) -> None:
    watched.start([A])
    watched.find(A, 2)
    watched.clock.advance(10)
    watched.contacts = 1
    watched.log.contact_dropped()
    watched.lines()
    watched.lose()
    watched.clock.advance(3_600)
    assert watched.lines() == [LOST]
    watched.find(B, 2)
    watched.clock.advance(3_600)
    assert watched.lines() == ["joined again through 10.0.0.2:20001, 2 contacts"]


def test_contact_that_goes_before_the_join_was_logged_is_no_join(watched: Watched) -> None:
    watched.start([A])
    watched.find(A)
    watched.lose()
    watched.clock.advance(10)
    assert watched.lines() == ["none of 1 bootstrap nodes answers: 10.0.0.1:20001; trying on"]


@pytest.mark.parametrize(("lost", "found"), [(20, 20), (5, 61), (61, 5), (600, 100), (0.5, 0.5), (3_000, 3_000)])
def test_flapping_network_does_not_flood_the_log(watched: Watched, lost: float, found: float) -> None:
    watched.start([A])
    watched.find(A)
    watched.clock.advance(2)
    assert len(watched.lines()) == 1
    hours = 24
    losses = 0
    while watched.clock.seconds() < hours * 3_600:
        watched.lose()
        losses += 1
        watched.clock.advance(lost)
        watched.find(A)
        watched.clock.advance(found)
    watched.clock.advance(2 * MAX_PAUSE_SECONDS)
    lines = watched.lines()
    assert len(lines) <= 3 * hours + 20
    # The log accounts for every loss: those that it names, and those that it counts.
    counts = [int(line.partition("more time")[0].split()[-1].replace(",", "")) for line in lines if "more time" in line]
    assert lines.count(LOST) + sum(counts) == losses
    # Its last word is the truth.
    assert lines[-1].startswith("joined again") or lines[-1].endswith("1 contact now")


def test_counted_losses_that_end_in_a_loss_are_told_and_so_is_the_end(watched: Watched) -> None:
    watched.start([A])
    watched.find(A)
    watched.clock.advance(2)
    for _ in range(3):
        watched.lose()
        watched.clock.advance(5)
        watched.find(A)
        watched.clock.advance(5)
    watched.lose()
    watched.clock.advance(FIRST_PAUSE_SECONDS)
    assert watched.lines() == [
        "joined through 10.0.0.1:20001, 1 contact",
        LOST,
        "joined again through 10.0.0.1:20001, 1 contact",
        "all contacts lost 3 more times in 1 minute; trying to join again",
    ]
    watched.find(B)
    watched.clock.advance(1)
    assert watched.lines() == ["joined again through 10.0.0.2:20001, 1 contact"]


def test_loss_an_hour_after_the_last_one_is_logged_at_once_again(watched: Watched) -> None:
    watched.start([A])
    watched.find(A)
    watched.clock.advance(2)
    for _ in range(3):
        watched.lines()
        watched.lose()
        watched.clock.advance(10)
        watched.find(A)
        watched.clock.advance(MAX_PAUSE_SECONDS)
        assert watched.lines() == [LOST, "joined again through 10.0.0.1:20001, 1 contact"]


def test_stop_leaves_no_timer(watched: Watched) -> None:
    watched.start([A])
    watched.find(A)
    watched.clock.advance(1)
    watched.lose()
    watched.find(A)
    watched.log.stop()
    assert not watched.clock.getDelayedCalls()


# In a node


def test_node_logs_its_join_its_losses_and_their_end(network: MemoryNetwork, logs: list[LogEvent]) -> None:
    grape = make_grape(network, 2)
    network.clock.advance(10)
    make_grape(network, 1)
    network.clock.advance(10)
    network.loss = 1.0
    network.clock.advance(700)
    network.loss = 0.0
    network.clock.advance(30)
    assert grape.stats().contacts == 1
    assert said(logs) == [
        "none of 1 bootstrap nodes answers: 10.0.0.1:20001; trying on",
        "joined through 10.0.0.1:20001, 1 contact",
        "joined through 10.0.0.2:20001, 1 contact",
        LOST,
        LOST,
        "joined again through 10.0.0.1:20001, 1 contact",
        "joined again through 10.0.0.2:20001, 1 contact",
    ]


def test_join_line_counts_the_contacts_of_a_ring(network: MemoryNetwork, logs: list[LogEvent]) -> None:
    make_grapes(network, 5)
    network.clock.advance(10)
    logs.clear()
    make_grape(network, 6)
    network.clock.advance(10)
    assert said(logs) == ["joined through 10.0.0.1:20001, 5 contacts"]


def test_restarted_node_logs_what_its_file_gave_back(
    network: MemoryNetwork, tmp_path: Path, logs: list[LogEvent]
) -> None:
    file = str(tmp_path / "state.sqlite")
    make_grapes(network, 2)
    settings: dict[str, Any] = {"dht_bootstrap": ["10.0.0.1:20001"], "state": file}
    grape = lone_grape(network, "10.0.0.3", **settings)
    network.clock.advance(2)
    assert [line for line in said(logs) if line.startswith("restored")] == []
    network.result(grape.put("value"))
    for name in ("a", "b"):
        network.result(make_grape(network, 4 if name == "a" else 5).when_ready())
    other = make_grape(network, 6)
    network.clock.advance(2)
    for name in ("a", "b"):
        network.result(other.announce(name, 1))
    network.result(grape.stopService())
    logs.clear()
    again = lone_grape(network, "10.0.0.3", state=file)
    network.clock.advance(5)
    assert said(logs) == [
        f"restored from {file}: node id {again.stats().node_id}, 5 contacts, 2 services, 1 item",
        "no bootstrap nodes; asking 5 contacts of the last run",
        f"joined through {said(logs)[2].split()[2]} 5 contacts",
    ]
    network.result(again.stopService())
