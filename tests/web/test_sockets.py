"""grape.web.sockets, over real sockets: what is sent directly, what listens on both families, and how it accepts."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable, Iterator

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.base import BasePort
from twisted.internet.posixbase import PosixReactorBase
from twisted.internet.protocol import Factory, Protocol, ServerFactory
from twisted.internet.tcp import Port, Server
from twisted.internet.testing import MemoryReactor

from grape.testing import MemoryNetwork
from grape.web.sockets import MAX_ACCEPTS, APIPort, close, listen, write
from tests.web.helpers import PEER, TCPReactor

SEND_BUFFER_BYTES = 4_096
SECONDS = 10.0
BIG = os.urandom(2_000_000)


class Pair:
    """A transport of Twisted's with its reactor, and the client's socket at the other end."""

    def __init__(self) -> None:
        self.reactor = MemoryReactor()
        with socket.create_server(("127.0.0.1", 0)) as listening:
            self.client = socket.create_connection(listening.getsockname())
            accepted, _ = listening.accept()
        self._accepted = accepted
        accepted.setblocking(False)
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        self.client.settimeout(SECONDS)
        protocol, port = Protocol(), Port(0, Factory(), reactor=self.reactor)
        self.transport = Server(accepted, protocol, (PEER.host, PEER.port), port, 0, self.reactor)
        protocol.makeConnection(self.transport)

    def received(self, number: int) -> bytes:
        """Returns so many bytes from the client's side, while Twisted sends what it holds as the reactor would."""
        data, sockets = b"", (self.client, self.transport.socket)
        while len(data) < number:
            writing = sockets[1:] if self.reactor.getWriters() else ()
            readable, writable, _ = select.select(sockets[:1], writing, (), SECONDS)
            assert readable or writable, f"only {len(data)} bytes came"
            if writable:
                self.transport.doWrite()
            if readable:
                data += self.client.recv(65_536)
        return data

    def close(self) -> None:
        self.client.close()
        self._accepted.close()


@pytest.fixture
def pair() -> Iterator[Pair]:
    pair = Pair()
    yield pair
    pair.close()


def test_write_sends_without_waiting_for_the_reactor(pair: Pair) -> None:
    write(pair.transport, b"answer")
    assert pair.reactor.getWriters() == []
    assert pair.client.recv(100) == b"answer"


def test_write_leaves_the_rest_of_a_partial_send_to_twisted(pair: Pair) -> None:
    write(pair.transport, BIG)
    assert pair.reactor.getWriters() == [pair.transport]
    assert pair.received(len(BIG)) == BIG
    pair.transport.doWrite()
    assert pair.reactor.getWriters() == []


def test_write_does_not_overtake_what_waits_to_be_sent(pair: Pair) -> None:
    for data in (BIG, b"second", b"third"):
        write(pair.transport, data)
    assert pair.received(len(BIG) + 11) == BIG + b"secondthird"
    pair.transport.doWrite()
    write(pair.transport, b"fourth")
    assert pair.reactor.getWriters() == []
    assert pair.received(6) == b"fourth"


def test_write_leaves_a_client_that_is_gone_to_twisted(pair: Pair) -> None:
    pair.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    pair.client.close()
    write(pair.transport, b"answer")
    assert pair.reactor.getWriters() == [pair.transport]


@pytest.mark.parametrize(
    "state",
    [
        lambda transport: transport.loseConnection(),
        lambda transport: setattr(transport, "connected", 0),
    ],
    ids=["closing", "closed"],
)
def test_write_sends_nothing_itself_over_a_connection_that_ends(state: Callable[[Server], None], pair: Pair) -> None:
    state(pair.transport)
    write(pair.transport, b"answer")
    pair.client.setblocking(False)
    with pytest.raises(BlockingIOError):
        pair.client.recv(100)


def test_twisted_keeps_unsent_data_where_write_looks_for_it(pair: Pair) -> None:
    """``_tempDataBuffer`` is private to Twisted: a version that keeps unsent data elsewhere fails here first."""
    transport = pair.transport
    assert (transport.dataBuffer, transport._tempDataBuffer) == (b"", [])
    transport.write(b"waits")
    assert (transport.dataBuffer, transport._tempDataBuffer) == (b"", [b"waits"])
    transport.write(BIG)
    transport.doWrite()
    assert transport.dataBuffer
    assert transport._tempDataBuffer == []
    assert isinstance(transport.getPeer(), IPv4Address)


# Closing


def test_close_closes_at_once_if_nothing_waits_to_be_sent(pair: Pair) -> None:
    close(pair.transport)
    assert (pair.transport.connected, pair.reactor.getWriters()) == (0, [])
    assert pair.client.recv(100) == b""


def test_close_sends_first_what_waits(pair: Pair) -> None:
    write(pair.transport, BIG)
    close(pair.transport)
    assert pair.transport.connected
    assert pair.received(len(BIG)) == BIG


# Listening


@pytest.fixture
def system_with_bindv6only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes sockets as a system does on which net.ipv6.bindv6only is 1."""
    create = BasePort.createInternetSocket

    def createInternetSocket(self: Port) -> socket.socket:
        made: socket.socket = create(self)
        if self.addressFamily == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        return made

    monkeypatch.setattr(BasePort, "createInternetSocket", createInternetSocket)


@pytest.fixture
def port(request: pytest.FixtureRequest) -> Iterator[Port]:
    """Returns a port that listens on a host, by default on 127.0.0.1, without a reactor that runs."""
    listening = APIPort(0, Factory.forProtocol(Protocol), interface=getattr(request, "param", "127.0.0.1"))
    listening.reactor = MemoryReactor()
    listening.startListening()
    yield listening
    listening.socket.close()


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no sockets for both families")
@pytest.mark.usefixtures("system_with_bindv6only")
@pytest.mark.parametrize("port", ["::"], indirect=True)
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_port_on_all_addresses_serves_both_families_whatever_the_system_says(port: Port, host: str) -> None:
    with socket.create_connection((host, port.getHost().port), timeout=SECONDS):
        pass


@pytest.mark.parametrize("port", ["127.0.0.1"], indirect=True)
def test_port_on_one_address_listens_there_alone(port: Port) -> None:
    assert port.getHost().host == "127.0.0.1"


def test_port_accepts_few_connections_in_a_turn(port: Port) -> None:
    """Those that are aborted for new ones are only closed between two turns."""
    accepted: list[Protocol] = []

    class Accepted(Protocol):
        def connectionMade(self) -> None:
            accepted.append(self)

    port.factory = Factory.forProtocol(Accepted)
    number = 3 * MAX_ACCEPTS
    clients = [socket.create_connection(("127.0.0.1", port.getHost().port), timeout=SECONDS) for _ in range(number)]
    for turn in range(1, 4):
        port.doRead()
        assert len(accepted) == turn * MAX_ACCEPTS
    for client in (*clients, *(protocol.transport.socket for protocol in accepted)):  # type: ignore[union-attr]
        client.close()


def test_listen_takes_the_ports_of_a_reactor_that_has_its_own(network: MemoryNetwork) -> None:
    reactor, factory = TCPReactor(network), ServerFactory()
    listen(reactor, "::", 30_001, factory)
    assert reactor.factories == [factory]
    assert not isinstance(reactor, PosixReactorBase)
