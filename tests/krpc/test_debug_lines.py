"""grape.krpc.endpoint: what it logs at debug, and that a datagram writes no line otherwise."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from twisted.logger import capturedLogs, formatEvent

from grape.logs.levels import Levels
from grape.testing import MemoryNetwork, make_grapes


@pytest.fixture
def levels() -> Iterator[Levels]:
    levels = Levels(["info"])
    yield levels
    levels.set(["info"])


def lines_of_a_minute(network: MemoryNetwork) -> list[str]:
    """Returns what the KRPC endpoints log while a grape gets garbage and then loses its only contact."""
    first, second = make_grapes(network, 2)
    with capturedLogs() as events:
        network.ports["10.0.0.1", 20_001].received(b"garbage", ("10.0.0.9", 7))
        network.result(second.stopService())
        for _ in range(4):
            network.result(first.lookup("a"))
        network.clock.advance(60)
    return [formatEvent(event) for event in events if event["log_namespace"] == "grape.krpc"]


def test_datagrams_write_no_line_at_the_default_level(levels: Levels, network: MemoryNetwork) -> None:
    assert lines_of_a_minute(network) == []


def test_debug_lines_tell_of_malformed_datagrams_and_of_contacts(levels: Levels, network: MemoryNetwork) -> None:
    levels.set(["warn", "grape.krpc=debug"])
    lines = lines_of_a_minute(network)
    assert lines[0].startswith("malformed datagram from 10.0.0.9:7: ")
    assert "contact 10.0.0.2:20001 dropped: no answer" in lines
