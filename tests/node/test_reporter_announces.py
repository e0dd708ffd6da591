"""grape.node.reporter: a line for each announce and each peer that expires."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import attrs
import pytest
from treq.testing import StubTreq
from twisted.logger import LogEvent, capturedLogs, formatEvent

from grape import Config, Grape
from grape.node.reporter import log_announce, log_withdrawal, shown_name
from grape.testing import MemoryNetwork, make_grapes
from grape.web.api import _log_announce


def lines(events: Sequence[LogEvent]) -> list[str]:
    """Returns the lines about announces."""
    said = [formatEvent(event) for event in events if event["log_namespace"] in ("grape.node", "grape.web")]
    return [line for line in said if line.startswith(("announce", "withdrawal", "expired"))]


@pytest.fixture
def grapes(network: MemoryNetwork) -> list[Grape]:
    """Two grapes; the first logs announces."""
    grapes = make_grapes(network, 2)
    grapes[0].reconfigure(_logging(grapes[0]))
    return grapes


def _logging(grape: Grape, is_on: bool = True) -> Config:
    return attrs.evolve(grape.config, log_announces=is_on)


def test_announce_by_udp_is_logged_with_its_sender(grapes: list[Grape], network: MemoryNetwork) -> None:
    with capturedLogs() as events:
        for _ in range(2):
            network.result(grapes[1].announce("rest:util:net", 1_337))
    line = "announce of 'rest:util:net': peer 10.0.0.2:1337, by UDP 10.0.0.2:20001"
    assert lines(events) == [line, line]
    event = next(event for event in events if "client" in event)
    assert (event["name"], event["peer"], event["client"]) == ("rest:util:net", "10.0.0.2:1337", "10.0.0.2:20001")


def test_announce_by_http_is_logged_with_its_client(grapes: list[Grape], network: MemoryNetwork) -> None:
    client: Any = StubTreq(grapes[0].resource())
    with capturedLogs() as events:
        for data in (["a", 7], ["a", "x"], ["a"], "a", [5, 5]):
            client.post("http://localhost/announce", json.dumps({"data": data}).encode())
        client.post("http://localhost/lookup", b'{"data":"a"}')
        network.clock.advance(3)
        client.flush()
    (line,) = lines(events)
    assert line.startswith("announce of 'a': port 7, by HTTP client ")


def test_withdrawal_by_udp_is_logged_with_its_sender(grapes: list[Grape], network: MemoryNetwork) -> None:
    network.result(grapes[1].announce("rest:util:net", 1_337))
    with capturedLogs() as events:
        network.result(grapes[1].unannounce("rest:util:net", 1_337))
        network.clock.advance(300)
    assert lines(events) == ["withdrawal of 'rest:util:net': peer 10.0.0.2:1337, by UDP 10.0.0.2:20001"]
    assert [grape.stats().counters["withdrawals"] for grape in grapes] == [1, 1]


def test_repeated_withdrawal_says_its_age() -> None:
    with capturedLogs() as events:
        log_withdrawal(b"a", ("10.0.0.2", 1), ("10.0.0.2", 2), 12.3)
    assert lines(events) == ["withdrawal of 'a': peer 10.0.0.2:1, by UDP 10.0.0.2:2 (made 12 s ago)"]


def test_withdrawal_by_http_is_logged_with_its_client(grapes: list[Grape], network: MemoryNetwork) -> None:
    client: Any = StubTreq(grapes[0].resource())
    with capturedLogs() as events:
        for data in (["a", 7], ["a", "x"], "a", [5, 5]):
            client.post("http://localhost/unannounce", json.dumps({"data": data}).encode())
        # Found by POST alone.
        client.put("http://localhost/unannounce", b'{"data":["a",7]}')
        network.clock.advance(3)
        client.flush()
    (line,) = lines(events)
    assert line.startswith("withdrawal of 'a': port 7, by HTTP client ")


@pytest.mark.parametrize(
    ("client", "shown"), [("::ffff:10.0.0.9", "10.0.0.9"), ("fd00::9", "fd00::9"), (None, "of a unix socket")]
)
def test_client_of_an_announce_is_shown_without_the_prefix_of_a_mapped_address(client: str | None, shown: str) -> None:
    with capturedLogs() as events:
        _log_announce("announce", {"data": ["a", 7]}, client)
    assert lines(events) == [f"announce of 'a': port 7, by HTTP client {shown}"]


def test_peer_that_expires_is_logged(grapes: list[Grape], network: MemoryNetwork) -> None:
    network.result(grapes[1].announce("a", 1))
    network.result(grapes[1].stopService())
    with capturedLogs() as events:
        network.clock.advance(400)
    assert lines(events) == ["expired: 'a': peer 10.0.0.2:1, announced by UDP 10.0.0.2:20001"]


def test_nothing_is_logged_unless_it_is_asked_for(grapes: list[Grape], network: MemoryNetwork) -> None:
    grapes[0].reconfigure(_logging(grapes[0], False))
    with capturedLogs() as events:
        network.result(grapes[1].announce("a", 1))
    assert lines(events) == []


def test_repeated_announce_says_its_age_and_an_own_one_is_left_to_its_caller() -> None:
    with capturedLogs() as events:
        log_announce(b"a", ("10.0.0.2", 1), ("10.0.0.3", 2), 12.3)
        log_announce(b"a", ("10.0.0.2", 1), None, 0.0)
    assert lines(events) == ["announce of 'a': peer 10.0.0.2:1, by UDP 10.0.0.3:2 (made 12 s ago)"]


def test_names_of_strangers_cannot_forge_lines() -> None:
    with capturedLogs() as events:
        log_announce(b"a\n2026 [info] \x1b[31m\xff" + b"x" * 9_000, ("10.0.0.2", 1), ("10.0.0.3", 2), 0)
    (line,) = lines(events)
    assert "\n" not in line
    assert "\x1b" not in line
    assert len(line) < 400
    assert shown_name("a" * 300) == "a" * 200 + "..."
