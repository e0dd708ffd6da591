"""Keeps a service announced, as a Twisted service."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from grape.client.schedule import Schedule
from grape.errors import GrapeError
from grape.reactor import Clock, Timer

log = Logger(namespace="grape.client")


class Announcing(Service):
    """Announces a service again and again while it runs; withdraws it at the end, where the grape can do that.

    A child of your application's MultiService, or an asynchronous context manager that starts and stops it.
    ``announce`` and ``withdraw`` make the calls for the service that log lines call ``service``.
    """

    def __init__(
        self,
        service: str,
        announce: Callable[[], Deferred[int]],
        withdraw: Callable[[], Deferred[int]],
        schedule: Schedule,
        clock: Clock,
    ) -> None:
        self._service = service
        self._announce = announce
        self._withdraw = withdraw
        self._schedule = schedule
        self._clock = clock
        self._timer: Timer | None = None
        self._under_way: Deferred[None] | None = None
        self._error: Exception | None = None
        self._is_announced = False
        self._waiting: list[Deferred[None]] = []

    async def __aenter__(self) -> Self:
        """Starts; raises GrapeError if the first announce fails, and has not begun then."""
        self.startService()
        if self._under_way is not None:
            await self._under_way
        if self._error is not None:
            error = self._error
            await self.stopService()
            raise error
        return self

    async def __aexit__(self, *error: object) -> None:
        """Stops."""
        await self.stopService()

    @property
    def is_failing(self) -> bool:
        """True while the last announce has failed."""
        return self._schedule.failures > 0

    def startService(self) -> None:
        """Begins to announce. A failure is logged, and tried again after 0.5 s, 1 s, 2 s and so on."""
        if not self.running:
            super().startService()
            self._is_announced = False
            self._begin()

    def when_announced(self) -> Deferred[None]:
        """Returns a Deferred that fires once the service was announced; it is cancelled if this stops before."""
        waiting: Deferred[None] = Deferred(lambda gone: self._waiting.remove(gone))
        if self._is_announced:
            waiting.callback(None)
        else:
            self._waiting.append(waiting)
        return waiting

    def stopService(self) -> Deferred[None]:
        """Ends the repetition and withdraws the announce. The Deferred fires once that is tried, and never fails."""
        super().stopService()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for waiting in list(self._waiting):
            waiting.cancel()
        return Deferred.fromCoroutine(self._end())

    async def _end(self) -> None:
        # An announce under way would undo the withdrawal, and a grape makes it even if its client leaves.
        if self._under_way is not None:
            await self._under_way
        if self._is_announced:
            self._is_announced = False
            try:
                await self._withdraw()
            except GrapeError as error:
                log.debug("{service} is not withdrawn: {error}", service=self._service, error=error)

    def _begin(self) -> None:
        self._timer = None
        self._under_way = Deferred.fromCoroutine(self._once())

    async def _once(self) -> None:
        was_failing = self.is_failing
        try:
            await self._announce()
        except Exception as error:
            # Whatever it is, the service has to be found again once it is over.
            self._error, pause = error, self._schedule.failed()
            if not was_failing:
                log.warn(
                    "{service} cannot be announced, and is tried again: {error}", service=self._service, error=error
                )
        else:
            self._error, pause, self._is_announced = None, self._schedule.succeeded(), True
            if was_failing:
                log.warn("{service} is announced again", service=self._service)
            waiting, self._waiting = self._waiting, []
            for each in waiting:
                each.callback(None)
        if self.running:
            self._timer = self._clock.callLater(pause, self._begin)
