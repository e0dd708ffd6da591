"""One piece of work under way that several callers wait for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from twisted.internet.defer import Deferred

K = TypeVar("K")
T = TypeVar("T")
V = TypeVar("V")


class Cancellable(Protocol):
    """Work under way."""

    def cancel(self) -> None: ...


class _UnderWay(Generic[K, T, V]):
    """Work, and who waits for it."""

    __slots__ = ("_all", "_key", "callers", "work")

    def __init__(self, key: K, all_work: dict[K, _UnderWay[K, T, V]]) -> None:
        self._key = key
        self._all = all_work
        self.callers: list[Deferred[V]] = []
        self.work: Cancellable | None = None

    def join(self) -> Deferred[V]:
        caller: Deferred[V] = Deferred(self._cancelled)
        self.callers.append(caller)
        return caller

    def leave(self) -> None:
        """No longer be there for callers to come."""
        if self._all.get(self._key) is self:
            del self._all[self._key]

    def _cancelled(self, caller: Deferred[V]) -> None:
        self.callers.remove(caller)
        if not self.callers and self._all.get(self._key) is self:
            self.leave()
            if self.work is not None:
                self.work.cancel()


class Shared(Generic[K, T, V]):
    """Work by key: who asks for what is under way already waits for the same result, each with a view of his own."""

    def __init__(self, view: Callable[[T], V]) -> None:
        self._view = view
        self._under_way: dict[K, _UnderWay[K, T, V]] = {}

    def __len__(self) -> int:
        return len(self._under_way)

    def join(self, key: K) -> Deferred[V] | None:
        """The result of the work under way, None if there is none.

        Each caller's Deferred can be cancelled; when the last one is, so is the work.
        """
        shared = self._under_way.get(key)
        return None if shared is None else shared.join()

    def start(self, key: K, start: Callable[[Callable[[T], None]], Cancellable]) -> Deferred[V]:
        """The result that ``start(done)`` tells ``done``. What ``start`` raises is raised."""
        shared = self._under_way[key] = _UnderWay(key, self._under_way)
        caller = shared.join()

        def done(result: T) -> None:
            shared.leave()
            while shared.callers:
                caller = shared.callers.pop(0)
                try:
                    view = self._view(result)
                except Exception:
                    caller.errback()
                else:
                    caller.callback(view)

        try:
            shared.work = start(done)
        except BaseException:
            shared.leave()
            shared.callers.clear()
            raise
        return caller
