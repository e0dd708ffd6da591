"""Defines the HTTP answer, the answers that are always the same, and the form of a date.

Short, because requests, access rules, calls and sites all need it and it needs none of them.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.web.iweb import IRequest

JSON_TYPE = b"application/json"
TEXT_TYPE = b"text/plain"

Headers: TypeAlias = "tuple[tuple[bytes, bytes], ...]"

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

# For what is true of this moment alone.
NO_STORE: Headers = ((b"Cache-Control", b"no-store"),)

# For status 503: the client may ask again after a second.
RETRY: Headers = ((b"Retry-After", b"1"),)


class Answer:
    """An HTTP answer: its status, its body with the body's media type, and headers of its own."""

    __slots__ = ("body", "content_type", "headers", "status")

    def __init__(self, status: int, body: bytes, content_type: bytes = JSON_TYPE, headers: Headers = ()) -> None:
        self.status = status
        self.body = body
        self.content_type = content_type
        self.headers = headers

    def __eq__(self, other: object) -> bool:
        """Returns True for an equal answer."""
        return isinstance(other, Answer) and self._compared() == other._compared()

    def __repr__(self) -> str:
        return (
            f"Answer(status={self.status!r}, body={self.body!r}, content_type={self.content_type!r}, "
            f"headers={self.headers!r})"
        )

    def _compared(self) -> tuple[object, ...]:
        return self.status, self.body, self.content_type, self.headers


class StreamedAnswer(Answer):
    """An answer whose body is written by ``begin(http)``, which returns a Deferred that fires with its last bytes.

    The Deferred is cancelled when the client is gone.
    """

    __slots__ = ("begin",)

    def __init__(
        self,
        status: int,
        body: bytes,
        content_type: bytes = JSON_TYPE,
        headers: Headers = (),
        *,
        begin: Callable[[IRequest], Deferred[bytes]],
    ) -> None:
        super().__init__(status, body, content_type, headers)
        self.begin = begin


# For an item that no node has: an empty body is no JSON.
EMPTY = Answer(200, b"", TEXT_TYPE)
NOT_FOUND = Answer(200, b'"ERR_REQ_NOTFOUND"')
# For a path that is read, and a method that neither reads nor is that of the calls.
NOT_ALLOWED = Answer(405, b'"ERR_REQ_METHOD: use GET or HEAD"', headers=((b"Allow", b"GET, HEAD, POST"),))
FAULT = Answer(500, b'"ERR_GRAPE_GENERIC"')
OVERLOADED = Answer(503, b'"ERR_GRAPE_OVERLOADED"', headers=RETRY)

# A refused payload is told as bare text, as the Node grape does it.
PAYLOAD_TOO_BIG = Answer(413, b"ERR_GRAPE_PAYLOAD_SIZE", TEXT_TYPE)
PAYLOAD_ENCODED = Answer(415, b"ERR_GRAPE_PAYLOAD_ENCODING", TEXT_TYPE, ((b"Accept-Encoding", b"identity"),))
PAYLOAD_INVALID = Answer(500, b"ERR_GRAPE_PAYLOAD_INVALID", TEXT_TYPE)

# What concerns HTTP alone has no body.
PREFLIGHT = Answer(204, b"", TEXT_TYPE)
BAD_REQUEST = Answer(400, b"", TEXT_TYPE)
EXPECTATION_FAILED = Answer(417, b"", TEXT_TYPE)
HEAD_TOO_BIG = Answer(431, b"", TEXT_TYPE)


def http_date(at: datetime) -> bytes:
    """Returns a time in UTC as HTTP has it (RFC 9110, 5.6.7): ``Tue, 24 Nov 2026 08:05:09 GMT``.

    As email.utils.format_datetime does, whose module takes 2 ms of a start.
    """
    return f"{_DAYS[at.weekday()]}, {at:%d} {_MONTHS[at.month - 1]} {at:%Y %H:%M:%S} GMT".encode()
