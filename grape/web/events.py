"""Declares the route of the live events: one answer that goes on, with a snapshot each second, for the page.

All streams share one feed and one timer, which exist only while somebody looks. A client that does not read misses
snapshots and is told everything when it reads again; its stream is cut after UNREAD_SECONDS.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger
from twisted.web.iweb import IRequest
from zope.interface import implementer

from grape.logs.recent import RecentLines
from grape.reactor import Clock, Timer
from grape.web.answer import RETRY, Answer, StreamedAnswer
from grape.web.feed import Feed, Inspected, end
from grape.web.request import Request, Right
from grape.web.routes import Routes
from grape.web.site import GrapeChannel

MAX_STREAMS = 16
SNAPSHOT_SECONDS = 1.0
UNREAD_SECONDS = 30.0
EVENT_TYPE = b"text/event-stream"

TOO_MANY = Answer(503, b'"ERR_GRAPE_STREAMS: %d are open"' % MAX_STREAMS, headers=RETRY)
# A proxy that collects answers would hold back a stream.
_UNBUFFERED = ((b"X-Accel-Buffering", b"no"),)

log = Logger(namespace="grape.web")


@implementer(IPushProducer)
class Stream:
    """An answer that goes on until its client is gone or it is ended; ``gone(stream)`` is called then.

    ``reason()`` returns what the client is told if the server ends its connection.
    """

    def __init__(self, http: Any, clock: Clock, gone: Callable[[Stream], object], reason: Callable[[], str]) -> None:
        self._http = http
        self._clock = clock
        self._gone = gone
        self._is_open = True
        #: False once the client has missed something: it has to be told everything.
        self.is_told = False
        #: When the client stopped reading; infinite while it reads.
        self.unread_since = math.inf
        #: Fires with the last bytes.
        self.ended: Deferred[bytes] = Deferred(lambda _: self._close())
        self._http.registerProducer(self, True)
        channel = self._http.channel
        if isinstance(channel, GrapeChannel):
            channel.end_stream = lambda: self.end(reason())

    def write(self, data: bytes) -> None:
        """Sends some bytes."""
        self._http.write(data)

    def end(self, reason: str) -> None:
        """Ends the stream with the reason."""
        if self._is_open:
            self._close()
            self._http.unregisterProducer()
            self.ended.callback(end(reason))

    def abort(self) -> None:
        """Cuts the connection."""
        self._http.channel.forceAbortClient()

    def pauseProducing(self) -> None:
        """Notes that the client does not read."""
        self.unread_since = self._clock.seconds()
        self.is_told = False

    def resumeProducing(self) -> None:
        """Notes that the client reads again."""
        self.unread_since = math.inf

    def stopProducing(self) -> None:
        """Does nothing: ``ended`` is cancelled."""

    def _close(self) -> None:
        if self._is_open:
            self._is_open = False
            channel = self._http.channel
            if isinstance(channel, GrapeChannel):
                channel.end_stream = None
            self._gone(self)


class Events:
    """The route of the live events of a node; ``grape.resource`` mounts it.

    ``calls()`` returns the number of HTTP calls so far, ``lines`` are the last ones of the log.
    """

    route: ClassVar[Routes[Events]] = Routes()

    def __init__(self, inspected: Inspected, calls: Callable[[], int], lines: RecentLines) -> None:
        self._inspected = inspected
        self._calls = calls
        self._lines = lines
        self._streams: list[Stream] = []
        self._feed: Feed | None = None
        self._timer: Timer | None = None

    @route.get(
        "/events",
        "Tells what the grape does, each second, as server-sent events.",
        Right.INSPECT,
        schema=lambda schemas: {"type": "string"},
        media_type=EVENT_TYPE,
        may_be_unavailable=True,
    )
    def events(self, request: Request) -> Answer:
        """Answers with a stream, or 503 if there are MAX_STREAMS."""
        if len(self._streams) >= MAX_STREAMS:
            return TOO_MANY
        if request.method != b"HEAD" and self._feed is None:
            self._feed = Feed(self._inspected, self._calls, self._lines, lambda: self.end("stopping"))
        return StreamedAnswer(200, b"", EVENT_TYPE, _UNBUFFERED, begin=self._begin)

    def end(self, reason: str) -> None:
        """Ends all streams."""
        for stream in list(self._streams):
            stream.end(reason)

    def _reason(self) -> str:
        return "stopping" if self._inspected.readiness().status == "stopping" else "connections"

    def _begin(self, http: IRequest) -> Deferred[bytes]:
        assert self._feed is not None
        stream = Stream(http, self._feed.clock, self._forget, self._reason)
        self._streams.append(stream)
        if self._timer is None:
            self._timer = self._feed.clock.callLater(SNAPSHOT_SECONDS, self._tell)
        self._tell_everything(stream)
        return stream.ended

    def _tell(self) -> None:
        feed = cast("Feed", self._feed)
        self._timer = feed.clock.callLater(SNAPSHOT_SECONDS, self._tell)
        try:
            news = feed.look()
            for stream in list(self._streams):
                if stream.unread_since < math.inf:
                    if feed.clock.seconds() - stream.unread_since >= UNREAD_SECONDS:
                        stream.abort()
                elif stream.is_told:
                    stream.write(news)
                else:
                    self._tell_everything(stream)
        except Exception:
            log.failure("the live events fail")
            self.end("fault")

    def _tell_everything(self, stream: Stream) -> None:
        stream.is_told = True
        stream.write(cast("Feed", self._feed).everything())

    def _forget(self, stream: Stream) -> None:
        self._streams.remove(stream)
        if not self._streams:
            feed, self._feed = self._feed, None
            timer, self._timer = self._timer, None
            if timer is not None and timer.active():
                timer.cancel()
            if feed is not None:
                feed.close()
