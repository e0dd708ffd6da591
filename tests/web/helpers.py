"""HTTP in memory for tests: requests as bytes, clients of a server and of a site, answers as values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import ServerFactory
from twisted.internet.testing import StringTransport, StringTransportWithDisconnection
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from grape.coalesce import Cancellable
from grape.testing import HeapClock, MemoryNetwork
from grape.web.access import Access
from grape.web.answer import Answer
from grape.web.connection import Connection
from grape.web.request import Request
from grape.web.server import HTTPServerFactory
from grape.web.site import GrapeChannel, GrapeSite

LIMIT = 100
MAX_CONNECTIONS = 20
PER_HOST = 4
HERE = "127.0.0.1"
PEER = IPv4Address("TCP", HERE, 40_000)
LOCAL = IPv4Address("TCP", HERE, 30_001)


def request(
    body: bytes = b"{}",
    path: bytes = b"/lookup",
    headers: bytes = b"",
    method: bytes = b"POST",
    version: bytes = b"1.1",
) -> bytes:
    """Returns the bytes of a request; ``headers`` are whole lines."""
    head = b"%b %b HTTP/%b\r\nHost: localhost\r\n%b" % (method, path, version, headers)
    return b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body)


def chunked(body: bytes, headers: bytes = b"", size: int = 1, end: bool = True) -> bytes:
    """Returns a request whose body comes in chunks of ``size``, without the last one if it has no ``end``."""
    head = request(b"", headers=headers).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    chunks = [body[at : at + size] for at in range(0, len(body), size)]
    return head + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in [*chunks, *([b""] if end else [])])


def answers(received: bytes) -> list[tuple[int, bytes]]:
    """Returns the statuses and bodies of what a server sent; all have a length."""
    found = []
    while received:
        head, _, received = received.partition(b"\r\n\r\n")
        status = int(head.split(b" ")[1])
        lengths = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
        length = int(lengths[0].split(b":")[1]) if lengths else 0
        found.append((status, received[:length]))
        received = received[length:]
    return found


class FakeApi:
    """Calls that wait for the test to answer them."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.answers: list[Deferred[Answer]] = []
        self.cancelled = 0

    @property
    def made(self) -> list[tuple[bytes, bytes]]:
        """The targets and bodies of the calls so far."""
        return [(request.target, request.body) for request in self.requests]

    def answer(self, request: Request, done: Callable[[Answer], object]) -> Cancellable:
        self.requests.append(request)
        answer: Deferred[Answer] = Deferred(self._cancel)
        self.answers.append(answer)
        answer.addCallback(done).addErrback(lambda failure: failure.trap(CancelledError))
        return answer

    def _cancel(self, _: Deferred[Answer]) -> None:
        self.cancelled += 1


class Page(Resource):
    """Answers with the target and the body of a request."""

    isLeaf = True

    def render(self, request: Any) -> bytes:
        return b"page of " + bytes(request.uri) + b" " + bytes(request.content.read())


