"""Offers ``Link``: a grape's calls for Twisted, on treq; ``grape.client.Link`` is its usual name.

``grape.client.aio`` has the same calls for asyncio, ``grape.client.blocking`` without ``await``; they load no Twisted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Self, TypeVar, Unpack, cast

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from grape.client import core, requests
from grape.client.announcing_service import Announcing
from grape.client.answers import Json
from grape.client.core import Core, Keywords, Settings, Steps, ask
from grape.client.items import Item, Storable
from grape.client.requests import Request
from grape.client.schedule import INTERVAL_SECONDS, WITHDRAWAL_SECONDS, Schedule
from grape.client.twisted_call import Requester, Running, new_requester
from grape.coalesce import Cancellable, Coalescer, deferred
from grape.reactor import Clock

T = TypeVar("T")


class Link:
    """Calls grapes over HTTP, the first of ``grapes`` that works, and returns what they answer.

    One link serves a whole program::

        from grape.client import Link

        async with Link(["http://127.0.0.1:30001", "http://127.0.0.1:30002"]) as link:
            await link.lookup("rest:util:net")

    ``grapes`` is one URL or several, in the order of preference. The keywords are the fields of
    ``grape.client.core.Settings``; ``http`` is a ``treq.client.HTTPClient`` of yours that makes the requests, and
    ``reactor`` Twisted's global one by default. Calls return Deferreds, which can be cancelled. They fail with
    GrapeError and the grape's code; with UnreachableError where no grape answers. ``grape.testing.make_link`` makes a
    link for tests.
    """

    def __init__(
        self,
        grapes: str | Iterable[str],
        *,
        http: Requester | None = None,
        reactor: Clock | None = None,
        **settings: Unpack[Keywords],
    ) -> None:
        self._core = Core(grapes, Settings(**settings))
        if reactor is None:
            from twisted.internet import reactor as installed

            reactor = cast("Clock", installed)
        self._clock = reactor
        self._close: Callable[[], Deferred[None]] = lambda: succeed(None)
        if http is None:
            http, self._close = new_requester(reactor)
        self._http = http
        self._lookups: Coalescer[tuple[str, int], list[str], list[str]] = Coalescer(list)

    async def __aenter__(self) -> Self:
        """Returns the link."""
        return self

    async def __aexit__(self, *error: object) -> None:
        """Closes the link."""
        await self.close()

    def close(self) -> Deferred[None]:
        """Closes the idle connections; the link can be used on, and opens new ones then."""
        return self._close()

    def lookup(self, name: str) -> Deferred[list[str]]:
        """Returns the peers of a service as "ip:port", at most 100, without those reported dead; [] if none.

        For example::

            assert await link.lookup("rest:util:net") == ["127.0.0.1:1337"]
        """
        return Deferred.fromCoroutine(self._looked_up(name))

    def report_dead(self, peer: str) -> None:
        """Leaves a peer, "ip:port", out of what lookups return for 10 s (``dead_seconds``).

        For example::

            link.report_dead("127.0.0.1:1337")
            assert await link.lookup("rest:util:net") == []
        """
        self._core.peers.report_dead(peer, self._clock.seconds())

    def announce(self, name: str, port: int, *, ttl: float | None = None) -> Deferred[int]:
        """Announces a service at a port of the grape's host, once; returns how many other nodes stored it.

        For example::

            assert await link.announce("rest:util:net", 1337) == 1

        It is listed for ``ttl`` seconds if that is given and the grape knows it, and for the network's age of peers
        (240 s) at most. ``announcing`` repeats it.
        """
        return self._run(core.announce(self._core, name, port, ttl))

    def unannounce(self, name: str, port: int) -> Deferred[int]:
        """Withdraws an announce of the grape's host; returns how many other nodes confirmed it, which may be 0.

        Raises NotSupportedError if the grape cannot, as no Node grape can. For example::

            await link.unannounce("rest:util:net", 1337)
        """
        return self._run(core.unannounce(self._core, name, port))

    def announcing(
        self, name: str, port: int, *, ttl: float | None = None, interval: float = INTERVAL_SECONDS
    ) -> Announcing:
        """Returns a Twisted service that keeps another service announced; ``async with`` starts and stops it.

        For example::

            async with link.announcing("rest:util:net", 1337):
                assert await link.lookup("rest:util:net") == ["127.0.0.1:1337"]

        Entering it announces the service, and raises what that raises. As a child of a MultiService it begins with its
        parent, and raises nothing: ``when_announced`` tells. From then on failures are logged and tried again
        soon, so that the service is back when its grape is. It is announced every ``interval`` seconds, a quarter more
        or less. At the end it is withdrawn, where the grape can do that.
        """
        return Announcing(
            name,
            lambda: self.announce(name, port, ttl=ttl),
            lambda: self._run(core.unannounce(self._core, name, port), WITHDRAWAL_SECONDS),
            Schedule(interval, ttl, self._core.dice),
            self._clock,
        )

    def put(self, value: Storable) -> Deferred[str]:
        """Stores a value: text of up to 999 bytes, a whole number, or a list or dict of these. Returns its hash.

        For example::

            assert await link.put("words") == "5aba6fefec9e3aff32d0105f04ec0b0069457d36"
        """
        return self._run(core.put(value))

    def get(self, hash: str, *, salt: str | bytes | None = None) -> Deferred[Item | None]:
        """Returns the item with a hash, None if no node has it; of a mutable item the signature is not verified.

        For example::

            item = await link.get(await link.put("words"))
            assert item is not None and item.value == "words"
        """
        return self._run(core.get(hash, salt))

    def put_mutable(
        self,
        private_key: bytes,
        value: Storable,
        seq: int | None = None,
        salt: str | bytes | None = None,
        cas: int | None = None,
    ) -> Deferred[str]:
        """Signs a value with an ed25519 key of 32 bytes, and stores it under key and salt. Returns the hash.

        For example::

            private_key = new_private_key()
            await link.put_mutable(private_key, "first", salt="news")
            await link.put_mutable(private_key, "second", salt="news")

        Without ``seq`` it is one more than ``cas``, else than that of the item that is there, which is read first; a
        new item begins with the microseconds since 1970. With ``cas`` the item is stored only in the place of the one
        with that seq. Raises GrapeError with status 301 (``cas``) or 302 (``seq``) if another item is there.
        """
        return self._run(core.put_mutable(self._core, private_key, value, seq, salt, cas))

    def get_mutable(self, public_key: bytes, salt: str | bytes | None = None) -> Deferred[Item | None]:
        """Returns the item of a public key of 32 bytes and a salt, verified; None if no node has it.

        For example::

            private_key = new_private_key()
            await link.put_mutable(private_key, "words", seq=1)
            item = await link.get_mutable(public_key(private_key))
            assert item is not None and (item.value, item.seq) == ("words", 1)

        Raises SignatureError if no grape has one whose signature is right.
        """
        return self._run(core.get_mutable(public_key, salt))

    def status(self) -> Deferred[dict[str, Json]]:
        """Returns what the grape tells of itself, as JSON. Raises NotSupportedError for a Node grape.

        docs/http-api.md describes it. For example::

            status = await link.status()
            assert status["version"]
        """
        return self._run(ask(requests.status()))

    def read(self, path: str, parameters: Mapping[str, str | int] | None = None) -> Deferred[Json]:
        """Returns another JSON document of the grape, by GET. Raises NotSupportedError if the grape has none.

        For example::

            assert await link.read("/nodes", {"limit": 10}) is not None
        """
        return self._run(ask(requests.page(path, parameters)))

    async def _looked_up(self, name: str) -> list[str]:
        request = requests.lookup(name)
        cached = self._core.peers.cached(name, self._clock.seconds())
        if cached is not None:
            return cached
        key = name, self._core.peers.version
        peers = await deferred(partial(self._join, request, key))
        return self._core.peers.ordered(name, peers, self._clock.seconds())

    def _join(
        self, request: Request[list[str]], key: tuple[str, int], done: Callable[[list[str] | Failure], object]
    ) -> Cancellable:
        # Equal lookups under way are one; it ends with the last that waits for it.
        return self._lookups.join(key, done) or self._lookups.start(
            key, lambda ended: Deferred.fromCoroutine(self._look_up(request, *key)).addBoth(ended), done
        )

    async def _look_up(self, request: Request[list[str]], name: str, version: int) -> list[str]:
        peers = await self._run(ask(request))
        self._core.peers.keep(name, peers, version, self._clock.seconds())
        return peers

    def _run(self, steps: Steps[T], seconds: float | None = None) -> Deferred[T]:
        return Deferred.fromCoroutine(self._take(steps, seconds or self._core.settings.timeout))

    async def _take(self, steps: Steps[T], seconds: float) -> T:
        deadline = self._clock.seconds() + seconds
        try:
            request = next(steps)
            while True:
                try:
                    call = self._core.call(request, deadline)
                    result = await Running(call, self._http, self._clock).result
                except Exception as error:
                    request = steps.throw(error)
                else:
                    request = steps.send(result)
        except StopIteration as end:
            value: T = end.value
            return value
