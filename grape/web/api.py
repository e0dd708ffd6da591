"""Grenache's HTTP API without HTTP: from (path, body) to (status, body), for whatever door they came through.

Statuses and bodies are those of the Node grape, byte for byte, apart from what docs/http-api.md lists. A body is
``{"data": ...}``; everything else in it (``rid``) is ignored.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import NoReturn, Protocol, TypeAlias, TypeVar, cast

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from grape.coalesce import Cancellable, deferred
from grape.encoding import Value, text_to_bytes, to_json
from grape.errors import GrapeError
from grape.metrics import Counters
from grape.node.items import Got

T = TypeVar("T")

Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"

MAX_CALLS = 1_024

JSON_TYPE = b"application/json"
TEXT_TYPE = b"text/plain"

log = Logger(namespace="grape")


class Calls(Protocol):
    """What the API calls: a node."""

    def begin_lookup(self, name: str, done: Callable[[list[str] | Failure], object]) -> Cancellable: ...

    def begin_announce(self, name: str | bytes, port: int, done: Callable[[int | Failure], object]) -> Cancellable: ...

    def put(
        self,
        value: Value,
        *,
        key: bytes | None = None,
        signature: bytes | None = None,
        seq: int | None = None,
        salt: bytes = b"",
        cas: int | None = None,
    ) -> Deferred[str]: ...

    def get(self, hash: str, salt: bytes = b"", *, cache: bool | None = None) -> Deferred[Got | None]: ...


@attrs.define
class Answer:
    """An HTTP answer."""

    status: int
    body: bytes
    content_type: bytes = JSON_TYPE


PAYLOAD_TOO_BIG = Answer(413, b"ERR_GRAPE_PAYLOAD_SIZE", TEXT_TYPE)
PAYLOAD_INVALID = Answer(500, b"ERR_GRAPE_PAYLOAD_INVALID", TEXT_TYPE)
NOT_FOUND = Answer(200, b'"ERR_REQ_NOTFOUND"')
NOTHING = Answer(200, b"")
OVERLOADED = Answer(503, b'"ERR_GRAPE_OVERLOADED"')
FAULT = Answer(500, b'"ERR_GRAPE_GENERIC"')


class Missing:
    """The type of what was not in the body at all."""


MISSING = Missing()


class _Call:
    """A call under way: ``done`` is told its answer, unless it is cancelled."""

    __slots__ = ("_api", "_done", "work")

    def __init__(self, api: Api, done: Callable[[Answer], object]) -> None:
        self._api = api
        self._done: Callable[[Answer], object] | None = done
        self.work: Cancellable | None = None

    @property
    def is_open(self) -> bool:
        """Whether its answer is still to come."""
        return self._done is not None

    def cancel(self) -> None:
        """Call it off."""
        if self._done is not None:
            work, self.work, self._done = self.work, None, None
            self._api.under_way -= 1
            if work is not None:
                work.cancel()

    def end(self, answer: Answer) -> None:
        """This is the answer."""
        done, self._done, self.work = self._done, None, None
        if done is not None:
            self._api.under_way -= 1
            done(answer)

    # What ends it

    def found(self, peers: list[str] | Failure) -> None:
        self._ends(peers, _peers)

    def taken(self, number: int | Failure) -> None:
        self._ends(number, _count)

    def put(self, hash: str | Failure) -> None:
        self._ends(hash, _json)

    def got(self, got: Got | Failure | None, salt: bytes) -> None:
        self._ends(got, lambda got: _item(got, salt))

    def _ends(self, result: T | Failure, answer: Callable[[T], Answer]) -> None:
        try:
            told = _refusal(result) if isinstance(result, Failure) else answer(result)
        except Exception:
            told = _refusal(Failure())
        self.end(told)


class Api:
    """The four calls of a node."""

    def __init__(self, calls: Calls, max_calls: int = MAX_CALLS, counters: Counters | None = None) -> None:
        self._calls = calls
        self._max_calls = max_calls
        self.under_way = 0
        self.counters = counters if counters is not None else Counters()
        self._routes: dict[bytes, Callable[[Json | Missing, _Call], Cancellable]] = {
            b"/lookup": self._lookup,
            b"/announce": self._announce,
            b"/put": self._put,
            b"/get": self._get,
        }

    def call(self, path: bytes, body: bytes) -> Deferred[Answer]:
        """The answer to a request; ``path`` is the request target as sent. Does not fail. Can be cancelled."""
        return deferred(partial(self.answer, path, body))

    def answer(self, path: bytes, body: bytes, done: Callable[[Answer], object]) -> Cancellable:
        """The same for a callback. It may be told at once; never, if the call is cancelled."""
        call = _Call(self, done)
        self.under_way += 1
        try:
            refusal = self._start(call, path, body)
        except Exception:
            refusal = _refusal(Failure())
        if refusal is not None:
            call.end(refusal)
        return call

    def _start(self, call: _Call, path: bytes, body: bytes) -> Answer | None:
        """Begin a call. What is answered at once is returned, or raised as GrapeError."""
        try:
            envelope = parse(body)
        except ValueError:
            return PAYLOAD_INVALID
        if envelope is None:
            return _text(400, "ERR_GRAPE_PAYLOAD_INVALID")
        route = self._routes.get(path)
        if route is None:
            return NOT_FOUND
        if self.under_way > self._max_calls:
            self.counters.overloads += 1
            return OVERLOADED
        work = route(envelope.get("data", MISSING) if isinstance(envelope, dict) else MISSING, call)
        if call.is_open:
            call.work = work
        return None

    # The calls

    def _lookup(self, data: Json | Missing, call: _Call) -> Cancellable:
        if not isinstance(data, str):
            raise GrapeError("ERR_GRAPE_LOOKUP")
        return self._calls.begin_lookup(data, call.found)

    def _announce(self, data: Json | Missing, call: _Call) -> Cancellable:
        if not isinstance(data, list):
            raise GrapeError("ERR_GRAPE_ANNOUNCE")
        port = _integral(data[1]) if len(data) > 1 else None
        if port is None or not 0 <= port <= 65_535:
            raise GrapeError("ERR_GRAPE_SERVICE_PORT")
        name = data[0] if isinstance(data[0], str) else _octets(data[0])
        if name is None:
            raise GrapeError("ERR_GRAPE_ANNOUNCE", 400)
        return self._calls.begin_announce(name, port, call.taken)

    def _put(self, data: Json | Missing, call: _Call) -> Cancellable:
        refused = GrapeError("ERR_GRAPE_PUT", 400)
        if data is None or isinstance(data, Missing):
            raise refused
        if isinstance(data, str):
            return self._calls.put(data).addBoth(call.put)
        options = data if isinstance(data, dict) else {}
        key = _buffer(options.get("k"), "hex", refused)
        if key is None:
            if "v" not in options:
                raise GrapeError("opts.v not given")
            return self._calls.put(_value(options["v"], refused)).addBoth(call.put)
        signature = _buffer(options.get("sig"), "hex", refused)
        salt = _buffer(options.get("salt"), "utf-8", refused)
        if "v" not in options:
            raise GrapeError("opts.v not given")
        put = self._calls.put(
            _value(options["v"], refused),
            key=key,
            signature=signature,
            seq=_number_of(options, "seq"),
            salt=salt or b"",
            cas=_number_of(options, "cas"),
        )
        return put.addBoth(call.put)

    def _get(self, data: Json | Missing, call: _Call) -> Cancellable:
        refused = GrapeError("ERR_GRAPE_GET", 400)
        if data is None or isinstance(data, Missing):
            raise refused
        options = {"hash": data} if isinstance(data, str) else data
        if not isinstance(options, dict):
            raise GrapeError("ERR_GRAPE_GENERIC")
        salt = _buffer(options.get("salt"), "utf-8", refused) or b""
        hash, cache = options.get("hash"), options.get("cache")
        if not isinstance(hash, str):
            raise GrapeError("ERR_GRAPE_GENERIC")
        got = self._calls.get(hash, salt, cache=cache if isinstance(cache, bool) else None)
        return got.addBoth(call.got, salt)


def parse(body: bytes) -> Json:
    """The JSON of a body as JSON.parse reads it: bytes that are not UTF-8 become U+FFFD. Raises ValueError."""
    try:
        text = body.decode("utf-8", "replace")
        if text.startswith("{"):
            value, end = _READER.raw_decode(text)
            if end == len(text):
                return value  # type: ignore[no-any-return]
        # With spaces around it, or no JSON at all.
        return _READER.decode(text)  # type: ignore[no-any-return]
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def _number(digits: str) -> float:
    # JavaScript's numbers are doubles; those that are exact either way stay integers.
    return int(digits) if len(digits) < 20 else float(digits)


_READER = json.JSONDecoder(parse_constant=_no_constant, parse_int=_number)
_WRITER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def _json(value: object) -> Answer:
    return Answer(200, _dump(value))


def _peers(peers: list[str]) -> Answer:
    return Answer(200, _dump(peers) if len(peers) != 1 else b'["%b"]' % peers[0].encode())


def _count(number: int) -> Answer:
    return Answer(200, b"%d" % number)


def _refusal(failure: Failure) -> Answer:
    """What a client is told of a call that failed."""
    error = failure.value
    if isinstance(error, GrapeError):
        return _text(error.status, error.code)
    if failure.check(CancelledError) is None:
        log.failure("a call failed", failure)
    return FAULT


def _text(status: int, text: str) -> Answer:
    return Answer(status, _dump(text))


def _dump(value: object) -> bytes:
    return text_to_bytes(_WRITER.encode(value))


def _item(got: Got | None, salt: bytes) -> Answer:
    """The answer to a get; its members in the order that the Node grape has them."""
    if got is None:
        return NOTHING
    item = got.item
    try:
        value = to_json(got.value)
    except ValueError as error:
        raise GrapeError("ERR_GRAPE_GENERIC") from error
    answer: dict[str, object] = {"id": got.node_id.hex()}
    if got.local:
        answer |= {"token": None, "v": value}
        if item.key is not None:
            answer |= {"sig": item.signature.hex(), "k": item.key.hex(), "seq": item.seq}
        return _json(answer)
    if item.key is not None:
        answer |= {"k": item.key.hex(), "seq": item.seq, "sig": item.signature.hex()}
    if got.token is not None:
        answer["token"] = got.token.hex()
    answer["v"] = value
    if salt:
        answer["salt"] = salt.decode("utf-8", "replace")
    return _json(answer)


def _value(value: Json, refused: GrapeError) -> Value:
    if value is None:
        raise refused
    return value


def _number_of(options: dict[str, Json], name: str) -> int | None:
    """A member as the node takes it: a whole number, None if absent, and what is neither as it is, for its refusal."""
    if name not in options:
        return None
    value = options[name]
    whole = _integral(value)
    # JSON's null is a wrong value; None would be an absent one.
    return whole if whole is not None else cast("int", False if value is None else value)


def _integral(value: Json) -> int | None:
    """A JSON number without a fraction; JavaScript does not tell 5 from 5.0."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return int(value) if isinstance(value, int) or value.is_integer() else None


