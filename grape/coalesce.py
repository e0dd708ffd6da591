"""Lets equal callers wait for one piece of work; turns work that reports to a callback into a Deferred."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

K = TypeVar("K")
T = TypeVar("T")
V = TypeVar("V")

log = Logger(namespace="grape.node")


class Cancellable(Protocol):
    """Work that can be ended before it has a result, such as a lookup or a write in flight."""

    def cancel(self) -> object:
        """Ends the work without a result. Does nothing once it has ended."""


class Ended:
    """The handle of work that has ended."""

    def cancel(self) -> None:
        """Does nothing."""


def deferred(start: Callable[[Callable[[T | Failure], object]], Cancellable]) -> Deferred[T]:
    """Begins work by ``start(done)`` and returns a Deferred of the result or Failure that ``done`` is called with.

    Cancelling the Deferred cancels the work. Raises what ``start`` raises.
    """
    under_way: list[Cancellable] = []
    result: Deferred[T] = Deferred(partial(_cancel, under_way))
    under_way.append(start(result.callback))
    return result


def _cancel(under_way: list[Cancellable], _: object) -> None:
    under_way[0].cancel()


class _Caller(Generic[V]):
    """Holds the callback of one caller of a piece of work, and cancels the wait."""

    __slots__ = ("_work", "done")

    def __init__(self, work: _Work[Any, V], done: Callable[[V | Failure], object]) -> None:
        self._work = work
        self.done = done

    def cancel(self) -> None:
        """Waits no longer; cancels the work if no other caller waits for it."""
        self._work.leave(self)


class _Work(Generic[T, V]):
    """Keeps the callers that wait for one piece of work, and cancels the work when the last of them leaves."""

    __slots__ = ("_by_key", "_key", "_view", "callers", "under_way")

    def __init__(self, key: object, by_key: dict[Any, _Work[T, V]], view: Callable[[T], V]) -> None:
        self._key = key
        self._by_key = by_key
        self._view = view
        self.callers: list[_Caller[V]] = []
        self.under_way: Cancellable | None = None

    def leave(self, caller: _Caller[V]) -> None:
        """Removes a caller; the last one cancels the work."""
        if caller in self.callers:
            self.callers.remove(caller)
            if not self.callers and self.under_way is not None:
                self.forget()
                self.under_way.cancel()

    def forget(self) -> None:
        """Takes no more callers."""
        if self._by_key.get(self._key) is self:
            del self._by_key[self._key]

    def ended(self, result: T | Failure) -> None:
        """Gives every caller the result, as its view, or the Failure."""
        self.forget()
        callers = self.callers
        while callers:
            caller = callers.pop(0)
            try:
                caller.done(self._viewed(result))
            except Exception:
                # The other callers still get their result.
                log.failure("callback {callback} for the result of a shared call raised", callback=caller.done)

    def _viewed(self, result: T | Failure) -> V | Failure:
        if isinstance(result, Failure):
            return result
        try:
            return self._view(result)
        except Exception:
            return Failure()


class Coalescer(Generic[K, T, V]):
    """Runs one piece of work for all callers with the same key; each gets ``view(result)``, computed for it alone."""

    def __init__(self, view: Callable[[T], V]) -> None:
        self._view = view
        self._by_key: dict[K, _Work[T, V]] = {}

    def __len__(self) -> int:
        """Returns how many pieces of work are under way."""
        return len(self._by_key)

    def join(self, key: K, done: Callable[[V | Failure], object]) -> Cancellable | None:
        """Waits for the work under way for ``key``: ``done`` is called with its result or Failure.

        Returns the caller's handle: when every caller has cancelled, so is the work. Returns None if there is no such
        work.
        """
        work = self._by_key.get(key)
        if work is None:
            return None
        caller = _Caller(work, done)
        work.callers.append(caller)
        return caller

    def start(
        self,
        key: K,
        start: Callable[[Callable[[T | Failure], None]], Cancellable],
        done: Callable[[V | Failure], object],
    ) -> Cancellable:
        """Begins work for ``key`` by ``start(ended)``, and waits for it as ``join`` does. Raises what that raises.

        ``ended`` takes the result, or a Failure, which every caller gets.
        """
        work = self._by_key[key] = _Work(key, self._by_key, self._view)
        caller = _Caller(work, done)
        work.callers.append(caller)
        try:
            work.under_way = start(work.ended)
        except BaseException:
            work.forget()
            work.callers.clear()
            raise
        return caller
