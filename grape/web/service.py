"""The HTTP API of a node as a Twisted service: the listening port, its connections and the site behind it."""

from __future__ import annotations

import errno
from collections.abc import Callable
from functools import partial
from socket import gethostname
from typing import TYPE_CHECKING, TypeAlias, cast

from twisted.application.service import Service
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress, IListeningPort, IReactorTCP

from grape.node.node import Node
from grape.reactor import Reactor
from grape.web.access import Access
from grape.web.api import Api
from grape.web.server import HTTPServerFactory

if TYPE_CHECKING:
    from twisted.web.resource import IResource

    from grape.web.site import GrapeChannel, GrapeSite

BACKLOG = 512

ResourceFactory: TypeAlias = "Callable[[Api, int, Access | None], IResource]"


class CannotListenTCP(CannotListenError):
    """The HTTP socket could not be opened (CannotListenError alone: the UDP socket)."""


class LazySite:
    """The twisted.web site behind the door, made when the first request comes that is none of the four calls.

    Most grapes never get one. The first such request has the node wait for 70 ms, once: the system keeps its datagrams
    meanwhile, and no query is given up so soon.
    """

    def __init__(self, make_resource: Callable[[], IResource], max_payload_size: int, reactor: Reactor) -> None:
        self._make_resource = make_resource
        self._max_payload_size = max_payload_size
        self._reactor = reactor
        self._site: GrapeSite | None = None

    def buildProtocol(self, addr: IAddress) -> GrapeChannel:
        """What serves a connection from here on."""
        if self._site is None:
            self._site = self._make()
        return cast("GrapeChannel", self._site.buildProtocol(addr))

    def close(self) -> Deferred[None]:
        """See GrapeSite.close."""
        return self._site.close() if self._site is not None else succeed(None)

    def _make(self) -> GrapeSite:
        # Loaded here: an idle grape is 8 MB smaller, and starts 70 ms sooner, without twisted.web, Klein and werkzeug.
        from grape.web.site import GrapeSite

        return GrapeSite(self._make_resource(), self._max_payload_size, self._reactor)


class HTTPService(Service):
    """Serves the HTTP API of a node on a listening port of its own.

    ``make_resource(api, max_payload_size, access)`` makes the resource that answers what is none of the four calls; it
    is called when it is needed first.
    """

    def __init__(self, node: Node, reactor: Reactor, make_resource: ResourceFactory) -> None:
        self._config = node.config
        self._reactor = reactor
        self._make_resource = make_resource
        self._api = Api(node, self._config.max_calls, node.counters)
        max_payload_size = self._config.check_max_payload_size
        access = Access(self._config.allow_origin, self._config.allow_host, gethostname())
        self._site = LazySite(partial(make_resource, self._api, max_payload_size, access), max_payload_size, reactor)
        self._door = HTTPServerFactory(
            self._api,
            self._site,
            reactor,
            access,
            max_payload_size,
            self._config.max_connections,
            self._config.max_connections_per_host,
            node.counters,
        )
        self._port: IListeningPort | None = None

    def resource(self) -> IResource:
        """The API as a resource, for a site of one's own, which says itself whose requests it serves."""
        return self._make_resource(self._api, self._config.check_max_payload_size, None)

    @property
    def port(self) -> int | None:
        """The TCP port: the real one while running."""
        if self._port is None:
            return self._config.api_port
        return cast("IPv4Address", self._port.getHost()).port

    @property
    def address(self) -> tuple[str, int] | None:
        """The (host, port) that the TCP socket is bound to; None while it is closed."""
        if self._port is None:
            return None
        bound = cast("IPv4Address", self._port.getHost())
        return bound.host, bound.port

    def privilegedStartService(self) -> None:
        """Open the TCP socket. Raises twisted's CannotListenError."""
        super().privilegedStartService()
        self._bind()

    def startService(self) -> None:
        """Open the TCP socket, if it is not yet. Raises twisted's CannotListenError."""
        self._bind()
        super().startService()

    def stopService(self) -> Deferred[None]:
        """Take no more connections, and close those there are once they are answered; within 1.5 s."""
        super().stopService()
        port, self._port = self._port, None
        closed = maybeDeferred(port.stopListening if port is not None else lambda: None)
        return closed.addCallback(lambda _: DeferredList([self._door.close(), self._site.close()])).addCallback(
            lambda _: None
        )

    def _bind(self) -> None:
        if self._port is None and self._config.api_port is not None:
            try:
                self._port = self._listen(self._config.api_host)
            except CannotListenError as error:
                reason = getattr(error.socketError, "errno", None)
                if self._config.api_host != "::" or reason not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                    raise CannotListenTCP(error.interface, error.port, error.socketError) from error
                # There is no IPv6 on this machine.
                self._port = self._listen("0.0.0.0")

    def _listen(self, host: str) -> IListeningPort:
        # A reactor without TCP will do for a grape without HTTP.
        reactor = cast("IReactorTCP", self._reactor)
        assert self._config.api_port is not None
        return reactor.listenTCP(self._config.api_port, self._door, backlog=BACKLOG, interface=host)
