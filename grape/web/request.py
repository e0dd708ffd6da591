"""Defines the HTTP request, the declaration of a route, and the calls as declarations.

The calls stand here as plain data because the server answers them before Klein is loaded. ``grape.resource`` gives each
its Klein route, ``grape.web.api`` its code; every other route is declared in ``grape.resource`` alone.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from enum import Enum
from typing import TYPE_CHECKING, TypeAlias, TypeVar
from urllib.parse import parse_qs

import attrs

from grape.coalesce import Cancellable
from grape.web.answer import JSON_TYPE, Headers

if TYPE_CHECKING:
    # The calls have none.
    from grape.web.parameters import Arguments, Parameter
    from grape.web.schemas import MakeSchema

Fields: TypeAlias = "Mapping[bytes, bytes]"

T = TypeVar("T", str, int, bool, bytes)

_SCHEMES = (b"http", b"https")


class Right(Enum):
    """Names the permission that a route asks of its callers.

    Declared, not enforced yet: the API has no authentication.
    """

    #: Nothing: health checks.
    NONE = "none"
    #: To look services up and to fetch items.
    READ = "read"
    #: To announce services and to store items.
    WRITE = "write"
    #: To see what the grape holds and does.
    INSPECT = "inspect"


@attrs.frozen
class Form:
    """One form of a call: the ``data`` of its body, as JSON with an optional member marked by ``?``, and the answer."""

    data: str
    answer: str


@attrs.frozen
class Route:
    """The declaration of a route.

    ``methods`` are the methods that it is found by, GET includes HEAD; none means any method. ``exempt`` routes are
    served whatever Host and Origin the request has, as long as it has no query: for health checks. A call has
    ``forms`` and reads a JSON body; other routes have ``parameters``, an ``example`` of their answer and its
    ``media_type``, and ``schema``, which describes the answer (JSON if it is not given). Those that
    ``may_be_unavailable`` answer 503 at times. Those that ``may_be_linked`` are served to a browser that follows a
    link of another site. Without ``is_described`` a route is no part of the API: the page and its files.
    """

    path: str
    methods: tuple[str, ...]
    summary: str
    right: Right
    parameters: tuple[Parameter, ...] = ()
    forms: tuple[Form, ...] = ()
    exempt: bool = False
    example: str = ""
    schema: MakeSchema | None = None
    media_type: bytes = JSON_TYPE
    may_be_unavailable: bool = False
    may_be_linked: bool = False
    is_described: bool = True

    @property
    def name(self) -> str:
        """The path without its first slash."""
        return self.path[1:]

    @property
    def counted(self) -> str:
        """The path that its answers are counted under: the files of the page share one, "/page"."""
        return self.path if self.is_described else f"/{self.path.split('/')[1]}"

    def overlaps(self, other: Route) -> bool:
        """Returns True if a request could be for both."""
        methods = set(self.methods) & set(other.methods) or not self.methods or not other.methods
        return self.path == other.path and bool(methods)


CALLS = (
    Route(
        "/lookup",
        (),
        "Returns the peers that a service was announced at.",
        Right.READ,
        forms=(Form('"name"', 'list of at most 100 `"ip:port"`, in random order; `[]` if there are none'),),
    ),
    Route(
        "/announce",
        (),
        "Announces a service at a port of this grape's host.",
        Right.WRITE,
        forms=(
            Form('["name", port]', "how many other nodes stored it; port 0 means the UDP port of the grape"),
            Form('["name", port, {"ttl": seconds}]', "the same; the peer lives so long"),
        ),
    ),
    Route(
        "/put",
        (),
        "Stores a value, or a mutable item signed by the caller.",
        Right.WRITE,
        forms=(
            Form('"text"', "the hash of the value, 40 hex digits"),
            Form('{"v": value}', "the same"),
            Form('{"v", "k", "sig", "seq", "salt"?, "cas"?}', "the hash of a mutable item (BEP 44)"),
        ),
    ),
    Route(
        "/get",
        (),
        "Fetches a value by its hash.",
        Right.READ,
        forms=(
            Form('"hash"', "the item, or an empty body if no node has it"),
            Form('{"hash", "salt"?, "cache"?}', "the same"),
        ),
    ),
    Route(
        "/unannounce",
        ("POST",),
        "Withdraws a service at a port of this grape's host.",
        Right.WRITE,
        forms=(
            Form('["name", port]', "how many other nodes confirmed it, which may be 0; it holds in this grape at once"),
        ),
    ),
)  # fmt: skip

# The targets of the calls, as clients send them: without a query, and nothing in them percent-encoded.
CALL_TARGETS = frozenset(call.path.encode() for call in CALLS)

# Of those, the ones that are made even if their client is gone before they are begun.
WRITE_TARGETS = frozenset(call.path.encode() for call in CALLS if call.right is Right.WRITE)


class Request:
    """An HTTP request, read to its end.

    ``target`` is the request target in origin form, as it was sent: path and query. ``headers`` have lower-case names;
    the values of a repeated one are joined by ", ". ``peer`` is the client's IP address, and ``local`` the one that its
    connection came to; None at a unix socket. A route that is no call has its ``arguments``, the values of its
    parameters by name.
    """

    __slots__ = ("arguments", "body", "headers", "local", "method", "peer", "target")

    arguments: Arguments

    def __init__(
        self,
        method: bytes,
        target: bytes,
        headers: Fields,
        peer: str | None,
        body: bytes = b"",
        local: str | None = None,
    ) -> None:
        self.method = method
        self.target = target
        self.headers = headers
        self.peer = peer
        self.body = body
        self.local = local

    @property
    def path(self) -> str:
        """The target without its query, percent-encoded as it was sent."""
        return self.target.partition(b"?")[0].decode("ascii", "replace")

    @property
    def query(self) -> dict[str, list[str]]:
        """The values of each parameter in the query, decoded."""
        return parse_qs(self.target.partition(b"?")[2].decode("ascii", "replace"), keep_blank_values=True)

    def argument(self, name: str, kind: type[T]) -> T:
        """Returns the value of a parameter that the route declares with this type and never leaves without a value."""
        value = self.arguments[name]
        assert isinstance(value, kind)
        return value


class PendingRequest(Request):
    """A request on a connection of the server, until it is answered in its turn."""

    __slots__ = ("answer", "cors", "data", "keep_alive", "refused", "work")

    def __init__(
        self,
        method: bytes,
        target: bytes,
        headers: Fields,
        peer: str | None,
        body: bytes = b"",
        data: bytes = b"",
    ) -> None:
        # Not through super(): 0.1 us.
        self.method = method
        self.target = target
        self.headers = headers
        self.peer = peer
        self.body = body
        # Set by the connection before the call is made.
        self.local = None
        # The bytes that came together with its first one, if nothing came before it.
        self.data = data
        self.keep_alive = True
        # True for a request that was answered before it was read to its end.
        self.refused = False
        self.cors: Headers = ()
        self.work: Cancellable | None = None
        self.answer: bytes | None = None

    def head(self) -> bytes:
        """Returns the head for another parser: the body follows in one piece, nothing is expected or upgraded."""
        left_out = (b"transfer-encoding", b"content-length", b"expect", b"upgrade", b"connection")
        return self._head_without(left_out, b"content-length: %d\r\n" % len(self.body))

    def head_without_upgrade(self) -> bytes:
        """Returns the head for the same parser: the body follows as the client sends it."""
        return self._head_without((b"upgrade", b"connection"))

    def _head_without(self, left_out: Container[bytes], added: bytes = b"") -> bytes:
        lines = b"".join(b"%b: %b\r\n" % header for header in self.headers.items() if header[0] not in left_out)
        if not self.keep_alive:
            added += b"connection: close\r\n"
        return b"%b %b HTTP/1.1\r\n%b%b\r\n" % (self.method, self.target, lines, added)


def in_origin_form(target: bytes) -> tuple[bytes, bytes | None]:
    """Returns a request target in origin form, and the authority if it was an absolute URL (RFC 9112, 3.2.2).

    Any other target, ``*`` among them, is returned as it is, without an authority.
    """
    scheme, mark, rest = target.partition(b"://")
    if not mark or scheme.lower() not in _SCHEMES:
        return target, None
    end = min((at for at in (rest.find(b"/"), rest.find(b"?")) if at >= 0), default=len(rest))
    path = rest[end:]
    return (path if path.startswith(b"/") else b"/" + path), rest[:end]
