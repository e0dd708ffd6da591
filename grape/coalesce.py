"""One piece of work under way that several callers wait for; and work that tells a callback, as a Deferred."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

K = TypeVar("K")
T = TypeVar("T")
V = TypeVar("V")

log = Logger(namespace="grape")


class Cancellable(Protocol):
    """Work under way. Once it has ended, ``cancel`` does nothing."""

    def cancel(self) -> object: ...


def deferred(start: Callable[[Callable[[T | Failure], object]], Cancellable]) -> Deferred[T]:
    """The result that ``start(done)`` tells ``done``, or its Failure. What ``start`` raises is raised."""
    under_way: list[Cancellable] = []

    def cancel(_: Deferred[T]) -> None:
        under_way[0].cancel()

    result: Deferred[T] = Deferred(cancel)
    under_way.append(start(result.callback))
    return result


class _Caller(Generic[V]):
    """One of those who wait."""

    __slots__ = ("_shared", "done")

    def __init__(self, shared: _UnderWay[V], done: Callable[[V | Failure], object]) -> None:
        self._shared = shared
        self.done = done

    def cancel(self) -> None:
        self._shared.leave(self)


class _UnderWay(Generic[V]):
    """Work, and who waits for it."""

    __slots__ = ("_all", "_key", "callers", "work")

    def __init__(self, key: object, all_work: dict[Any, _UnderWay[V]]) -> None:
        self._key = key
        self._all = all_work
        self.callers: list[_Caller[V]] = []
        self.work: Cancellable | None = None

    def join(self, done: Callable[[V | Failure], object]) -> _Caller[V]:
        caller = _Caller(self, done)
        self.callers.append(caller)
        return caller

    def leave(self, caller: _Caller[V]) -> None:
        if caller in self.callers:
            self.callers.remove(caller)
            if not self.callers and self.work is not None:
                self.forget()
                self.work.cancel()

    def forget(self) -> None:
        """No longer be there for callers to come."""
        if self._all.get(self._key) is self:
            del self._all[self._key]


class Coalescer(Generic[K, T, V]):
    """Work by key: who asks for what is under way already waits for the same result, each with a view of his own."""

    def __init__(self, view: Callable[[T], V]) -> None:
        self._view = view
        self._under_way: dict[K, _UnderWay[V]] = {}

    def __len__(self) -> int:
        return len(self._under_way)

    def join(self, key: K, done: Callable[[V | Failure], object]) -> Cancellable | None:
        """Have ``done`` told the result of the work under way, or its Failure. None if there is none.

        Each caller can cancel; when the last one does, so is the work.
        """
        shared = self._under_way.get(key)
        return None if shared is None else shared.join(done)

    def start(
        self, key: K, start: Callable[[Callable[[T], None]], Cancellable], done: Callable[[V | Failure], object]
    ) -> Cancellable:
        """The same for the result that ``start(ended)`` tells ``ended``. What ``start`` raises is raised."""
        shared = self._under_way[key] = _UnderWay(key, self._under_way)
        caller = shared.join(done)

        def ended(result: T) -> None:
            shared.forget()
            while shared.callers:
                caller = shared.callers.pop(0)
                try:
                    caller.done(self._seen(result))
                except Exception:
                    # Whoever raises costs nobody else his answer.
                    log.failure("a result could not be told")

        try:
            shared.work = start(ended)
        except BaseException:
            shared.forget()
            shared.callers.clear()
            raise
        return caller

    def _seen(self, result: T) -> V | Failure:
        try:
            return self._view(result)
        except Exception:
            return Failure()
