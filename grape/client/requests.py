"""Makes the requests of a grape's calls, and states how the answer of each is read.

A request is a value; nothing is sent here. The body is ``{"rid": ..., "data": ...}`` as all Grenache clients send it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Generic, TypeAlias, TypeVar
from urllib.parse import quote, urlencode

import attrs

from grape.client import answers
from grape.client.answers import Answer, Json
from grape.client.items import Item, Storable, check_value
from grape.errors import GrapeError

T_co = TypeVar("T_co", covariant=True)

#: A service's announce: its name, its port, and how many seconds it is to be listed.
Announce: TypeAlias = "list[str | int | dict[str, float]]"


HEADERS = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "grape-dht"}
# A Node grape closes idle connections after 5 s, ours after 30 s: a connection is not used again close to that.
IDLE_SECONDS = 4.0
IDLE_CONNECTIONS = 20

MAX_PORT = 65_535
_HASH = re.compile(r"[0-9a-fA-F]{40}")


@attrs.frozen
class Request(Generic[T_co]):
    """Holds one request: ``method`` and ``path`` of HTTP, ``data`` of the envelope, ``read`` for its answer.

    ``read`` returns the result, or raises GrapeError. ``is_own`` is True if the grape has to be one of this host, as
    it lists the service under its own address.
    """

    path: str
    data: object
    read: Callable[[Answer], T_co]
    method: str = "POST"
    is_own: bool = False

    def body(self, rid: str) -> bytes:
        """Returns the body, with ``rid`` as the request's id; a GET has none. Lone surrogates become U+FFFD."""
        if self.method == "GET":
            return b""
        text = json.dumps({"rid": rid, "data": self.data}, ensure_ascii=False, separators=(",", ":"))
        try:
            return text.encode()
        except UnicodeEncodeError:
            return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def lookup(name: str) -> Request[list[str]]:
    """Returns the request for the peers of a service. Raises GrapeError ERR_GRAPE_LOOKUP for an empty name."""
    if not name:
        raise GrapeError("ERR_GRAPE_LOOKUP")
    return Request("/lookup", name, answers.peers)


def announce(name: str, port: int, ttl: float | None = None) -> Request[int]:
    """Returns the request that announces a service; ``ttl`` is how many seconds it is listed, sent if it is given.

    Raises GrapeError, as all requests do for what no grape takes: it would end some Node grapes.
    """
    _check_service(name, port)
    data: Announce = [name, port] if ttl is None else [name, port, {"ttl": ttl}]
    return Request("/announce", data, answers.count, is_own=True)


def unannounce(name: str, port: int) -> Request[int]:
    """Returns the request that withdraws an announce."""
    _check_service(name, port)
    return Request("/unannounce", [name, port], answers.withdrawn, is_own=True)


def put(value: Storable) -> Request[str]:
    """Returns the request that stores an immutable item."""
    check_value(value)
    return Request("/put", {"v": value}, answers.hash_of_put)


def put_signed(item: Item, cas: int | None = None) -> Request[str]:
    """Returns the request that stores a signed item; with ``cas`` in the place of the one with that seq only."""
    key = item.key or b""
    data: dict[str, Storable] = {"v": item.value, "k": key.hex(), "sig": item.signature.hex(), "seq": item.seq}
    if item.salt:
        data["salt"] = _buffer(item.salt)
    if cas is not None:
        data["cas"] = cas
    return Request("/put", data, answers.hash_of_put)


def get(hash: str, salt: bytes = b"", key: bytes | None = None) -> Request[Item | None]:
    """Returns the request for the item with a hash; with ``key`` only a mutable item signed with it is an answer."""
    if not _HASH.fullmatch(hash):
        raise GrapeError("ERR_GRAPE_HASH_FORMAT")
    data: Storable = {"hash": hash, "salt": _buffer(salt)} if salt else hash
    return Request("/get", data, partial(answers.item, hash=hash, salt=salt, key=key))


def status() -> Request[dict[str, Json]]:
    """Returns the request for what a grape tells of itself."""
    return Request("/status", None, answers.members, method="GET")


def page(path: str, parameters: Mapping[str, str | int] | None = None) -> Request[Json]:
    """Returns the request for a document of the grape by GET, such as ``/nodes`` with the parameter ``limit``."""
    query = f"?{urlencode(parameters, quote_via=quote)}" if parameters else ""
    return Request(path + query, None, partial(answers.document, call=path.strip("/")), method="GET")


def _check_service(name: str, port: int) -> None:
    if not name:
        raise GrapeError("ERR_GRAPE_ANNOUNCE")
    if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= MAX_PORT:
        raise GrapeError("ERR_GRAPE_SERVICE_PORT")


def _buffer(octets: bytes) -> Storable:
    # As text a salt such as "[1]" is taken for the JSON of bytes.
    return {"type": "Buffer", "data": list(octets)}
