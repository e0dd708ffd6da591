"""grape.web.service: the site behind the server."""

from __future__ import annotations

from twisted.internet.address import IPv4Address
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from grape import Grape
from grape.testing import MemoryNetwork
from grape.web.service import LazySite


def a_site_at_need() -> LazySite:
    reactor = MemoryNetwork(seed=1).reactor("10.0.0.1")
    return LazySite(Grape(reactor=reactor).resource, 100, reactor)


def test_a_site_that_nobody_needed_is_closed_at_once() -> None:
    assert a_site_at_need().close().called


def test_closing_waits_for_the_connections_of_the_site() -> None:
    site, transport = a_site_at_need(), StringTransport()
    channel = site.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1))
    channel.makeConnection(transport)
    closed = site.close()
    assert transport.disconnecting
    assert not closed.called
    channel.connectionLost(Failure(Exception()))
    assert closed.called


def test_one_site_serves_all_connections() -> None:
    site, address = a_site_at_need(), IPv4Address("TCP", "127.0.0.1", 1)
    assert site.buildProtocol(address).site is site.buildProtocol(address).site
