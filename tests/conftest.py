"""Fails every test that leaves a timer, a port or a logged failure behind, and provides the shared network."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings
from twisted.logger import ILogObserver, LogEvent, LogLevel, eventAsText, globalLogPublisher
from zope.interface import implementer

from grape.testing import MemoryNetwork

# Settings of the developer's shell are not for the tests.
for name in [name for name in os.environ if name.startswith("GRAPE_")]:
    del os.environ[name]

# No deadline: the machine may be busy, and speed is what the benchmarks measure.
# CI tries the same examples each time, so that it judges the change; developers' runs search for new ones.
settings.register_profile("grape", deadline=None, print_blob=True, derandomize="CI" in os.environ)
settings.load_profile("grape")


@pytest.fixture
def network() -> MemoryNetwork:
    """Makes an in-memory network with virtual time, of seed 1."""
    return MemoryNetwork(seed=1)


@pytest.fixture(autouse=True)
def logged_failures(request: pytest.FixtureRequest) -> Iterator[list[LogEvent]]:
    """Lists the failures and errors logged so far; a test that expects some clears the list."""
    failures: list[LogEvent] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        if event.get("log_failure") is not None or event.get("log_level", LogLevel.info) >= LogLevel.error:
            failures.append(event)

    # Not imported with this module: pytest-twisted installs the reactor that --reactor names after it has been loaded.
    from twisted.internet import reactor as global_reactor

    reactor: Any = global_reactor
    timers = set(reactor.getDelayedCalls())
    sockets = _sockets(reactor)
    globalLogPublisher.addObserver(observe)
    try:
        yield failures
        if "live" in request.node.path.parts:
            # A Deferred that was dropped with a failure logs it when it is collected.
            gc.collect()
    finally:
        globalLogPublisher.removeObserver(observe)
    left = [call for call in reactor.getDelayedCalls() if call not in timers]
    for call in left:
        call.cancel()
    ports = _sockets(reactor) - sockets
    assert not failures, "logged: " + "\n".join(map(eventAsText, failures))
    assert not left, f"timers left: {left}"
    assert not ports, f"ports left: {ports}"


@pytest.fixture(autouse=True, scope="module")
def _collect_garbage() -> Iterator[None]:
    yield
    gc.collect()


def _sockets(reactor: Any) -> set[Any]:
    # Readers without getHost are the reactor's own wakers.
    return {reader for reader in reactor.getReaders() if hasattr(reader, "getHost")}
