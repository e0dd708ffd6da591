"""grape.web.lazy_site: when the modules of the site are loaded."""

from __future__ import annotations

from typing import ClassVar

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.testing import StringTransport
from twisted.logger import LogEvent
from twisted.python.failure import Failure
from twisted.web.resource import Resource

import grape.web.lazy_site
from grape import Grape
from grape.errors import GrapeError
from grape.testing import HeapClock, MemoryNetwork
from grape.web.lazy_site import JOIN_SECONDS, PAUSE_SECONDS, LazySite
from tests.web.helpers import LIMIT, PEER, TCPReactor

STEPS = 2


class FakeImport:
    """Modules that are not really imported: ``left`` of them are to come."""

    made: ClassVar[list[FakeImport]] = []

    def __init__(self) -> None:
        self.left = STEPS
        self.is_finished = False
        self.made.append(self)

    def step(self) -> bool:
        self.left -= 1
        return self.left >= 0

    def finish(self) -> None:
        self.is_finished = True


class Made:
    """A lazy site on a virtual clock."""

    def __init__(self) -> None:
        self.clock = HeapClock()
        self.resources = 0
        self.site = LazySite(lambda: self.make(), LIMIT, self.clock)

    @property
    def steps(self) -> int:
        """The steps since the last start, without the one that makes the site."""
        return min(STEPS - FakeImport.made[-1].left, STEPS)

    def make(self) -> Resource:
        self.resources += 1
        return Resource()


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Made:
    monkeypatch.setattr(grape.web.lazy_site, "SteppedImport", FakeImport)
    FakeImport.made.clear()
    return Made()


def test_modules_are_loaded_one_by_one_once_the_node_has_joined(made: Made) -> None:
    joined: Deferred[None] = Deferred()
    made.site.load_soon(joined)
    made.clock.advance(JOIN_SECONDS / 2)
    assert made.steps == 0
    joined.callback(None)
    assert made.steps == 0
    for step in range(STEPS):
        made.clock.advance(PAUSE_SECONDS)
        assert (made.steps, made.site.is_loaded) == (step + 1, False)
    made.clock.advance(PAUSE_SECONDS)
    assert (made.site.is_loaded, made.resources, made.clock.getDelayedCalls()) == (True, 1, [])
    assert FakeImport.made[-1].is_finished


def test_modules_are_loaded_after_a_while_if_the_node_does_not_join(made: Made) -> None:
    made.site.load_soon(Deferred())
    made.clock.advance(JOIN_SECONDS + 1)
    assert made.site.is_loaded


def test_loading_is_started_once(made: Made) -> None:
    made.site.load_soon(succeed(None))
    made.site.load_soon(fail(GrapeError("ERR_GRAPE_NOT_RUNNING", 503)))
    made.clock.advance(1)
    made.site.load_soon(fail(GrapeError("ERR_GRAPE_NOT_RUNNING", 503)))
    assert (made.resources, made.clock.getDelayedCalls()) == (1, [])


def test_site_is_not_loaded_by_a_node_that_stops_while_it_joins(made: Made) -> None:
    joined: Deferred[None] = Deferred()
    made.site.load_soon(joined)
    made.site.stop()
    joined.errback(GrapeError("ERR_GRAPE_NOT_RUNNING", 503))
    made.clock.advance(JOIN_SECONDS + 1)
    assert (made.steps, made.site.is_loaded, made.clock.getDelayedCalls()) == (0, False, [])


@pytest.mark.parametrize("steps", range(STEPS + 1))
def test_stop_ends_the_loading_and_a_new_start_goes_on(steps: int, made: Made) -> None:
    made.site.load_soon(succeed(None))
    made.clock.advance(steps * PAUSE_SECONDS)
    made.site.stop()
    made.site.stop()
    assert (FakeImport.made[-1].is_finished, made.clock.getDelayedCalls()) == (True, [])
    made.clock.advance(JOIN_SECONDS + 1)
    assert not made.site.is_loaded
    made.site.load_soon(succeed(None))
    made.clock.advance(1)
    assert (made.site.is_loaded, made.resources) == (True, 1)


@pytest.mark.parametrize("steps", range(STEPS + 2))
def test_connection_that_comes_earlier_loads_the_rest_at_once(steps: int, made: Made) -> None:
    made.site.load_soon(succeed(None))
    made.clock.advance(steps * PAUSE_SECONDS)
    first = made.site.buildProtocol(PEER)
    assert (made.steps, made.site.is_loaded, made.clock.getDelayedCalls()) == (STEPS, True, [])
    assert made.site.buildProtocol(PEER).site is first.site
    made.site.load_soon(succeed(None))
    assert (made.resources, made.clock.getDelayedCalls()) == (1, [])


def test_site_that_cannot_be_loaded_is_logged_and_tried_again(
    made: Made, logged_failures: list[LogEvent], monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down() -> Resource:
        raise ImportError("a package is broken")

    monkeypatch.setattr(made, "make", break_down)
    made.site.load_soon(succeed(None))
    made.clock.advance(1)
    assert (made.site.is_loaded, made.clock.getDelayedCalls()) == (False, [])
    assert len(logged_failures) == 1
    logged_failures.clear()
    with pytest.raises(ImportError):
        made.site.buildProtocol(PEER)


def test_grape_without_an_http_port_loads_nothing(made: Made, network: MemoryNetwork) -> None:
    started = Grape(reactor=TCPReactor(network))
    started.startService()
    network.clock.advance(2 * JOIN_SECONDS)
    assert made.steps == 0
    network.result(started.stopService())


def test_grape_with_an_http_port_loads_the_site_until_it_stops(made: Made, network: MemoryNetwork) -> None:
    started = Grape(reactor=TCPReactor(network), api_port=0)
    for seconds, steps in ((0.0, 0), (2 * JOIN_SECONDS, STEPS)):
        started.startService()
        network.clock.advance(seconds)
        assert made.steps == steps
        network.result(started.stopService())


# Closing


def test_site_that_nobody_needed_is_closed_at_once(made: Made) -> None:
    assert made.site.close().called


def test_closing_waits_for_the_connections_of_the_site(made: Made) -> None:
    transport = StringTransport()
    channel = made.site.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1))
    channel.makeConnection(transport)
    closed = made.site.close()
    assert transport.disconnecting
    assert not closed.called
    channel.connectionLost(Failure(Exception()))
    assert closed.called
