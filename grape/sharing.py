"""One piece of work under way that several callers wait for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

K = TypeVar("K")
T = TypeVar("T")


class Shared(Generic[K, T]):
    """Work by key: who asks for what is under way already waits for the same result."""

    def __init__(self) -> None:
        self._waiting: dict[K, list[Deferred[T]]] = {}
        self._work: dict[K, Deferred[T]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def run(self, key: K, start: Callable[[], Deferred[T]]) -> Deferred[T]:
        """The result of ``start()``, or of the equal work under way.

        Each caller's Deferred can be cancelled; when the last one is, so is the work.
        """

        under_way = self._waiting.get(key)
        waiting: list[Deferred[T]] = [] if under_way is None else under_way

        def cancel(caller: Deferred[T]) -> None:
            waiting.remove(caller)
            if not waiting and self._waiting.get(key) is waiting:
                del self._waiting[key]
                self._work.pop(key).cancel()

        caller: Deferred[T] = Deferred(cancel)
        waiting.append(caller)
        if under_way is None:
            self._waiting[key] = waiting
            try:
                work = start()
            except Exception:
                work = fail()
            if self._waiting.get(key) is waiting:
                self._work[key] = work
            work.addBoth(self._finish, key, waiting)
        return caller

    def _finish(self, result: T | Failure, key: K, waiting: list[Deferred[T]]) -> None:
        if self._waiting.get(key) is waiting:
            del self._waiting[key]
            self._work.pop(key, None)
        # A failure without waiters is a cancelled work's own: it has been said already.
        while waiting:
            caller = waiting.pop(0)
            if isinstance(result, Failure):
                caller.errback(result)
            else:
                caller.callback(result)
