"""What waits for the end of a single query: transactions.Outcome."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred

from grape.dht.compact import Address
from grape.dht.errors import QueryFailed
from grape.dht.messages import Response
from grape.dht.transactions import Pending


class Question:
    """The outcome of a single query, as a Deferred."""

    def __init__(self) -> None:
        self.result: Deferred[Response] = Deferred()

    def answered(self, pending: Pending, response: Response) -> None:
        if not self.result.called:
            self.result.callback(response)

    def slow(self, pending: Pending) -> None:
        """A single query waits for its time-out."""

    def failed(self, pending: Pending, reason: QueryFailed) -> None:
        if not self.result.called:
            self.result.errback(reason)


class LivenessCheck:
    """The outcome of a ping whose only effect is on the routing table."""

    __slots__ = ("_on_failure", "_verifying")

    def __init__(self, verifying: set[Address], on_failure: Callable[[], object]) -> None:
        self._verifying = verifying
        self._on_failure = on_failure

    def answered(self, pending: Pending, response: Response) -> None:
        self._verifying.discard(pending.address)

    def slow(self, pending: Pending) -> None:
        """It has until the time-out."""

    def failed(self, pending: Pending, reason: QueryFailed) -> None:
        self._verifying.discard(pending.address)
        # A datagram may have been lost: when it asks again, so do we.
        self._on_failure()
