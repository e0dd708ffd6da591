"""Keeps a service announced by a task, for asyncio's link."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Self

from grape.client.schedule import Schedule
from grape.errors import GrapeError

log = logging.getLogger("grape.client")


class Announcing:
    """Announces a service again and again between ``start`` and ``stop``; a context manager that makes both calls.

    ``announce`` and ``withdraw`` make the calls for the service that log lines call ``service``.
    """

    def __init__(
        self,
        service: str,
        announce: Callable[[], Awaitable[int]],
        withdraw: Callable[[], Awaitable[int]],
        schedule: Schedule,
    ) -> None:
        self._service = service
        self._announce = announce
        self._withdraw = withdraw
        self._schedule = schedule
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Starts; raises GrapeError if the first announce fails."""
        await self.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        """Stops."""
        await self.stop()

    @property
    def is_failing(self) -> bool:
        """True while the last announce has failed."""
        return self._schedule.failures > 0

    async def start(self) -> None:
        """Announces the service, and has it repeated. Raises GrapeError if this announce fails; it has not begun then.

        Raises RuntimeError if it has begun already.
        """
        if self._task is not None:
            raise RuntimeError(f"{self._service} is being announced already")
        await self._announce()
        self._stopping.clear()
        self._task = asyncio.ensure_future(self._repeat(self._schedule.succeeded()))

    async def stop(self) -> None:
        """Ends the repetition, and withdraws the announce where the grape can do that. Raises no error."""
        task, self._task = self._task, None
        if task is None:
            return
        self._stopping.set()
        # An announce under way would undo the withdrawal, and a grape makes it even if its client leaves.
        await asyncio.wait([task])
        try:
            await self._withdraw()
        except GrapeError as error:
            log.debug("%s is not withdrawn: %s", self._service, error)

    async def _repeat(self, pause: float) -> None:
        while not await self._is_stopped_within(pause):
            was_failing = self.is_failing
            try:
                await self._announce()
            except Exception as error:
                # Whatever it is, the service has to be found again once it is over.
                pause = self._schedule.failed()
                if not was_failing:
                    log.warning("%s cannot be announced, and is tried again: %s", self._service, error)
            else:
                pause = self._schedule.succeeded()
                if was_failing:
                    log.warning("%s is announced again", self._service)

    async def _is_stopped_within(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return False
        return True
