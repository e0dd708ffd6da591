"""Makes the three kinds of link alike for tests: calls that wait, in a thread while the reactor runs."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any, cast

import pytest_twisted  # type: ignore[import-untyped]
from twisted.internet.defer import Deferred
from twisted.internet.threads import blockingCallFromThread, deferToThread

from grape.client import aio, blocking, twisted

SECONDS = 30.0
STYLES = ("blocking", "asyncio", "twisted")

Run = Callable[[Callable[[], Any]], Any]


def in_thread(test: Callable[..., None]) -> Callable[..., Awaitable[None]]:
    """Has a test run in a thread, while the reactor serves grapes and Twisted's links."""

    @functools.wraps(test)
    async def wrapper(*args: object, **kwargs: object) -> None:
        await deferToThread(test, *args, **kwargs)

    return cast("Callable[..., Awaitable[None]]", pytest_twisted.ensureDeferred(wrapper))


class Waiting:
    """Wraps a link: each of its methods waits for its result; ``announcing`` is a context manager without ``async``.

    ``run`` calls a function where the link lives, and returns what it, or its coroutine or Deferred, returns.
    """

    def __init__(self, link: Any, run: Run) -> None:
        self.link = link
        self.run = run

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.link, name)
        return lambda *args, **kwargs: self.run(lambda: method(*args, **kwargs))

    @contextmanager
    def announcing(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        announcing = self.run(lambda: self.link.announcing(*args, **kwargs))
        if isinstance(self.link, blocking.Link):
            with announcing as begun:
                yield begun
            return
        yield self.run(announcing.__aenter__)
        self.run(lambda: announcing.__aexit__(None, None, None))


class Opened:
    """Opens links of one style, and closes them all at the end."""

    def __init__(self, style: str) -> None:
        self.style = style
        self._links: list[Waiting] = []
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def __call__(self, urls: str | list[str], **settings: Any) -> Waiting:
        """Opens a link."""
        if self.style == "blocking":
            opened = Waiting(blocking.Link(urls, **settings), lambda call: call())
        elif self.style == "asyncio":
            opened = Waiting(self._in_loop(lambda: aio.Link(urls, **settings)), self._in_loop)
        else:
            opened = Waiting(_in_reactor(lambda: twisted.Link(urls, **settings)), _in_reactor)
        self._links.append(opened)
        return opened

    def close(self) -> None:
        """Closes the links."""
        for link in self._links:
            link.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _in_loop(self, call: Callable[[], Any]) -> Any:
        async def called() -> Any:
            result = call()
            return await result if asyncio.iscoroutine(result) else result

        return asyncio.run_coroutine_threadsafe(called(), self._loop).result(SECONDS)


def _in_reactor(call: Callable[[], Any]) -> Any:
    from twisted.internet import reactor

    def called() -> Any:
        result = call()
        return Deferred.fromCoroutine(result) if asyncio.iscoroutine(result) else result

    return blockingCallFromThread(cast("Any", reactor), called)
