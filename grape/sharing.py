"""One piece of work under way that several callers wait for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from twisted.internet.defer import Deferred

K = TypeVar("K")
T = TypeVar("T")


class Cancellable(Protocol):
    """Work under way."""

    def cancel(self) -> None: ...


class _UnderWay(Generic[T]):
    """Work, and who waits for it."""

    __slots__ = ("callers", "work")

    def __init__(self) -> None:
        self.callers: list[Deferred[T]] = []
        self.work: Cancellable | None = None


class Shared(Generic[K, T]):
    """Work by key: who asks for what is under way already waits for the same result."""

    def __init__(self) -> None:
        self._under_way: dict[K, _UnderWay[T]] = {}

    def __len__(self) -> int:
        return len(self._under_way)

    def run(self, key: K, start: Callable[[Callable[[T], None]], Cancellable]) -> Deferred[T]:
        """The result that ``start(done)`` tells ``done``, or that of the equal work under way.

        Each caller's Deferred can be cancelled; when the last one is, so is the work. What ``start`` raises is raised.
        """
        shared = self._under_way.get(key)
        is_new = shared is None
        if shared is None:
            shared = self._under_way[key] = _UnderWay()
        callers = shared.callers

        def cancel(caller: Deferred[T]) -> None:
            callers.remove(caller)
            if not callers and self._under_way.get(key) is shared:
                del self._under_way[key]
                if shared.work is not None:
                    shared.work.cancel()

        caller: Deferred[T] = Deferred(cancel)
        callers.append(caller)
        if is_new:
            try:
                shared.work = start(lambda result: self._finish(key, shared, result))
            except BaseException:
                del self._under_way[key]
                callers.clear()
                raise
        return caller

    def _finish(self, key: K, shared: _UnderWay[T], result: T) -> None:
        if self._under_way.get(key) is shared:
            del self._under_way[key]
        while shared.callers:
            shared.callers.pop(0).callback(result)
