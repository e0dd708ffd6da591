"""Encodes and decodes KRPC messages (BEP 5): queries, responses and errors.

A datagram is a bencoded dictionary: ``t`` the transaction id, ``y`` the kind (``q``, ``r`` or ``e``), ``v`` the
sender's software, ``ip`` (in responses, BEP 42) the querier's address as the responder sees it, ``ro`` (in queries,
BEP 43) set by a node that cannot be queried.
"""

from __future__ import annotations

from typing import cast

from grape.dht import bencoding
from grape.dht.bencoding import BValue
from grape.dht.errors import RemoteProtocolError

SERVER_ERROR = 202
PROTOCOL_ERROR = 203
METHOD_UNKNOWN = 204
VALUE_TOO_BIG = 205
INVALID_SIGNATURE = 206
SALT_TOO_BIG = 207
CAS_MISMATCH = 301
SEQUENCE_TOO_LOW = 302

# What ``v`` begins with in messages of all versions of this software, and the whole of it.
CLIENT = b"GP"
CLIENT_VERSION = CLIENT + b"\x00\x01"

MAX_ERROR_BYTES = 512


# The three messages are written out by hand, not with attrs, so that mypyc can compile them.


class Query:
    """Holds a query: ``method`` and ``arguments`` as sent, ``transaction_id`` ``None`` if there was no ``t``.

    ``read_only`` is BEP 43's ``ro``. ``canonical`` is false for a datagram that only the lenient reader could read;
    ``size`` is the datagram's bytes.
    """

    __slots__ = ("arguments", "canonical", "method", "read_only", "size", "transaction_id")

    def __init__(
        self,
        method: bytes,
        arguments: dict[bytes, BValue],
        transaction_id: BValue | None,
        read_only: bool = False,
        canonical: bool = True,
        size: int = 1_024,
    ) -> None:
        self.method = method
        self.arguments = arguments
        self.transaction_id = transaction_id
        self.read_only = read_only
        self.canonical = canonical
        self.size = size

    def __eq__(self, other: object) -> bool:
        """Returns True for a query that is equal but for its size."""
        return isinstance(other, Query) and self._compared() == other._compared()

    def __repr__(self) -> str:
        return (
            f"Query(method={self.method!r}, arguments={self.arguments!r}, transaction_id={self.transaction_id!r}, "
            f"read_only={self.read_only!r}, canonical={self.canonical!r}, size={self.size!r})"
        )

    def _compared(self) -> tuple[object, ...]:
        return self.method, self.arguments, self.transaction_id, self.read_only, self.canonical


class Response:
    """Holds a response: ``values`` is its ``r`` dictionary, ``message`` the whole of it."""

    __slots__ = ("message", "transaction_id", "values")

    def __init__(
        self,
        values: dict[bytes, BValue],
        transaction_id: BValue | None,
        message: dict[bytes, BValue] | None = None,
    ) -> None:
        self.values = values
        self.transaction_id = transaction_id
        # What few answers are asked for is read from it: to read it each time would be felt in each lookup.
        self.message = message

    def __eq__(self, other: object) -> bool:
        """Returns True for a response with the same values and transaction id."""
        return (
            isinstance(other, Response) and self.values == other.values and self.transaction_id == other.transaction_id
        )

    def __repr__(self) -> str:
        return f"Response(values={self.values!r}, transaction_id={self.transaction_id!r})"

    @property
    def is_of_ours(self) -> bool:
        """True if the sender's ``v`` says that it is a grape for Python."""
        version = self.message.get(b"v") if self.message is not None else None
        return isinstance(version, bytes) and version.startswith(CLIENT)


class Error:
    """Holds an error: ``code`` and ``message`` of its ``e`` list."""

    __slots__ = ("code", "message", "transaction_id")

    def __init__(self, code: int, message: str, transaction_id: BValue | None) -> None:
        self.code = code
        self.message = message
        self.transaction_id = transaction_id

    def __eq__(self, other: object) -> bool:
        """Returns True for an equal error."""
        return (
            isinstance(other, Error)
            and self.code == other.code
            and self.message == other.message
            and self.transaction_id == other.transaction_id
        )

    def __repr__(self) -> str:
        return f"Error(code={self.code!r}, message={self.message!r}, transaction_id={self.transaction_id!r})"


def decode(datagram: bytes) -> Query | Response | Error:
    """Decodes a datagram.

    Raises RemoteProtocolError: answerable (203) for a query that lacks its method or arguments, not answerable for
    anything else that is not a KRPC message.
    """
    # As bencoding.decode without its tuple: this runs for every datagram.
    canonical = True
    try:
        message = bencoding.decode_strictly(datagram)
    except ValueError:
        canonical = False
        try:
            message = bencoding.decode_leniently(datagram)
        except ValueError as error:
            raise RemoteProtocolError(PROTOCOL_ERROR, "not bencoded", answerable=False) from error
    if not isinstance(message, dict):
        raise RemoteProtocolError(PROTOCOL_ERROR, "not a dictionary", answerable=False)
    kind = message.get(b"y")
    transaction_id = message.get(b"t")
    if kind == b"q":
        method = message.get(b"q")
        arguments = message.get(b"a")
        if not isinstance(method, bytes):
            raise RemoteProtocolError(PROTOCOL_ERROR, "missing required `q` field", transaction_id)
        if not isinstance(arguments, dict):
            raise RemoteProtocolError(PROTOCOL_ERROR, "missing required `a` field", transaction_id)
        return Query(method, arguments, transaction_id, message.get(b"ro") == 1, canonical, len(datagram))
    if kind == b"r":
        values = message.get(b"r")
        if isinstance(values, dict):
            return Response(values, transaction_id, message)
    elif kind == b"e":
        detail = message.get(b"e")
        if isinstance(detail, list) and len(detail) >= 2 and isinstance(detail[0], int):
            text = detail[1] if isinstance(detail[1], bytes) else b""
            return Error(detail[0], text.decode("utf-8", "replace"), transaction_id)
    raise RemoteProtocolError(PROTOCOL_ERROR, "not a message", answerable=False)


