"""Offers ``Link``: a grape's calls for programs that wait for their answers, with or without threads.

Loads no Twisted, and httpx (the extra ``client``) at the first link. ``grape.client.aio`` has the same calls for
asyncio, ``grape.client`` for Twisted.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Empty, SimpleQueue
from threading import Lock
from typing import TYPE_CHECKING, Self, TypeVar, Unpack

from grape.client import core, requests
from grape.client.announcing_thread import Announcing
from grape.client.answers import Answer, Json
from grape.client.call import Attempt
from grape.client.core import Core, Keywords, Settings, Steps, ask
from grape.client.errors import UnreachableError
from grape.client.httpx_clients import failure_text, new_client
from grape.client.items import Item, Storable
from grape.client.requests import HEADERS, Request
from grape.client.schedule import INTERVAL_SECONDS, WITHDRAWAL_SECONDS, Schedule

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")

# Of attempts under way at a time, over all threads.
MAX_THREADS = 256


class Link:
    """Calls grapes over HTTP, the first of ``grapes`` that works, and returns what they answer.

    One link serves a whole program::

        from grape.client.blocking import Link

        with Link(["http://127.0.0.1:30001", "http://127.0.0.1:30002"]) as link:
            link.lookup("rest:util:net")

    ``grapes`` is one URL or several, in the order of preference. The keywords are the fields of
    ``grape.client.core.Settings``; ``client`` is an httpx.Client of yours, which stays open. May be used by several
    threads at a time. Calls raise GrapeError with the grape's code; UnreachableError where no grape answers.
    """

    def __init__(
        self, grapes: str | Iterable[str], *, client: httpx.Client | None = None, **settings: Unpack[Keywords]
    ) -> None:
        self._core = Core(grapes, Settings(**settings))
        self._is_own = client is None
        self._client = new_client(self._core.grapes.all) if client is None else client
        self._lock = Lock()
        self._threads = ThreadPoolExecutor(MAX_THREADS, "grape-link")
        self._looking_up: dict[tuple[str, int], Future[list[str]]] = {}

    def __enter__(self) -> Self:
        """Returns the link."""
        return self

    def __exit__(self, *error: object) -> None:
        """Closes the link."""
        self.close()

    def close(self) -> None:
        """Closes the connections; the link cannot be used any more."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._is_own:
            self._client.close()

    def lookup(self, name: str) -> list[str]:
        """Returns the peers of a service as "ip:port", at most 100, without those reported dead; [] if none.

        For example::

            assert link.lookup("rest:util:net") == ["127.0.0.1:1337"]
        """
        request = requests.lookup(name)
        with self._lock:
            cached = self._core.peers.cached(name, time.monotonic())
            if cached is not None:
                return cached
            key = name, self._core.peers.version
            found = self._looking_up.get(key)
            if found is None:
                mine = self._looking_up[key] = Future[list[str]]()
        if found is None:
            self._look_up(request, key, mine)
            found = mine
        # Equal lookups under way are one.
        peers = found.result()
        with self._lock:
            return self._core.peers.ordered(name, peers, time.monotonic())

    def report_dead(self, peer: str) -> None:
        """Leaves a peer, "ip:port", out of what lookups return for 10 s (``dead_seconds``).

        For example::

            link.report_dead("127.0.0.1:1337")
            assert link.lookup("rest:util:net") == []
        """
        with self._lock:
            self._core.peers.report_dead(peer, time.monotonic())

    def announce(self, name: str, port: int, *, ttl: float | None = None) -> int:
        """Announces a service at a port of the grape's host, once; returns how many other nodes stored it.

        For example::

            assert link.announce("rest:util:net", 1337) == 1

        It is listed for ``ttl`` seconds if that is given and the grape knows it, and for the network's age of peers
        (240 s) at most. ``announcing`` repeats it.
        """
        return self._run(core.announce(self._core, name, port, ttl))

    def unannounce(self, name: str, port: int) -> int:
        """Withdraws an announce of the grape's host; returns how many other nodes confirmed it, which may be 0.

        Raises NotSupportedError if the grape cannot, as no Node grape can. For example::

            link.unannounce("rest:util:net", 1337)
        """
        return self._run(core.unannounce(self._core, name, port))

    def announcing(
        self, name: str, port: int, *, ttl: float | None = None, interval: float = INTERVAL_SECONDS
    ) -> Announcing:
        """Returns a context manager within which a service stays announced, by a thread.

        For example::

            with link.announcing("rest:util:net", 1337):
                assert link.lookup("rest:util:net") == ["127.0.0.1:1337"]

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

    def put(self, value: Storable) -> str:
        """Stores a value: text of up to 999 bytes, a whole number, or a list or dict of these. Returns its hash.

        For example::

            assert link.put("words") == "5aba6fefec9e3aff32d0105f04ec0b0069457d36"
        """
        return self._run(core.put(value))

    def get(self, hash: str, *, salt: str | bytes | None = None) -> Item | None:
        """Returns the item with a hash, None if no node has it; of a mutable item the signature is not verified.

        For example::

            item = link.get(link.put("words"))
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
    ) -> str:
        """Signs a value with an ed25519 key of 32 bytes, and stores it under key and salt. Returns the hash.

        For example::

            private_key = new_private_key()
            link.put_mutable(private_key, "first", salt="news")
            link.put_mutable(private_key, "second", salt="news")

        Without ``seq`` it is one more than ``cas``, else than that of the item that is there, which is read first; a
        new item begins with the microseconds since 1970. With ``cas`` the item is stored only in the place of the one
        with that seq. Raises GrapeError with status 301 (``cas``) or 302 (``seq``) if another item is there.
        """
        return self._run(core.put_mutable(self._core, private_key, value, seq, salt, cas))

    def get_mutable(self, public_key: bytes, salt: str | bytes | None = None) -> Item | None:
        """Returns the item of a public key of 32 bytes and a salt, verified; None if no node has it.

        For example::

            private_key = new_private_key()
            link.put_mutable(private_key, "words", seq=1)
            item = link.get_mutable(public_key(private_key))
            assert item is not None and (item.value, item.seq) == ("words", 1)

        Raises SignatureError if no grape has one whose signature is right.
        """
        return self._run(core.get_mutable(public_key, salt))

    def status(self) -> dict[str, Json]:
        """Returns what the grape tells of itself, as JSON. Raises NotSupportedError for a Node grape.

        docs/http-api.md describes it. For example::

            status = link.status()
            assert status["version"]
        """
        return self._run(ask(requests.status()))

    def read(self, path: str, parameters: Mapping[str, str | int] | None = None) -> Json:
        """Returns another JSON document of the grape, by GET. Raises NotSupportedError if the grape has none.

        For example::

            assert link.read("/nodes", {"limit": 10}) is not None
        """
        return self._run(ask(requests.page(path, parameters)))

    def _look_up(self, request: Request[list[str]], key: tuple[str, int], mine: Future[list[str]]) -> None:
        try:
            peers = self._run(ask(request))
        except BaseException as error:
            with self._lock:
                del self._looking_up[key]
            if isinstance(error, Exception):
                mine.set_exception(error)
                return
            # Ctrl-C, for instance, which is for this thread alone.
            mine.set_exception(UnreachableError(["the lookup was interrupted"]))
            raise
        with self._lock:
            del self._looking_up[key]
            self._core.peers.keep(key[0], peers, key[1], time.monotonic())
        mine.set_result(peers)

    def _run(self, steps: Steps[T], seconds: float | None = None) -> T:
        deadline = time.monotonic() + (seconds or self._core.settings.timeout)
        try:
            with self._lock:
                request = next(steps)
            while True:
                try:
                    result = self._call(request, deadline)
                except Exception as error:
                    with self._lock:
                        request = steps.throw(error)
                else:
                    with self._lock:
                        request = steps.send(result)
        except StopIteration as end:
            value: T = end.value
            return value

    def _call(self, request: Request[T], deadline: float) -> T:
        answers: SimpleQueue[tuple[int, Answer | str]] = SimpleQueue()
        with self._lock:
            call = self._core.call(request, deadline)
            attempts = call.start(time.monotonic())
        while True:
            for attempt in attempts:
                self._threads.submit(self._send, attempt, answers)
            if call.is_over:
                return call.result
            try:
                number, answer = answers.get(timeout=max(call.wake_at - time.monotonic(), 0.0))
            except Empty:
                with self._lock:
                    attempts = call.woken(time.monotonic())
                continue
            with self._lock:
                attempts = call.told(number, answer, time.monotonic())

    def _send(self, attempt: Attempt, answers: SimpleQueue[tuple[int, Answer | str]]) -> None:
        try:
            response = self._client.request(
                attempt.method, attempt.url, content=attempt.body, headers=HEADERS, timeout=attempt.seconds
            )
            answers.put((attempt.number, Answer(response.status_code, response.content)))
        except Exception as error:
            # The call decides what comes next, whatever it was.
            answers.put((attempt.number, failure_text(error)))