def _octets(value: Json) -> bytes | None:
    """The bytes of an array of byte values or of a Buffer's JSON form; None for anything else."""
    if isinstance(value, dict) and value.get("type") == "Buffer":
        value = value.get("data")
    if not isinstance(value, list):
        return None
    octets = [_integral(item) for item in value]
    return bytes(octet & 0xFF for octet in octets if octet is not None) if None not in octets else None


def _buffer(value: Json, encoding: str, refused: GrapeError) -> bytes | None:
    """What the reference makes a buffer of: text in ``encoding``, an array, a Buffer's JSON form, or the JSON text
    of any of these. None for what is absent or empty. Raises ``refused`` for a wrong type."""
    if value is None or value is False or value == "" or value == 0:
        return None
    if isinstance(value, str):
        try:
            inner = parse(value.encode("utf-8", "surrogatepass"))
        except ValueError:
            inner = None
        octets = _octets(inner)
        if octets is not None:
            return octets
        return _decode(inner if isinstance(inner, str) else value, encoding)
    octets = _octets(value)
    if octets is None:
        raise refused
    return octets


def _decode(text: str, encoding: str) -> bytes:
    if encoding != "hex":
        return text_to_bytes(text)
    # As Node's: up to the first pair that is not hexadecimal.
    octets = bytearray()
    for start in range(0, len(text) - 1, 2):
        pair = text[start : start + 2]
        if not all(digit in "0123456789abcdefABCDEF" for digit in pair):
            break
        octets.append(int(pair, 16))
    return bytes(octets)
