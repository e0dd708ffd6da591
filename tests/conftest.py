"""What every test is held to: no timer, no port and no logged failure may be left behind."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings
from twisted.internet import reactor as global_reactor
from twisted.logger import ILogObserver, LogEvent, LogLevel, eventAsText, globalLogPublisher
from zope.interface import implementer

from grape.testing import MemoryNetwork

reactor: Any = global_reactor

# The machine may be busy: what is slow is for the benchmarks to say.
# CI tries the same examples each time: it judges the change, the search goes on with everybody else.
settings.register_profile("grape", deadline=None, print_blob=True, derandomize="CI" in os.environ)
settings.load_profile("grape")


@pytest.fixture
def network() -> MemoryNetwork:
    """An in-memory network with a virtual clock; the same seed for every test."""
    return MemoryNetwork(seed=1)


@pytest.fixture(autouse=True)
def logged_failures(request: pytest.FixtureRequest) -> Iterator[list[LogEvent]]:
    """The failures and errors logged so far; a test that expects some clears the list."""
    failures: list[LogEvent] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        if event.get("log_failure") is not None or event.get("log_level", LogLevel.info) >= LogLevel.error:
            failures.append(event)

    timers = set(reactor.getDelayedCalls())
    sockets = _sockets()
    globalLogPublisher.addObserver(observe)
    try:
        yield failures
        if "live" in request.node.path.parts:
            # Deferreds that were dropped with a failure log it when they are collected.
            gc.collect()
    finally:
        globalLogPublisher.removeObserver(observe)
    left = [call for call in reactor.getDelayedCalls() if call not in timers]
    for call in left:
        call.cancel()
    ports = _sockets() - sockets
    assert not failures, "logged: " + "\n".join(map(eventAsText, failures))
    assert not left, f"timers left: {left}"
    assert not ports, f"ports left: {ports}"


@pytest.fixture(autouse=True, scope="module")
def _collect_garbage() -> Iterator[None]:
    yield
    gc.collect()


def _sockets() -> set[Any]:
    # The reactor's own wakers are readers too.
    return {reader for reader in reactor.getReaders() if hasattr(reader, "getHost")}