class SlowPage(Resource):
    """Answers requests with their bodies, one at a time, when it is told to."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self._waiting: list[Any] = []
        self.bodies: list[bytes] = []

    def render(self, request: Any) -> int:
        self._waiting.append(request)
        self.bodies.append(request.content.read())
        return NOT_DONE_YET

    def answer(self) -> None:
        """Answers the oldest request."""
        request = self._waiting.pop(0)
        body = self.bodies[-1 - len(self._waiting)]
        request.setHeader(b"content-length", b"%d" % len(body))
        request.write(body)
        request.finish()


class Transport(StringTransport):
    """A client's side of a server's connection, which shows how the connection was ended."""

    protocol: Connection
    ended = ""

    def setTcpNoDelay(self, enabled: bool) -> None:
        pass

    def loseConnection(self) -> None:
        self.end("closed")

    def loseWriteConnection(self) -> None:
        self.ended = "half closed"

    def abortConnection(self) -> None:
        self.end("aborted")

    def end(self, how: str) -> None:
        if self.ended in ("", "half closed"):
            self.ended = how
            self.protocol.connectionLost()

    def send(self, data: bytes) -> None:
        """Has the server receive bytes."""
        self.protocol.dataReceived(data)

    def half_close(self) -> None:
        """Has the server see that the client sends no more, as Twisted shows it each time that it reads."""
        for _ in range(2):
            if self.ended in ("", "half closed"):
                self.protocol.readConnectionLost()


class Server:
    """A server with its API, its clock and its clients."""

    def __init__(self, access: Access | None = None, page: Resource | None = None) -> None:
        self.api = FakeApi()
        self.clock = HeapClock()
        site = GrapeSite(page or Page(), LIMIT, self.clock)
        access = access or Access()
        self.factory = HTTPServerFactory(self.api, site, self.clock, access, LIMIT, MAX_CONNECTIONS, PER_HOST)
        self.transports: list[Transport] = []

    @property
    def turned_away(self) -> tuple[int, int]:
        """How many connections were closed for new ones, and how many new ones were closed at once."""
        counters = self.factory.counters
        return counters.evicted_connections, counters.refused_connections

    def connect(self, host: str | None = HERE) -> Transport:
        """Returns a new client of that IP address, or (None) of a unix socket."""
        peer: IAddress = UNIXAddress(b"") if host is None else IPv4Address("TCP", host, 40_000)
        transport = connect(self.factory, peer, UNIXAddress(b"/run/grape") if host is None else LOCAL)
        self.transports.append(transport)
        return transport

    def served(self, host: str = HERE) -> Transport:
        """Returns a client that has had an answer, and keeps its connection."""
        transport = self.waiting(host)
        self.answer(-1, b"[]")
        return transport

    def waiting(self, host: str = HERE) -> Transport:
        """Returns a client that waits for its answer."""
        transport = self.connect(host)
        transport.send(request())
        return transport

    def answer(self, index: int, body: bytes) -> None:
        """Answers a call."""
        self.api.answers[index].callback(Answer(200, body))

    def close(self) -> None:
        """Ends all clients."""
        for transport in self.transports:
            transport.abortConnection()


def connect(factory: ServerFactory, peer: IAddress = PEER, local: IAddress = LOCAL) -> Transport:
    """Returns a new client of a server."""
    transport = Transport(hostAddress=local, peerAddress=peer)
    connection = factory.buildProtocol(peer)
    assert isinstance(connection, Connection)
    transport.protocol = connection
    connection.makeConnection(transport)
    return transport


class TCPReactor:
    """The reactor of one host of a MemoryNetwork, with TCP ports: what listens is kept in ``factories``."""

    def __init__(self, network: MemoryNetwork, host: str = HERE) -> None:
        self._reactor = network.reactor(host)
        self.factories: list[ServerFactory] = []
        self.seconds = self._reactor.seconds
        self.callLater = self._reactor.callLater
        self.listenUDP = self._reactor.listenUDP
        self.resolve = self._reactor.resolve

    def listenTCP(self, port: int, factory: ServerFactory, backlog: int = 50, interface: str = "") -> Any:
        self.factories.append(factory)
        return _Port()


class _Port:
    """A TCP port that listens."""

    def getHost(self) -> IPv4Address:
        return LOCAL

    def stopListening(self) -> None:
        pass


class SiteClient:
    """A client's connection to a site."""

    def __init__(self, site: GrapeSite, peer: IAddress = PEER, local: IAddress | None = None) -> None:
        channel = site.buildProtocol(peer)
        assert isinstance(channel, GrapeChannel)
        self.channel = channel
        self.transport = StringTransportWithDisconnection(hostAddress=local or peer, peerAddress=peer)
        self.transport.protocol = channel
        channel.makeConnection(self.transport)

    @property
    def is_open(self) -> bool:
        return self.transport.connected

    def send(self, *data: bytes) -> None:
        """Has the site receive bytes, as long as the connection is open."""
        for part in data:
            if self.is_open:
                self.channel.dataReceived(part)

    def received(self) -> bytes:
        """Returns what came back since the last time."""
        data: bytes = self.transport.value()
        self.transport.clear()
        return data

    def answers(self) -> list[tuple[int, bytes]]:
        """Returns the statuses and bodies that came back since the last time."""
        return answers(self.received())


def open_clients(clients: Sequence[Transport]) -> list[int]:
    """Returns the indexes of the clients that are still connected."""
    return [index for index, client in enumerate(clients) if not client.ended]
