"""grape.web: a lookup lists each asker addresses that it can reach, through the server and a mounted resource."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress
from twisted.python.failure import Failure
from twisted.web.resource import Resource

from grape import Grape
from grape.testing import MemoryNetwork
from grape.web.api import Api
from grape.web.request import Request
from grape.web.site import GrapeSite
from tests.simulation import lone_grape
from tests.web.helpers import SiteClient, TCPReactor, answers, connect, request
from tests.web.test_api import FakeCalls, fired

ANNOUNCE, LOOKUP = b'{"data":["a",1337]}', b'{"data":"a"}'
V4 = IPv4Address("TCP", "10.1.0.9", 40_000), IPv4Address("TCP", "10.1.0.7", 30_001)
MAPPED = IPv6Address("TCP", "::ffff:10.1.0.9", 40_000), IPv6Address("TCP", "::ffff:10.1.0.7", 30_001)
LOOPBACK = IPv4Address("TCP", "127.0.0.1", 40_000), IPv4Address("TCP", "127.0.0.1", 30_001)
LOOPBACK_V6 = IPv6Address("TCP", "::1", 40_000), IPv6Address("TCP", "::1", 30_001)
UNIX = UNIXAddress(b""), UNIXAddress(b"/run/grape")

ENDS = pytest.mark.parametrize(
    ("ends", "listed"),
    [
        pytest.param(V4, ["10.1.0.7:1337"], id="another host"),
        pytest.param(MAPPED, ["10.1.0.7:1337"], id="another host, at a socket for both families"),
        pytest.param(LOOPBACK, ["127.0.0.1:1337"], id="this host"),
        pytest.param(LOOPBACK_V6, ["127.0.0.1:1337"], id="this host, by IPv6"),
        pytest.param(UNIX, ["127.0.0.1:1337"], id="a unix socket"),
    ],
)


def a_grape(network: MemoryNetwork, **settings: Any) -> tuple[Grape, TCPReactor]:
    """Starts a grape with an HTTP port on 10.1.0.7, and announces a service."""
    reactor = TCPReactor(network, "10.1.0.7")
    grape = Grape(reactor=reactor, api_port=0, **settings)
    grape.startService()
    network.result(grape.when_ready())
    network.result(grape.announce("a", 1337))
    return grape, reactor


def lookup(reactor: TCPReactor, ends: tuple[IAddress, IAddress]) -> list[str]:
    """Returns what a client is answered whose connection has these ends: its own, and the server's."""
    client = connect(reactor.factories[0], *ends)
    client.send(request(LOOKUP))
    ((status, body),) = answers(client.value())
    assert status == 200
    found: list[str] = json.loads(body)
    return found


@ENDS
def test_lone_grape_lists_each_asker_the_address_that_it_came_to(
    network: MemoryNetwork, ends: tuple[IAddress, IAddress], listed: list[str]
) -> None:
    _, reactor = a_grape(network)
    # The second request has a head that the server knows by then.
    for _ in range(2):
        assert lookup(reactor, ends) == listed


@ENDS
def test_mounted_resource_lists_each_asker_the_address_that_it_came_to(
    network: MemoryNetwork, ends: tuple[IAddress, IAddress], listed: list[str]
) -> None:
    grape, reactor = a_grape(network)
    root = Resource()
    root.putChild(b"grape", grape.resource(None))
    client = SiteClient(GrapeSite(root, 8_192, reactor), *ends)
    client.send(request(LOOKUP, b"/grape/lookup"))
    ((status, body),) = client.answers()
    assert (status, json.loads(body)) == (200, listed)


def test_advertised_address_is_listed_to_all(network: MemoryNetwork) -> None:
    grape, reactor = a_grape(network, advertise="10.13.0.50")
    for ends in (V4, MAPPED, LOOPBACK, LOOPBACK_V6, UNIX):
        assert lookup(reactor, ends) == ["10.13.0.50:1337"]
    assert network.result(grape.lookup("a")) == ["10.13.0.50:1337"]


def test_askers_of_one_shared_lookup_are_listed_different_addresses(network: MemoryNetwork) -> None:
    grape, reactor = a_grape(network)
    second = lone_grape(network, "10.1.0.8", dht_bootstrap=["10.1.0.7:20001"])
    network.result(second.when_ready())
    network.clock.advance(1)
    grape.node._services._peers.announce(b"b", ("127.0.0.1", 5), network.clock.seconds(), ("127.0.0.1", 9))
    clients = {ends: connect(reactor.factories[0], *ends) for ends in (V4, LOOPBACK)}
    for client in clients.values():
        client.send(request(b'{"data":"b"}'))
    network.clock.advance(1)
    found = {ends: json.loads(answers(client.value())[0][1]) for ends, client in clients.items()}
    assert found == {V4: ["10.1.0.7:5"], LOOPBACK: ["127.0.0.1:5"]}


def test_askers_elsewhere_get_no_loopback_address_from_a_joined_grape(network: MemoryNetwork) -> None:
    grape, reactor = a_grape(network)
    second = lone_grape(network, "10.1.0.8", dht_bootstrap=["10.1.0.7:20001"])
    network.result(second.when_ready())
    network.clock.advance(1)
    assert network.result(second.lookup("a")) == ["10.1.0.7:1337"]
    grape.node._services.listing.own_host_changed("10.1.0.7")

    def found(ends: tuple[IAddress, IAddress]) -> list[str]:
        client = connect(reactor.factories[0], *ends)
        client.send(request(LOOKUP))
        network.clock.advance(1)
        listed: list[str] = json.loads(answers(client.value())[0][1])
        return listed

    for ends in (V4, LOOPBACK, LOOPBACK_V6):
        assert found(ends) == ["10.1.0.7:1337"]
    assert network.result(grape.lookup("a")) == ["10.1.0.7:1337"]


@pytest.mark.parametrize(
    ("peers", "asker", "is_asked"),
    [
        (["10.0.0.1:1"], "10.0.0.9", False),
        (["10.0.0.1:1", "10.0.0.2:1"], "10.0.0.9", False),
        (["10.0.0.1:127"], "10.0.0.9", False),
        (["127.0.0.1:1"], "127.0.0.1", False),
        (["127.0.0.1:1"], "10.0.0.9", True),
        (["127.9.0.1:1"], None, True),
        (["10.0.0.1:1", "127.0.0.1:1"], "127.0.0.1", True),
    ],
)
def test_peers_are_chosen_for_the_asker_exactly_if_one_is_a_loopback_address(
    peers: list[str], asker: str | None, is_asked: bool
) -> None:
    class Chosen(FakeCalls):
        def begin_lookup(self, name: str, done: Callable[[list[str] | Failure], object]) -> Deferred[Any]:
            return succeed(peers).addBoth(done)

        def for_asker(self, peers: list[str], asker: str | None, came_to: str | None) -> list[str]:
            assert (asker, came_to) == (asked.peer, asked.local)
            return [f"chosen of {len(peers)}"]

    asked = Request(b"POST", b"/lookup", {}, asker, b'{"data":"a"}', "10.0.0.5")
    answer = fired(Api(Chosen()).call(asked))
    assert json.loads(answer.body) == ([f"chosen of {len(peers)}"] if is_asked else peers)
