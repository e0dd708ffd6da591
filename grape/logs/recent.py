"""Remembers the last lines of the log that are warnings or worse, for those who look at a running grape."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple, Protocol

from twisted.logger import ILogObserver, LogEvent, LogLevel, eventAsText, globalLogPublisher
from zope.interface import implementer

from grape.logs.lines import level_of

MAX_LINES = 50
MAX_CHARACTERS = 500
_LEVELS = (LogLevel.warn, LogLevel.error, LogLevel.critical)


class Line(NamedTuple):
    """A line of the log."""

    #: Counts up from 1 with each line.
    number: int
    #: Seconds since 1970.
    time: float
    #: "warn", "error" or "critical".
    level: str
    #: The name of the package that wrote it, "-" if it has none.
    logger: str
    #: At most MAX_CHARACTERS, without a traceback.
    text: str


class Publisher(Protocol):
    """Where events come from: twisted.logger's LogPublisher."""

    def addObserver(self, observer: ILogObserver) -> object: ...

    def removeObserver(self, observer: ILogObserver) -> object: ...


@implementer(ILogObserver)
class RecentLines:
    """Remembers the last MAX_LINES warnings and errors while it is open.

    Without ``is_whole`` only those of the grape's own packages: the log of a program that embeds a grape is not to be
    shown by it.
    """

    def __init__(self, *, is_whole: bool = False, publisher: Publisher = globalLogPublisher) -> None:
        self._is_whole = is_whole
        self._publisher = publisher
        self._open = 0
        self._number = 0
        self._lines: deque[Line] = deque(maxlen=MAX_LINES)

    def open(self) -> None:
        """Remembers lines from now on, until ``close`` was called as often."""
        self._open += 1
        if self._open == 1:
            self._publisher.addObserver(self)

    def close(self) -> None:
        """Forgets all lines, once all who opened it have closed it."""
        self._open -= 1
        if not self._open:
            self._publisher.removeObserver(self)
            self._lines.clear()

    def after(self, number: int) -> list[Line]:
        """Returns the lines that came after the one with a number, the oldest first."""
        return [line for line in self._lines if line.number > number]

    def __call__(self, event: LogEvent) -> None:
        """Takes an event."""
        level, logger = level_of(event), str(event.get("log_namespace", "-"))
        if level not in _LEVELS or not (self._is_whole or logger.startswith("grape.")):
            return
        text = eventAsText(event, includeTraceback=False, includeTimestamp=False, includeSystem=False)
        failure = event.get("log_failure")
        if failure is not None:
            text = f"{text}: {failure.type.__name__}" if text else failure.type.__name__
        if text:
            self._number += 1
            time = event.get("log_time")
            at = float(time) if isinstance(time, (int, float)) else 0.0
            self._lines.append(Line(self._number, at, level.name, logger, text[:MAX_CHARACTERS]))
