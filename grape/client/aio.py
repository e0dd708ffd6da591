"""Offers ``Link``: a grape's calls for asyncio.

Loads no Twisted, and httpx (the extra ``client``) at the first link. ``grape.client.blocking`` has the same calls
without ``await``, ``grape.client`` for Twisted.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Self, TypeVar, Unpack

from grape.client import core, requests
from grape.client.announcing_task import Announcing
from grape.client.answers import Answer, Json
from grape.client.call import Attempt
from grape.client.core import Core, Keywords, Settings, Steps, ask
from grape.client.httpx_clients import failure_text, new_async_client
from grape.client.items import Item, Storable
from grape.client.requests import HEADERS, Request
from grape.client.schedule import INTERVAL_SECONDS, WITHDRAWAL_SECONDS, Schedule

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")


class _Lookup:
    """Holds a lookup under way, and how many wait for it."""

    def __init__(self, task: asyncio.Task[list[str]]) -> None:
        self.task = task
        self.waiting = 0


class Link:
    """Calls grapes over HTTP, the first of ``grapes`` that works, and returns what they answer.

    One link serves a whole program::

        from grape.client.aio import Link

        async with Link(["http://127.0.0.1:30001", "http://127.0.0.1:30002"]) as link:
            await link.lookup("rest:util:net")

    ``grapes`` is one URL or several, in the order of preference. The keywords are the fields of
    ``grape.client.core.Settings``; ``client`` is an httpx.AsyncClient of yours, which stays open. Calls can
    be cancelled. They raise GrapeError with the grape's code; UnreachableError where no grape answers.
    """

    def __init__(
        self, grapes: str | Iterable[str], *, client: httpx.AsyncClient | None = None, **settings: Unpack[Keywords]
    ) -> None:
        self._core = Core(grapes, Settings(**settings))
        self._is_own = client is None
        self._client = new_async_client(self._core.grapes.all) if client is None else client
        self._lookups: dict[tuple[str, int], _Lookup] = {}

    async def __aenter__(self) -> Self:
        """Returns the link."""
        return self

    async def __aexit__(self, *error: object) -> None:
        """Closes the link."""
        await self.close()

    async def close(self) -> None:
        """Closes the connections; the link cannot be used any more."""
        if self._is_own:
            await self._client.aclose()

    async def lookup(self, name: str) -> list[str]:
        """Returns the peers of a service as "ip:port", at most 100, without those reported dead; [] if none.

        For example::

            assert await link.lookup("rest:util:net") == ["127.0.0.1:1337"]
        """
        request = requests.lookup(name)
        cached = self._core.peers.cached(name, time.monotonic())
        if cached is not None:
            return cached
        # Equal lookups under way are one; it ends with the last that waits for it.
        key = name, self._core.peers.version
        under_way = self._lookups.get(key)
        if under_way is None or under_way.task.done():
            under_way = self._lookups[key] = _Lookup(asyncio.ensure_future(self._look_up(request, *key)))
        under_way.waiting += 1
        try:
            peers = await asyncio.shield(under_way.task)
        finally:
            under_way.waiting -= 1
            if not under_way.waiting:
                under_way.task.cancel()
                if self._lookups.get(key) is under_way:
                    del self._lookups[key]
        return self._core.peers.ordered(name, peers, time.monotonic())

    def report_dead(self, peer: str) -> None:
        """Leaves a peer, "ip:port", out of what lookups return for 10 s (``dead_seconds``).

        For example::

            link.report_dead("127.0.0.1:1337")
            assert await link.lookup("rest:util:net") == []
        """
        self._core.peers.report_dead(peer, time.monotonic())

    async def announce(self, name: str, port: int, *, ttl: float | None = None) -> int:
        """Announces a service at a port of the grape's host, once; returns how many other nodes stored it.

        For example::

            assert await link.announce("rest:util:net", 1337) == 1

        It is listed for ``ttl`` seconds if that is given and the grape knows it, and for the network's age of peers
        (240 s) at most. ``announcing`` repeats it.
        """
        return await self._run(core.announce(self._core, name, port, ttl))

    async def unannounce(self, name: str, port: int) -> int:
        """Withdraws an announce of the grape's host; returns how many other nodes confirmed it, which may be 0.

        Raises NotSupportedError if the grape cannot, as no Node grape can. For example::

            await link.unannounce("rest:util:net", 1337)
        """
        return await self._run(core.unannounce(self._core, name, port))

    def announcing(
        self, name: str, port: int, *, ttl: float | None = None, interval: float = INTERVAL_SECONDS
    ) -> Announcing:
        """Returns a context manager within which a service stays announced, by a task.

        For example::

            async with link.announcing("rest:util:net", 1337):
                assert await link.lookup("rest:util:net") == ["127.0.0.1:1337"]

        Entering it announces the service, and raises what that raises. From then on failures are logged and tried again
        soon, so that the service is back when its grape is. It is announced every ``interval`` seconds, a quarter more
        or less. At the end it is withdrawn, where the grape can do that.
        """
        return Announcing(
            name,
            lambda: self.announce(name, port, ttl=ttl),
            lambda: self._run(core.unannounce(self._core, name, port), WITHDRAWAL_SECONDS),
            Schedule(interval, ttl, self._core.dice),
        )

    async def put(self, value: Storable) -> str:
        """Stores a value: text of up to 999 bytes, a whole number, or a list or dict of these. Returns its hash.

        For example::

            assert await link.put("words") == "5aba6fefec9e3aff32d0105f04ec0b0069457d36"
        """
        return await self._run(core.put(value))

    async def get(self, hash: str, *, salt: str | bytes | None = None) -> Item | None:
        """Returns the item with a hash, None if no node has it; of a mutable item the signature is not verified.

        For example::

            item = await link.get(await link.put("words"))
            assert item is not None and item.value == "words"
        """
        return await self._run(core.get(hash, salt))

    async def put_mutable(
        self,
        private_key: bytes,
        value: Storable,
        seq: int | None = None,
        salt: str | bytes | None = None,
        cas: int | None = None,
    ) -> str:
        """Signs a value with an ed25519 key of 32 bytes, and stores it under key and salt. Returns the hash.

        For example::

            private_key = new_private_key()
            await link.put_mutable(private_key, "first", salt="news")
            await link.put_mutable(private_key, "second", salt="news")

        Without ``seq`` it is one more than ``cas``, else than that of the item that is there, which is read first; a
        new item begins with the microseconds since 1970. With ``cas`` the item is stored only in the place of the one
        with that seq. Raises GrapeError with status 301 (``cas``) or 302 (``seq``) if another item is there.
        """
        return await self._run(core.put_mutable(self._core, private_key, value, seq, salt, cas))

    async def get_mutable(self, public_key: bytes, salt: str | bytes | None = None) -> Item | None:
        """Returns the item of a public key of 32 bytes and a salt, verified; None if no node has it.

        For example::

            private_key = new_private_key()
            await link.put_mutable(private_key, "words", seq=1)
            item = await link.get_mutable(public_key(private_key))
            assert item is not None and (item.value, item.seq) == ("words", 1)

        Raises SignatureError if no grape has one whose signature is right.
        """
        return await self._run(core.get_mutable(public_key, salt))

    async def status(self) -> dict[str, Json]:
        """Returns what the grape tells of itself, as JSON. Raises NotSupportedError for a Node grape.

        docs/http-api.md describes it. For example::

            status = await link.status()
            assert status["version"]
        """
        return await self._run(ask(requests.status()))

    async def read(self, path: str, parameters: Mapping[str, str | int] | None = None) -> Json:
        """Returns another JSON document of the grape, by GET. Raises NotSupportedError if the grape has none.

        For example::

            assert await link.read("/nodes", {"limit": 10}) is not None
        """
        return await self._run(ask(requests.page(path, parameters)))

    async def _look_up(self, request: Request[list[str]], name: str, version: int) -> list[str]:
        peers = await self._run(ask(request))
        self._core.peers.keep(name, peers, version, time.monotonic())
        return peers

    async def _run(self, steps: Steps[T], seconds: float | None = None) -> T:
        deadline = time.monotonic() + (seconds or self._core.settings.timeout)
        try:
            request = next(steps)
            while True:
                try:
                    result = await self._call(request, deadline)
                except Exception as error:
                    request = steps.throw(error)
                else:
                    request = steps.send(result)
        except StopIteration as end:
            value: T = end.value
            return value

    async def _call(self, request: Request[T], deadline: float) -> T:
        call = self._core.call(request, deadline)
        attempts = call.start(time.monotonic())
        sent: dict[asyncio.Task[Answer | str], int] = {}
        try:
            while True:
                for attempt in attempts:
                    sent[asyncio.ensure_future(self._send(attempt))] = attempt.number
                if call.is_over:
                    return call.result
                seconds = max(call.wake_at - time.monotonic(), 0.0)
                if sent:
                    ended, _ = await asyncio.wait(sent, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
                else:
                    ended = set()
                    await asyncio.sleep(seconds)
                attempts = [] if ended else call.woken(time.monotonic())
                for task in ended:
                    attempts += call.told(sent.pop(task), task.result(), time.monotonic())
        finally:
            for task in sent:
                task.cancel()

    async def _send(self, attempt: Attempt) -> Answer | str:
        try:
            response = await self._client.request(
                attempt.method, attempt.url, content=attempt.body, headers=HEADERS, timeout=attempt.seconds
            )
        except Exception as error:
            # The call decides what comes next, whatever it was.
            return failure_text(error)
        return Answer(response.status_code, response.content)
