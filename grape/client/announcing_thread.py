"""Keeps a service announced by a thread, for the blocking link."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Event, Thread
from typing import Self

from grape.client.schedule import Schedule
from grape.errors import GrapeError

log = logging.getLogger("grape.client")


class Announcing:
    """Announces a service again and again between ``start`` and ``stop``; a context manager that makes both calls.

    ``announce`` and ``withdraw`` make the calls for the service that log lines call ``service``. The thread is a
    daemon: a program that ends without ``stop`` leaves its announces to expire.
    """

    def __init__(
        self, service: str, announce: Callable[[], int], withdraw: Callable[[], int], schedule: Schedule
    ) -> None:
        self._service = service
        self._announce = announce
        self._withdraw = withdraw
        self._schedule = schedule
        self._stopping = Event()
        self._thread: Thread | None = None

    def __enter__(self) -> Self:
        """Starts; raises GrapeError if the first announce fails."""
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Stops."""
        self.stop()

    @property
    def is_failing(self) -> bool:
        """True while the last announce has failed."""
        return self._schedule.failures > 0

    def start(self) -> None:
        """Announces the service, and has it repeated. Raises GrapeError if this announce fails; it has not begun then.

        Raises RuntimeError if it has begun already.
        """
        if self._thread is not None:
            raise RuntimeError(f"{self._service} is being announced already")
        self._announce()
        self._stopping.clear()
        thread = self._thread = Thread(
            target=self._repeat, args=(self._schedule.succeeded(),), name=f"announcing {self._service}", daemon=True
        )
        thread.start()

    def stop(self) -> None:
        """Ends the repetition, and withdraws the announce where the grape can do that. Never raises."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._stopping.set()
        # An announce under way would undo the withdrawal.
        thread.join()
        try:
            self._withdraw()
        except GrapeError as error:
            log.debug("%s is not withdrawn: %s", self._service, error)

    def _repeat(self, pause: float) -> None:
        while not self._stopping.wait(pause):
            was_failing = self.is_failing
            try:
                self._announce()
            except Exception as error:
                # Whatever it is, the service has to be found again once it is over.
                pause = self._schedule.failed()
                if not was_failing:
                    log.warning("%s cannot be announced, and is tried again: %s", self._service, error)
            else:
                pause = self._schedule.succeeded()
                if was_failing:
                    log.warning("%s is announced again", self._service)
