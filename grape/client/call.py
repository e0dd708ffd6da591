"""Drives one call as a machine without I/O: which grapes are asked, when another one is, and how it ends.

Whoever runs it sends each ``Attempt`` that a method returns, tells what became of it, and calls ``woken`` at
``wake_at``. A grape that fails, or says that it cannot serve the call, is followed by the next one at once; one that is
slow by the next one beside it. When all have failed, they are asked again, a few times, until the deadline.
"""

from __future__ import annotations

from typing import Generic, TypeVar

import attrs

from grape.client.answers import PAYLOAD_INVALID, Answer
from grape.client.errors import AnswerError, DeadlineError, NotSupportedError, SignatureError, UnreachableError
from grape.client.grapes import Grapes
from grape.client.requests import Request
from grape.errors import GrapeError

T = TypeVar("T")

# How long a call waits before it asks grapes again that all failed. There are no more rounds than these and the first.
PAUSES_SECONDS = (0.05, 0.2, 0.5)
# Statuses and codes of a grape that works, but cannot serve this call, where another grape may.
ELSEWHERE_STATUSES = frozenset({401, 403, 404, 429})
ELSEWHERE_CODES = frozenset({"No nodes to query", "All queries failed"})


@attrs.frozen
class Attempt:
    """Holds what has to be sent to one grape: ``url`` is whole; an answer is of use for ``seconds``."""

    number: int
    method: str
    url: str
    body: bytes
    seconds: float


@attrs.define
class _Open:
    """Holds an attempt that has no answer yet: the grape that was asked, and when."""

    grape: str
    since: float


class Call(Generic[T]):
    """One call, from its request to its result or error, between its start and ``deadline``.

    ``slow_after`` is how many seconds a grape may take before another one is asked beside it.
    """

    def __init__(self, request: Request[T], grapes: Grapes, rid: str, deadline: float, slow_after: float) -> None:
        self._request = request
        self._grapes = grapes
        self._body = request.body(rid)
        self._deadline = deadline
        self._slow_after = slow_after
        self._open: dict[int, _Open] = {}
        self._number = 0
        self._round = 0
        self._asked: set[str] = set()
        # Grapes that answered that they cannot serve it: they are not asked again.
        self._declined: set[str] = set()
        self._refusal: GrapeError | None = None
        self._failures: list[str] = []
        self._hedge_at: float | None = None
        self._again_at: float | None = None
        self._result: list[T] = []
        self._error: GrapeError | None = None

    @property
    def is_over(self) -> bool:
        """True once there is a result or an error; attempts that are open then are to be given up."""
        return bool(self._result) or self._error is not None

    @property
    def result(self) -> T:
        """The result, once the call is over. Raises the error if it failed."""
        if self._error is not None:
            raise self._error
        return self._result[0]

    @property
    def wake_at(self) -> float:
        """The time at which ``woken`` has to be called, unless something happens before."""
        return min(at for at in (self._deadline, self._hedge_at, self._again_at) if at is not None)

    def start(self, now: float) -> list[Attempt]:
        """Begins the call."""
        return self._ask(now)

    def told(self, number: int, answer: Answer | str, now: float) -> list[Attempt]:
        """Takes the answer to an attempt, or as a text what the transport says of one that had no answer."""
        attempt = self._open.pop(number, None)
        if attempt is None or self.is_over:
            return []
        if isinstance(answer, str):
            self._failures.append(f"{attempt.grape}: {answer}")
            self._grapes.failed(attempt.grape, now)
            return self._go_on(now)
        try:
            result = self._request.read(answer)
        except GrapeError as error:
            return self._refused(attempt.grape, error, now)
        self._grapes.succeeded(attempt.grape)
        self._leave_slow_alone(now)
        self._result.append(result)
        return []

    def woken(self, now: float) -> list[Attempt]:
        """Takes that it is ``wake_at``, or later."""
        if self.is_over:
            return []
        if now >= self._deadline:
            for attempt in self._open.values():
                self._failures.append(f"{attempt.grape}: no answer within {now - attempt.since:.1f} s")
                self._grapes.failed(attempt.grape, now)
            self._error = self._refusal or DeadlineError(self._failures)
            return []
        if self._again_at is not None and now >= self._again_at:
            self._again_at = None
            self._asked.clear()
            return self._ask(now)
        if self._hedge_at is not None and now >= self._hedge_at:
            return self._ask(now)
        return []

    def _ask(self, now: float) -> list[Attempt]:
        grape = self._grapes.choose(now, self._request.is_own, self._asked | self._declined)
        self._hedge_at = None
        if grape is None:
            return []
        self._asked.add(grape)
        self._number += 1
        self._open[self._number] = _Open(grape, now)
        if self._grapes.choose(now, self._request.is_own, self._asked | self._declined) is not None:
            self._hedge_at = now + self._slow_after
        url = grape + self._request.path
        return [Attempt(self._number, self._request.method, url, self._body, max(self._deadline - now, 0.0))]

    def _refused(self, grape: str, error: GrapeError, now: float) -> list[Attempt]:
        if _may_do_elsewhere(error):
            self._grapes.succeeded(grape)
            self._declined.add(grape)
        elif isinstance(error, AnswerError) or (error.status >= 500 and error.code != PAYLOAD_INVALID):
            self._grapes.failed(grape, now)
            self._failures.append(f"{grape}: {error}")
        else:
            self._grapes.succeeded(grape)
            self._error = error
            return []
        self._refusal = error
        return self._go_on(now)

    def _go_on(self, now: float) -> list[Attempt]:
        attempts = self._ask(now)
        if attempts or self._open:
            return attempts
        if self._asked - self._declined and self._round < len(PAUSES_SECONDS):
            self._again_at = now + PAUSES_SECONDS[self._round]
            self._round += 1
            return []
        self._error = self._refusal or UnreachableError(self._failures)
        return []

    def _leave_slow_alone(self, now: float) -> None:
        for attempt in self._open.values():
            if now - attempt.since >= self._slow_after:
                self._grapes.failed(attempt.grape, now)


def _may_do_elsewhere(error: GrapeError) -> bool:
    return (
        isinstance(error, (NotSupportedError, SignatureError))
        or error.status in ELSEWHERE_STATUSES
        or (error.status == 200 and error.code in ELSEWHERE_CODES)
    )
