"""Holds what the three kinds of link share, without I/O: settings, grapes, found peers, and the steps of each call.

A call of one request is a ``Request``. A call of several is a ``Steps``: a generator that yields requests, is sent the
result of each (or thrown its error), and returns the result of the call.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator, Iterable
from typing import TypeAlias, TypedDict, TypeVar, cast

import attrs

from grape.client import requests
from grape.client.call import Call
from grape.client.grapes import Grapes
from grape.client.items import Item, Storable, mutable_hash, public_key, salt_bytes, sign
from grape.client.peers import Order, Peers
from grape.client.requests import Request
from grape.errors import GrapeError

T = TypeVar("T")

#: The requests of a call, one after the other, and its result.
Steps: TypeAlias = Generator[Request[object], object, T]

# Of answers of a grape to a put: another item was there first.
CONFLICTS = frozenset({301, 302})


@attrs.frozen(kw_only=True)
class Settings:
    """Holds the settings of a link, in seconds; the keywords of ``Link``.

    - ``timeout``: how long a call may take in all, whomever it asks. A grape of ours answers within 2.5 s, a Node
      grape whose neighbours are dead within 5 s.
    - ``slow_after``: after this long another grape is asked beside the first, where there is another.
    - ``cache_seconds``: how long a lookup's result is served again; 0: never.
    - ``dead_seconds``: how long a peer that was reported dead is left out.
    - ``order``: of the peers, "random" or "round-robin".
    - ``announce_through``: URLs of the grapes that announces go through. A grape lists a service under its own address,
      so by default these are the grapes on the host of the first URL.
    """

    timeout: float = attrs.field(default=5.0, validator=attrs.validators.gt(0))
    slow_after: float = attrs.field(default=0.5, validator=attrs.validators.gt(0))
    cache_seconds: float = attrs.field(default=5.0, validator=attrs.validators.ge(0))
    dead_seconds: float = attrs.field(default=10.0, validator=attrs.validators.ge(0))
    order: Order = "random"
    announce_through: Iterable[str] | None = None


class Keywords(TypedDict, total=False):
    """Types the keywords of a link for mypy: the fields of ``Settings``."""

    timeout: float
    slow_after: float
    cache_seconds: float
    dead_seconds: float
    order: Order
    announce_through: Iterable[str] | None


class Core:
    """Keeps the state of a link: which grapes work, and what lookups found. Not locked: one thread at a time.

    ``dice`` is the source of everything random; ``microseconds`` returns those since 1970, for the first seq of an
    item. Raises ValueError for URLs and settings that cannot work.
    """

    def __init__(
        self,
        urls: str | Iterable[str],
        settings: Settings,
        dice: random.Random | None = None,
        microseconds: Callable[[], int] = lambda: time.time_ns() // 1_000,
    ) -> None:
        self.settings = settings
        self.dice = dice or random.Random()
        self.microseconds = microseconds
        self.grapes = Grapes(urls, self.dice, settings.announce_through)
        self.peers = Peers(settings.cache_seconds, settings.dead_seconds, settings.order, self.dice)

    def call(self, request: Request[T], deadline: float) -> Call[T]:
        """Returns the machine that makes a request until ``deadline``."""
        return Call(request, self.grapes, f"{self.dice.getrandbits(128):032x}", deadline, self.settings.slow_after)


def ask(request: Request[T]) -> Steps[T]:
    """Returns the steps of a call of one request."""
    return cast("T", (yield request))


def put(value: Storable) -> Steps[str]:
    """Returns the steps that put an immutable item."""
    return (yield from ask(requests.put(value)))


def get(hash: str, salt: str | bytes | None) -> Steps[Item | None]:
    """Returns the steps that get an item by its hash."""
    return (yield from ask(requests.get(hash, salt_bytes(salt))))


def announce(core: Core, name: str, port: int, ttl: float | None) -> Steps[int]:
    """Returns the steps of an announce: the next lookup asks a grape, and so finds it."""
    number = yield from ask(requests.announce(name, port, ttl))
    core.peers.forget(name)
    return number


def unannounce(core: Core, name: str, port: int) -> Steps[int]:
    """Returns the steps of a withdrawal."""
    core.peers.forget(name)
    number = yield from ask(requests.unannounce(name, port))
    core.peers.forget(name)
    return number


def get_mutable(key: bytes, salt: str | bytes | None) -> Steps[Item | None]:
    """Returns the steps that get the item of a public key and a salt, verified."""
    octets = salt_bytes(salt)
    return (yield from ask(requests.get(mutable_hash(key, octets), octets, key)))


def put_mutable(
    core: Core, private_key: bytes, value: Storable, seq: int | None, salt: str | bytes | None, cas: int | None
) -> Steps[str]:
    """Returns the steps that sign and put an item.

    Without ``seq`` it is one more than ``cas``, or else than that of the item that is there; an item that is not there
    begins with the microseconds since 1970, as grenache-cli's do. So it is newer than one that was lost with its last
    holder, should that come back.

    A grape that already has the same item may say that there is a newer one (a Node grape does). That is no conflict:
    the item is read, and if it is this one, it is stored. So a put can be repeated through another grape.
    """
    octets = salt_bytes(salt)
    if seq is None:
        seq = cas + 1 if cas is not None else (yield from _next_seq(core, public_key(private_key), octets))
    item = sign(private_key, value, seq, octets)
    try:
        return (yield from ask(requests.put_signed(item, cas)))
    except GrapeError as error:
        key = item.key or b""
        if error.status in CONFLICTS and item.is_stored_as((yield from get_mutable(key, octets))):
            return mutable_hash(key, octets)
        raise


def _next_seq(core: Core, key: bytes, salt: bytes) -> Steps[int]:
    found = yield from get_mutable(key, salt)
    return core.microseconds() if found is None else found.seq + 1