def querier_of(datagram: bytes) -> bytes | None:
    """Returns the ``ip`` of a response (BEP 42): the compact address at which its sender sees us. None without one.

    ``decode`` leaves it out: few answers are asked for it.
    """
    try:
        message = bencoding.decode_strictly(datagram)
    except ValueError:
        return None
    querier = message.get(b"ip") if isinstance(message, dict) else None
    return querier if isinstance(querier, bytes) else None


def encode_query(
    transaction_id: bytes, method: bytes, arguments: dict[bytes, BValue], *, read_only: bool = False
) -> bytes:
    """Returns the datagram of a query; ``read_only`` adds BEP 43's ``ro``."""
    message: dict[bytes, BValue] = {
        b"a": arguments,
        b"q": method,
        b"t": transaction_id,
        b"v": CLIENT_VERSION,
        b"y": b"q",
    }
    if read_only:
        message[b"ro"] = 1
    return bencoding.encode(message)


# The bytes of a query's datagram before and after its transaction id, which has two bytes. A lookup encodes its query
# once and sends it to many nodes.
Frame = tuple[bytes, bytes]

_TAIL = b"1:v4:%b1:y1:qe" % CLIENT_VERSION
# How the first half ends; and the bytes from there to the end of the datagram.
_MARK = b"1:t2:"
_END_BYTES = len(_MARK) + 2 + len(_TAIL)


def encode_frame(method: bytes, arguments: dict[bytes, BValue], *, read_only: bool = False) -> Frame:
    """Returns the frame of a query."""
    flag = b"2:roi1e" if read_only else b""
    return b"d1:a%b1:q%d:%b%b1:t2:" % (bencoding.encode(arguments), len(method), method, flag), _TAIL


def encode_key_frame(method: bytes, own_id: bytes, field: bytes, key: bytes, read_only: bool = False) -> Frame:
    """Returns the frame of a query about a key; ``field`` is the argument's name, which sorts after ``id``."""
    flag = b"2:roi1e" if read_only else b""
    head = b"d1:ad2:id20:%b%d:%b%d:%be1:q%d:%b%b1:t2:" % (
        own_id, len(field), field, len(key), key, len(method), method, flag
    )  # fmt: skip
    return head, _TAIL


def encode_write(method: bytes, arguments: dict[bytes, BValue], *, read_only: bool = False) -> Frame:
    """Returns the bytes before and after the token in a query that is sent to many nodes, each with its own token.

    For an announce to 20 holders this and ``with_token`` take 5 us, 20 times ``encode_query`` 12 us
    (benchmarks.micro). ``arguments`` has no ``token``.
    """
    later = [name for name in arguments if name > b"token"]
    if later:
        after = bencoding.encode({name: arguments[name] for name in later})[1:]
        before = bencoding.encode({name: value for name, value in arguments.items() if name < b"token"})
    else:
        before, after = bencoding.encode(arguments), b"e"
    flag = b"2:roi1e" if read_only else b""
    return b"d1:a%b5:token" % before[:-1], b"%b1:q%d:%b%b1:t2:" % (after, len(method), method, flag)


def with_token(write: Frame, token: bytes) -> Frame:
    """Returns the frame of a write from ``encode_write`` for the node that gave ``token``."""
    return b"%b%d:%b%b" % (write[0], len(token), token, write[1]), _TAIL


def transaction_id_of(query: bytes) -> bytes | None:
    """Returns the transaction id of a query that was sent in a ``Frame``; None for other and for truncated bytes."""
    end = query[-_END_BYTES:]
    if len(end) == _END_BYTES and end.startswith(_MARK) and end.endswith(_TAIL):
        return end[len(_MARK) : -len(_TAIL)]
    return None


def encode_response(transaction_id: BValue | None, values: dict[bytes, BValue], querier: bytes) -> bytes:
    """Returns the datagram of a response; ``querier`` is the compact address of the querier (BEP 42's ``ip``)."""
    message: dict[bytes, BValue] = {b"ip": querier, b"r": values, b"v": CLIENT_VERSION, b"y": b"r"}
    if transaction_id is not None:
        message[b"t"] = transaction_id
    return bencoding.encode(message)


# Formatted once: nearly all transaction ids are bytes, and each step of a format takes 0.05 us.
_ANSWER = b"d2:ip6:%%b1:rd2:id20:%%b%%be1:t%%d:%%b1:v4:%b1:y1:re" % CLIENT_VERSION


def encode_answer(transaction_id: BValue | None, own_id: bytes, members: bytes, querier: bytes) -> bytes:
    """Returns the datagram of a response whose ``r`` is ``own_id`` and the bencoded, sorted ``members`` after it."""
    if isinstance(transaction_id, bytes):
        return _ANSWER % (querier, own_id, members, len(transaction_id), transaction_id)
    named = b"" if transaction_id is None else b"1:t" + bencoding.encode(transaction_id)
    return b"d2:ip6:%b1:rd2:id20:%b%be%b1:v4:%b1:y1:re" % (querier, own_id, members, named, CLIENT_VERSION)


def encode_error(transaction_id: object, code: int, message: str) -> bytes:
    """Returns the datagram of an error."""
    answer: dict[bytes, BValue] = {b"e": [code, message.encode()], b"v": CLIENT_VERSION, b"y": b"e"}
    if transaction_id is not None:
        answer[b"t"] = cast("BValue", transaction_id)
    return bencoding.encode(answer)
