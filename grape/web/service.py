"""Runs the HTTP API of a node as a Twisted service: its port, the server and the site behind it."""

from __future__ import annotations

import errno
from collections.abc import Callable
from functools import partial
from socket import gethostname, socket
from typing import TYPE_CHECKING, TypeAlias, cast

from twisted.application.service import Service
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort

from grape.config import Config
from grape.node.node import Node
from grape.reactor import Reactor
from grape.web.access import CONFIGURED_ACCESS, Access, Advice, flag_advice, keyword_advice
from grape.web.api import Api
from grape.web.lazy_site import LazySite
from grape.web.probes import Probes
from grape.web.server import CLOSING_SECONDS, HTTPServerFactory
from grape.web.sockets import accept_waiting, listen

if TYPE_CHECKING:
    from twisted.web.resource import IResource

ResourceFactory: TypeAlias = "Callable[[Node, Api, Callable[[], int], Access | None, bool], IResource]"


class CannotListenTCP(CannotListenError):
    """The HTTP socket could not be opened (a plain CannotListenError: the UDP socket)."""


class HTTPService(Service):
    """Serves the HTTP API of a node on a port of its own.

    ``make_resource(node, api, max_payload_size, access, has_log)`` returns the resource that answers what is none of
    the calls; ``max_payload_size()`` is the limit of this moment, in bytes. ``adopted`` is a listening socket that is
    used instead of one of its own.
    """

    def __init__(
        self, node: Node, reactor: Reactor, make_resource: ResourceFactory, adopted: socket | None = None
    ) -> None:
        self._node = node
        self._config = node.config
        self._reactor = reactor
        self._make_resource = make_resource
        self._adopted = adopted
        self._api = Api(node, self._config.max_calls, node.counters)
        self._api.logs_announces = self._config.log_announces
        # One with the advice for the command line, one for programs that mount the resource.
        self._access = self._make_access(flag_advice)
        self._mounted_access = self._make_access(keyword_advice)
        max_payload_size = self._config.check_max_payload_size
        self._site = LazySite(partial(self._resource, self._access), max_payload_size, reactor, node.counters.answers)
        self._server = HTTPServerFactory(
            self._api,
            self._site,
            reactor,
            self._access,
            max_payload_size,
            self._config.max_connections,
            self._config.max_connections_per_host,
            node.counters,
            Probes(node.inspector).by_target,
        )
        node.inspector.serves_http(self)
        self._port: IListeningPort | None = None
        #: True: the log of the process is the grape's own, and its warnings may be shown.
        self.has_log = False

    def resource(self, access: Access | None = CONFIGURED_ACCESS) -> IResource:
        """Returns the API as a resource for another site, under the configured rules of access, other ones, or none."""
        return self._resource(self._mounted_access if access is CONFIGURED_ACCESS else access)

    def reconfigure(self, config: Config) -> None:
        """Takes the settings of a config that can change while the API is served."""
        self._config = config
        self._api.max_calls = config.max_calls
        self._api.logs_announces = config.log_announces
        for access in (self._access, self._mounted_access):
            access.allow(config.allow_origin, config.allow_host)
        self._site.set_max_payload_size(config.check_max_payload_size)
        self._server.set_limits(config.check_max_payload_size, config.max_connections, config.max_connections_per_host)

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

    @property
    def calls_begun(self) -> int:
        """The number of calls begun so far, and of other requests that were answered like these."""
        return self._api.begun

    @property
    def calls_under_way(self) -> int:
        """The number of calls under way."""
        return self._api.under_way

    @property
    def connections(self) -> int:
        """The number of connections to the port that are open."""
        return len(self._server)

    @property
    def max_connections(self) -> int:
        """How many may be open: the setting, or fewer if the process may open few files."""
        return self._server.max_connections

    def privilegedStartService(self) -> None:
        """Opens the TCP socket. Raises twisted's CannotListenError."""
        super().privilegedStartService()
        self._bind()

    def startService(self) -> None:
        """Opens the TCP socket, if it is not open yet. Raises twisted's CannotListenError."""
        self._bind()
        super().startService()
        self._site.load_soon(self._node.when_ready())

    def stopService(self) -> Deferred[None]:
        """Accepts no more connections, and closes those there are once they are answered; fires within 1.5 s.

        Announces and puts whose clients are gone have that time, too.
        """
        super().stopService()
        self._site.stop()
        port, self._port = self._port, None
        if port is not None:
            accept_waiting(port)
        closed = maybeDeferred(port.stopListening if port is not None else lambda: None)
        return closed.addCallback(lambda _: self._finish())

    def _finish(self) -> Deferred[None]:
        attended = self._api.when_attended()
        patience = self._reactor.callLater(CLOSING_SECONDS, attended.cancel) if not attended.called else None

        def forget_patience(_: object) -> None:
            if patience is not None and patience.active():
                patience.cancel()

        attended.addBoth(forget_patience)
        return DeferredList([self._server.close(), self._site.close(), attended]).addCallback(lambda _: None)

    def _make_access(self, advice: Advice) -> Access:
        return Access(self._config.allow_origin, self._config.allow_host, gethostname(), advice)

    def _resource(self, access: Access | None) -> IResource:
        limit = lambda: self._config.check_max_payload_size  # noqa: E731
        return self._make_resource(self._node, self._api, limit, access, self.has_log)

    def _bind(self) -> None:
        if self._port is None and self._config.api_port is not None:
            try:
                self._port = self._listen(self._config.api_host)
            except CannotListenError as error:
                reason = getattr(error.socketError, "errno", None)
                if self._config.api_host != "::" or reason not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                    raise CannotListenTCP(error.interface, error.port, error.socketError) from error
                # This machine has no IPv6.
                self._port = self._listen("0.0.0.0")

    def _listen(self, host: str) -> IListeningPort:
        assert self._config.api_port is not None
        return listen(self._reactor, host, self._config.api_port, self._server, self._adopted)
