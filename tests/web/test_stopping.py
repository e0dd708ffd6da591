"""grape.web.service: a grape that stops answers the calls that came and makes the announces that it took."""

from __future__ import annotations

from typing import Any

import pytest

from grape import Grape
from grape.service import ANSWER_SECONDS
from grape.testing import MemoryNetwork
from grape.web.server import CLOSING_SECONDS, NEW_SECONDS
from tests.web.helpers import TCPReactor, Transport, answers, connect, request

NOT_RUNNING = 503, b'"ERR_GRAPE_NOT_RUNNING"'
ANNOUNCE = b'{"data":["a service",7]}'
PUT = b'{"data":"a value"}'
WRITES = [(b"/announce", ANNOUNCE), (b"/put", PUT)]


class Ring:
    """A grape with an HTTP port, and a second node that it knows."""

    def __init__(self, network: MemoryNetwork) -> None:
        self.network = network
        self.other = Grape(reactor=network.reactor("10.0.0.2"))
        reactor = TCPReactor(network, "10.0.0.1")
        self.grape = Grape(dht_bootstrap=["10.0.0.2:20001"], reactor=reactor, api_port=0)
        for grape in (self.other, self.grape):
            grape.startService()
            network.result(grape.when_ready())
        self.factory = reactor.factories[0]

    def connect(self) -> Transport:
        """Returns a client of the grape."""
        return connect(self.factory)

    def stored(self) -> int:
        """Returns how many services and items the other node holds."""
        stats = self.other.stats()
        return stats.services + stats.items

    def fall_silent(self) -> None:
        """Ends the other node, so that what is asked of it takes long."""
        self.network.result(self.other.stopService())


@pytest.fixture
def ring(network: MemoryNetwork) -> Ring:
    return Ring(network)


@pytest.mark.parametrize(("path", "body"), WRITES)
def test_call_under_way_is_answered(ring: Ring, path: bytes, body: bytes) -> None:
    client = ring.connect()
    client.send(request(body, path))
    stopped = ring.grape.stopService()
    ring.network.result(stopped)
    ((status, _),) = answers(client.value())
    assert (status, client.ended, ring.stored()) == (200, "closed", 1)
    assert b"\r\nConnection: close\r\n" in client.value()
    ring.fall_silent()


@pytest.mark.parametrize("path", [b"/lookup", b"/announce", b"/put", b"/get"])
def test_call_that_takes_too_long_is_answered_that_the_grape_is_not_running(ring: Ring, path: bytes) -> None:
    ring.fall_silent()
    client = ring.connect()
    bodies = {**dict(WRITES), b"/lookup": b'{"data":"x"}', b"/get": b'{"data":"%b"}' % (b"0" * 40)}
    client.send(request(bodies[path], path))
    began = ring.network.clock.seconds()
    ring.network.result(ring.grape.stopService())
    assert answers(client.value()) == [NOT_RUNNING]
    assert client.ended == "closed"
    assert ANSWER_SECONDS <= ring.network.clock.seconds() - began < CLOSING_SECONDS


def test_further_calls_of_a_connection_are_served_or_refused(ring: Ring) -> None:
    client = ring.connect()
    client.send(request(b'{"data":"x"}'))
    stopped = ring.grape.stopService()
    client.send(request(ANNOUNCE, b"/announce"))
    ring.network.result(stopped)
    assert [status for status, _ in answers(client.value())] in ([200], [200, 200])
    assert client.ended == "closed"
    ring.fall_silent()


def test_further_call_after_the_node_stopped_is_refused(ring: Ring) -> None:
    ring.fall_silent()
    client = ring.connect()
    client.send(request(ANNOUNCE, b"/announce"))
    stopped = ring.grape.stopService()
    ring.network.clock.advance(ANSWER_SECONDS - 0.1)
    client.send(request(PUT, b"/put"))
    ring.network.result(stopped)
    assert answers(client.value()) == [NOT_RUNNING] * 2


def test_calls_through_the_site_are_answered(ring: Ring) -> None:
    client = ring.connect()
    client.send(request(b"{}", b"/nothing") + request(ANNOUNCE, b"/announce"))
    stopped = ring.grape.stopService()
    client.send(request(PUT, b"/put"))
    ring.network.result(stopped)
    assert answers(client.value()) == [(200, b'"ERR_REQ_NOTFOUND"'), (200, b"1"), *answers(client.value())[2:]]
    assert {status for status, _ in answers(client.value())} <= {200, 503}
    assert client.ended == "closed"
    ring.fall_silent()


@pytest.mark.parametrize("through_site", [False, True])
@pytest.mark.parametrize(("path", "body"), WRITES)
def test_announce_and_put_whose_client_left_are_made_before_the_end(
    ring: Ring, path: bytes, body: bytes, through_site: bool
) -> None:
    client = ring.connect()
    if through_site:
        client.send(request(b"{}", b"/nothing"))
    client.send(request(body, path))
    client.abortConnection()
    assert ring.stored() == 0
    ring.network.result(ring.grape.stopService())
    assert ring.stored() == 1
    ring.fall_silent()


def test_announce_whose_client_left_holds_a_stop_up_no_longer_than_others(ring: Ring) -> None:
    ring.fall_silent()
    client = ring.connect()
    client.send(request(ANNOUNCE, b"/announce"))
    client.abortConnection()
    began = ring.network.clock.seconds()
    ring.network.result(ring.grape.stopService())
    assert ring.network.clock.seconds() - began < CLOSING_SECONDS


def test_work_that_does_not_end_does_not_keep_the_http_service_from_stopping(ring: Ring) -> None:
    api: Any = ring.grape.http._api
    api.leave_alone()
    began = ring.network.clock.seconds()
    ring.network.result(ring.grape.stopService())
    assert ring.network.clock.seconds() - began <= CLOSING_SECONDS + 0.1
    ring.fall_silent()


def test_client_that_has_just_come_is_answered(ring: Ring) -> None:
    client = ring.connect()
    stopped = ring.grape.stopService()
    ring.network.clock.advance(NEW_SECONDS / 2)
    client.send(request(ANNOUNCE, b"/announce"))
    ring.network.result(stopped)
    assert answers(client.value()) == [(200, b"1")]
    assert client.ended == "closed"
    ring.fall_silent()


def test_client_that_came_and_says_nothing_is_closed(ring: Ring) -> None:
    client, later = ring.connect(), ring.connect()
    ring.network.clock.advance(NEW_SECONDS)
    newest = ring.connect()
    stopped = ring.grape.stopService()
    ring.network.clock.advance(0)
    assert (client.ended, later.ended, newest.ended) == ("closed", "closed", "")
    ring.network.result(stopped)
    assert newest.ended == "closed"
    ring.fall_silent()
