"""Answers Grenache's calls: from a request to an answer, without sockets, for the server and the Klein resource.

Statuses and bodies are those of the Node grape, byte for byte, apart from what docs/http-api.md lists. A body is
``{"data": ...}``; everything else in it (``rid``) is ignored.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol, TypeVar, cast

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from grape.coalesce import Cancellable, deferred
from grape.config import DEFAULTS
from grape.encoding import Value, to_json
from grape.errors import GrapeError
from grape.metrics import Counters
from grape.node.items import Got
from grape.node.reporter import shown_name
from grape.web.answer import EMPTY, FAULT, NOT_FOUND, OVERLOADED, PAYLOAD_ENCODED, PAYLOAD_INVALID, RETRY, Answer
from grape.web.body import (
    BYTE_ORDER_MARK,
    MISSING,
    Json,
    Missing,
    buffer,
    dump,
    integer,
    integer_member,
    octets,
    parse,
    storable,
    ttl_of,
)
from grape.web.request import CALLS, Request

# How a loopback address begins in the body of an answer; and the asker that is listed such addresses.
LOOPBACK_PEER = b'"127.'
LOOPBACK = "127.0.0.1"
# How the address of an IPv4 client begins at a socket of both families.
MAPPED = "::ffff:"
# What the log calls the calls that it names on demand.
_LOGGED = {b"/announce": "announce", b"/unannounce": "withdrawal"}

T = TypeVar("T")

log = Logger(namespace="grape.web")


class Calls(Protocol):
    """The calls of a node, as the API makes them."""

    def begin_lookup(self, name: str, done: Callable[[list[str] | Failure], object]) -> Cancellable: ...

    def begin_announce(
        self, name: str | bytes, port: int, done: Callable[[int | Failure], object], ttl: float | None = None
    ) -> Cancellable: ...

    def begin_unannounce(
        self, name: str | bytes, port: int, done: Callable[[int | Failure], object]
    ) -> Cancellable: ...

    def for_asker(self, peers: list[str], asker: str | None, came_to: str | None) -> list[str]: ...

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


class _Left:
    """The work of an announce or a put whose client is gone."""

    def cancel(self) -> None:
        """Does nothing."""


_LEFT = _Left()


class _Call:
    """A call under way: calls ``done`` with its answer, unless it is cancelled.

    ``work`` is what ``cancel`` ends: of a lookup or a get. An announce or a put has none, since it is made whether or
    not its client waits for the answer, as the Node grape makes it.
    """

    __slots__ = ("_api", "_done", "_request", "work")

    def __init__(self, api: Api, request: Request, done: Callable[[Answer], object]) -> None:
        self._api = api
        self._request = request
        self._done: Callable[[Answer], object] | None = done
        self.work: Cancellable | None = None

    @property
    def is_open(self) -> bool:
        """True until the call is answered or cancelled."""
        return self._done is not None

    def cancel(self) -> None:
        """Calls ``done`` no more, as its client is gone.

        Ends a lookup or a get. An announce or a put goes on, and counts as under way until it ends.
        """
        if self._done is None or self.work is _LEFT:
            return
        if self.work is None:
            self.work, self._done = _LEFT, self._api.leave_alone()
            return
        work, self.work, self._done = self.work, None, None
        self._api.ended += 1
        work.cancel()

    def end(self, answer: Answer) -> None:
        """Ends the call with its answer."""
        done, self._done, self.work = self._done, None, None
        if done is not None:
            self._api.ended += 1
            done(answer)

    # The results of the node's calls

    def looked_up(self, peers: list[str] | Failure) -> None:
        # As _end_with does it, with one call less.
        try:
            answer = error_answer(peers) if isinstance(peers, Failure) else self._listed(peers)
        except Exception:
            answer = error_answer(Failure())
        self.end(answer)

    def announced(self, number: int | Failure) -> None:
        self._end_with(number, _count)

    def put(self, hash: str | Failure) -> None:
        self._end_with(hash, _json)

    def got(self, got: Got | Failure | None, salt: bytes) -> None:
        self._end_with(got, lambda got: _item(got, salt))

    def _listed(self, peers: list[str]) -> Answer:
        if len(peers) == 1:
            body = b'["%b"]' % peers[0].encode()
            is_apt = not peers[0].startswith("127.") or self._request.peer == LOOPBACK
        else:
            body = dump(peers)
            # One search of the whole body: a test of each peer would take 5 us for a hundred.
            is_apt = LOOPBACK_PEER not in body
        return Answer(200, body if is_apt else dump(self._api.for_asker(peers, self._request)))

    def _end_with(self, result: T | Failure, answer: Callable[[T], Answer]) -> None:
        try:
            ended = error_answer(result) if isinstance(result, Failure) else answer(result)
        except Exception:
            ended = error_answer(Failure())
        self.end(ended)


class Api:
    """The calls of a node, at most ``max_calls`` of them under way at a time."""

    def __init__(self, calls: Calls, max_calls: int = DEFAULTS.max_calls, counters: Counters | None = None) -> None:
        self._calls = calls
        self.max_calls = max_calls
        #: True: each announce and withdrawal is logged with its client.
        self.logs_announces = False
        #: The calls begun and ended so far; those whose clients are gone end, too.
        self.begun = self.ended = 0
        # Announces and puts whose clients are gone, and what waits for their end.
        self._unattended = 0
        self._attended: list[Deferred[None]] = []
        self.counters = counters if counters is not None else Counters()
        # The method for "/lookup" is _lookup, and so on.
        self._by_target: dict[bytes, Callable[[Json | Missing, _Call], Cancellable | None]] = {
            call.path.encode(): getattr(self, f"_{call.name}") for call in CALLS
        }

    @property
    def under_way(self) -> int:
        """The number of calls under way."""
        return self.begun - self.ended

    def call(self, request: Request) -> Deferred[Answer]:
        """Returns the answer to a request. Does not fail; cancelled when the client is gone, as ``answer`` says."""
        return deferred(partial(self.answer, request))

    def answer(self, request: Request, done: Callable[[Answer], object]) -> Cancellable:
        """Calls ``done`` with the answer to a request, maybe before it returns; never once the result is cancelled.

        To cancel ends a lookup or a get. An announce or a put that was begun is made in any case; it counts in
        ``under_way`` until it ends.
        """
        call = _Call(self, request, done)
        self.begun += 1
        try:
            refusal = self._start(call, request)
        except Exception:
            refusal = error_answer(Failure())
        if refusal is not None:
            call.end(refusal)
        return call

    def for_asker(self, peers: list[str], request: Request) -> list[str]:
        """Returns the peers of a lookup that the client of a request can reach."""
        return self._calls.for_asker(peers, request.peer, request.local)

    def when_attended(self) -> Deferred[None]:
        """Returns a Deferred that fires once no announce or put is under way whose client is gone."""
        if not self._unattended:
            return succeed(None)
        attended: Deferred[None] = Deferred()
        self._attended.append(attended)
        return attended

    def leave_alone(self) -> Callable[[Answer], object]:
        """Counts an announce or a put whose client is gone. Returns what takes its answer."""
        self._unattended += 1
        return self._unattended_ended

    def _unattended_ended(self, answer: Answer) -> None:
        self._unattended -= 1
        if not self._unattended:
            waiting, self._attended = self._attended, []
            for attended in waiting:
                attended.callback(None)

    def _start(self, call: _Call, request: Request) -> Answer | None:
        """Begins a call. Returns an answer that is known at once, or raises it as GrapeError."""
        encoding = request.headers.get(b"content-encoding")
        if encoding is not None and not _is_identity(encoding):
            return PAYLOAD_ENCODED
        try:
            envelope = parse(request.body.removeprefix(BYTE_ORDER_MARK))
        except ValueError:
            return PAYLOAD_INVALID
        if envelope is None:
            return _error(400, "ERR_GRAPE_PAYLOAD_INVALID")
        begin = self._by_target.get(request.target)
        if begin is None:
            return NOT_FOUND
        if self.begun - self.ended > self.max_calls:
            self.counters.overloads += 1
            return OVERLOADED
        work = begin(envelope.get("data", MISSING) if isinstance(envelope, dict) else MISSING, call)
        if call.is_open:
            call.work = work
        if self.logs_announces and request.target in _LOGGED:
            _log_announce(_LOGGED[request.target], envelope, request.peer)
        return None

    # The calls. Those that write return nothing that could be cancelled.

    def _lookup(self, data: Json | Missing, call: _Call) -> Cancellable:
        if not isinstance(data, str):
            raise GrapeError("ERR_GRAPE_LOOKUP")
        return self._calls.begin_lookup(data, call.looked_up)

    def _announce(self, data: Json | Missing, call: _Call) -> None:
        if not isinstance(data, list):
            raise GrapeError("ERR_GRAPE_ANNOUNCE")
        port = integer(data[1]) if len(data) > 1 else None
        if port is None or not 0 <= port <= 65_535:
            raise GrapeError("ERR_GRAPE_SERVICE_PORT")
        name = data[0] if isinstance(data[0], str) else octets(data[0])
        if name is None:
            raise GrapeError("ERR_GRAPE_ANNOUNCE", 400)
        if len(data) > 2 and isinstance(data[2], dict) and "ttl" in data[2]:
            self._calls.begin_announce(name, port, call.announced, ttl_of(data[2]["ttl"]))
        else:
            self._calls.begin_announce(name, port, call.announced)

    def _unannounce(self, data: Json | Missing, call: _Call) -> None:
        if call._request.method != b"POST":
            # Only the calls of the Node grape are found by any method.
            raise GrapeError("ERR_REQ_NOTFOUND")
        if not isinstance(data, list):
            raise GrapeError("ERR_GRAPE_UNANNOUNCE")
        port = integer(data[1]) if len(data) > 1 else None
        if port is None or not 0 <= port <= 65_535:
            raise GrapeError("ERR_GRAPE_SERVICE_PORT")
        name = data[0] if isinstance(data[0], str) else octets(data[0])
        if name is None:
            raise GrapeError("ERR_GRAPE_UNANNOUNCE", 400)
        self._calls.begin_unannounce(name, port, call.announced)

    def _put(self, data: Json | Missing, call: _Call) -> None:
        refused = GrapeError("ERR_GRAPE_PUT", 400)
        if data is None or isinstance(data, Missing):
            raise refused
        if isinstance(data, str):
            self._calls.put(data).addBoth(call.put)
            return
        options = data if isinstance(data, dict) else {}
        key = buffer(options.get("k"), "hex", refused)
        if key is None:
            if "v" not in options:
                raise GrapeError("opts.v not given")
            self._calls.put(storable(options["v"], refused)).addBoth(call.put)
            return
        signature = buffer(options.get("sig"), "hex", refused)
        salt = buffer(options.get("salt"), "utf-8", refused)
        if "v" not in options:
            raise GrapeError("opts.v not given")
        # What is no number is for the node to refuse.
        put: Callable[..., Deferred[str]] = self._calls.put
        put(
            storable(options["v"], refused),
            key=key,
            signature=signature,
            seq=integer_member(options, "seq"),
            salt=salt or b"",
            cas=integer_member(options, "cas"),
        ).addBoth(call.put)

    def _get(self, data: Json | Missing, call: _Call) -> Cancellable:
        refused = GrapeError("ERR_GRAPE_GET", 400)
        if data is None or isinstance(data, Missing):
            raise refused
        options = {"hash": data} if isinstance(data, str) else data
        if not isinstance(options, dict):
            raise GrapeError("ERR_GRAPE_GENERIC")
        salt = buffer(options.get("salt"), "utf-8", refused) or b""
        hash, cache = options.get("hash"), options.get("cache")
        if not isinstance(hash, str):
            raise GrapeError("ERR_GRAPE_GENERIC")
        got = self._calls.get(hash, salt, cache=cache if isinstance(cache, bool) else None)
        return got.addBoth(call.got, salt)


def _log_announce(what: str, envelope: Json, client: str | None) -> None:
    """Logs an announce or a withdrawal that was begun: ``envelope`` is well-formed."""
    name, port = cast("dict[str, list[Json]]", envelope)["data"][:2]
    text = name if isinstance(name, str) else (octets(name) or b"")
    shown = (client or "of a unix socket").removeprefix(MAPPED)
    log.info("{what} of {name!r}: port {port}, by HTTP client {client}", what=what, name=shown_name(text),
             port=integer(port), client=shown, is_answer=True)  # fmt: skip


def error_answer(failure: Failure) -> Answer:
    """Returns the answer to a request that failed: a GrapeError's own code and status, for all else a logged fault."""
    error = failure.value
    if isinstance(error, GrapeError):
        return _error(error.status, error.code)
    if failure.check(CancelledError) is None:
        log.failure("an HTTP call failed; the client was told ERR_GRAPE_GENERIC", failure)
    return FAULT


def _error(status: int, code: str) -> Answer:
    return Answer(status, dump(code), headers=RETRY if status == 503 else ())


def _is_identity(encoding: bytes) -> bool:
    """True if a Content-Encoding changes nothing in the body."""
    return all(coding.strip().lower() in (b"", b"identity") for coding in encoding.split(b","))


def _json(value: object) -> Answer:
    return Answer(200, dump(value))


def _count(number: int) -> Answer:
    return Answer(200, b"%d" % number)


def _item(got: Got | None, salt: bytes) -> Answer:
    """Returns the answer to a get, its members in the Node grape's order."""
    if got is None:
        return EMPTY
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
