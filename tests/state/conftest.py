"""Fixtures for tests of state files: nodes that die as by kill -9, and the lines that an operator sees."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.logger import ILogObserver, LogEvent, LogLevel, eventAsText, globalLogPublisher
from zope.interface import implementer

from grape.state.sqlite import StateFile
from grape.testing import MemoryNetwork

Kill = Callable[[MemoryNetwork, str, str], None]


def line_of(event: LogEvent) -> str:
    """The line of a log event, without its time and namespace."""
    return re.sub(r"^\S+ \[\S+\] ", "", eventAsText(event))


@pytest.fixture
def kill(monkeypatch: pytest.MonkeyPatch) -> Kill:
    """``kill(network, host, path)`` ends a node as kill -9 does: its state file has what was committed."""
    opened: dict[str, StateFile] = {}

    class Tracked(StateFile):
        def __init__(self, path: str, **keywords: Any) -> None:
            super().__init__(path, **keywords)
            opened[path] = self

    def kill(network: MemoryNetwork, host: str, path: str) -> None:
        network.kill(host)
        opened.pop(path).close()

    monkeypatch.setattr("grape.state.recorder.StateFile", Tracked)
    return kill


@pytest.fixture
def logged() -> Iterator[list[tuple[LogLevel, str]]]:
    """The log's level and line of each event that names a state file."""
    lines: list[tuple[LogLevel, str]] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        if "state file" in eventAsText(event):
            lines.append((event["log_level"], line_of(event)))

    globalLogPublisher.addObserver(observe)
    try:
        yield lines
    finally:
        globalLogPublisher.removeObserver(observe)
