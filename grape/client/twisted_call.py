"""Runs the machine of a call in a reactor, over treq; makes the HTTP client of Twisted's link."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

from treq.client import HTTPClient
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint, wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent, HTTPConnectionPool
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from grape.client.answers import Answer
from grape.client.call import Attempt, Call
from grape.client.requests import HEADERS, IDLE_CONNECTIONS, IDLE_SECONDS
from grape.errors import GrapeError
from grape.reactor import Clock, Timer

T = TypeVar("T")

CONNECT_SECONDS = 5.0


class Response(Protocol):
    """The response to a request, as treq has it."""

    @property
    def code(self) -> int: ...

    def content(self) -> Awaitable[bytes]: ...


class Requester(Protocol):
    """The part of ``treq.client.HTTPClient`` that a link uses."""

    @property
    def request(self) -> Callable[..., Awaitable[Response]]:
        """Sends a request: method, URL, ``data``, ``headers``, ``allow_redirects``."""


def new_requester(reactor: Clock) -> tuple[Requester, Callable[[], Deferred[None]]]:
    """Returns a client of treq with connections of its own, and what closes these."""
    pool = HTTPConnectionPool(reactor)
    pool.cachedConnectionTimeout = IDLE_SECONDS  # type: ignore[assignment]
    pool.maxPersistentPerHost = IDLE_CONNECTIONS
    agent = Agent.usingEndpointFactory(reactor, _Endpoints(reactor), pool)
    return HTTPClient(agent), pool.closeCachedConnections


@implementer(IAgentEndpointFactory)
class _Endpoints:
    """Connects to addresses at once: Twisted's own agent notices only after 0.3 s that a connection is refused."""

    def __init__(self, reactor: Clock) -> None:
        self._reactor = reactor

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        host = uri.host.decode("ascii")
        kind = TCP4ClientEndpoint if isIPAddress(host) else TCP6ClientEndpoint if isIPv6Address(host) else None
        endpoint: IStreamClientEndpoint = (kind or HostnameEndpoint)(
            self._reactor, host, uri.port, timeout=CONNECT_SECONDS
        )
        if uri.scheme != b"https":
            return endpoint
        from twisted.internet.ssl import optionsForClientTLS

        return wrapClientTLS(optionsForClientTLS(host), endpoint)


class Running(Generic[T]):
    """Runs one call: sends its attempts by ``http`` and wakes it by ``clock``. ``result`` fires with its result.

    Cancelling ``result`` ends all attempts.
    """

    def __init__(self, call: Call[T], http: Requester, clock: Clock) -> None:
        self._call = call
        self._http = http
        self._clock = clock
        self._sent: dict[int, Deferred[None]] = {}
        self._timer: Timer | None = None
        self._is_over = False
        self.result: Deferred[T] = Deferred(lambda _: self._stop())
        self._go_on(call.start(clock.seconds()))

    def _go_on(self, attempts: list[Attempt]) -> None:
        for attempt in attempts:
            sent = self._sent[attempt.number] = Deferred.fromCoroutine(self._send(attempt))
            sent.addErrback(self._break)
        if self._is_over:
            return
        if self._call.is_over:
            self._stop()
            try:
                result = self._call.result
            except GrapeError as error:
                self.result.errback(Failure(error))
            else:
                self.result.callback(result)
            return
        self._cancel_timer()
        self._timer = self._clock.callLater(max(self._call.wake_at - self._clock.seconds(), 0.0), self._wake)

    async def _send(self, attempt: Attempt) -> None:
        answer: Answer | str
        try:
            response = await self._http.request(
                attempt.method, attempt.url, data=attempt.body or None, headers=HEADERS, allow_redirects=False
            )
            answer = Answer(response.code, await response.content())
        except Exception as error:
            # The call decides what comes next, whatever it was.
            answer = _text(error)
        self._sent.pop(attempt.number, None)
        if not self._is_over:
            self._go_on(self._call.told(attempt.number, answer, self._clock.seconds()))

    def _wake(self) -> None:
        self._timer = None
        self._go_on(self._call.woken(self._clock.seconds()))

    def _break(self, failure: Failure) -> None:
        # A fault of the client itself: it is the caller's to see.
        if not self._is_over:
            self._stop()
            self.result.errback(failure)

    def _stop(self) -> None:
        self._is_over = True
        self._cancel_timer()
        for sent in list(self._sent.values()):
            sent.cancel()

    def _cancel_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()


def _text(error: Exception) -> str:
    # The errors of twisted.web hold the failures of the connection.
    reasons = getattr(error, "reasons", None) or [error]
    return "; ".join(_one_line(reason.value if isinstance(reason, Failure) else reason) for reason in reasons)


def _one_line(error: object) -> str:
    return " ".join(str(error).split()) or type(error).__name__
