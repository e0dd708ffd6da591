"""Counts lines of the log that repeat within a minute, instead of writing each."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TypeAlias

from twisted.logger import ILogObserver, LogEvent, LogLevel, eventAsText
from zope.interface import implementer

REPEAT_SECONDS = 60.0
# Lines that are remembered at once.
MAX_LINES = 256

CallLater: TypeAlias = "Callable[[float, Callable[[], object]], object]"


class RepeatCounter:
    """Tells which lines to write: one that was written less than ``seconds`` ago is counted instead."""

    def __init__(self, seconds: float = REPEAT_SECONDS, max_lines: int = MAX_LINES) -> None:
        self._seconds = seconds
        self._max_lines = max_lines
        # When each line was written, in seconds, the oldest first, and how often it was held back since.
        self._written: dict[str, tuple[float, int]] = {}

    def is_new(self, line: str, now: float) -> bool:
        """Returns True if the line is to be written; counts it otherwise. Call ``finished`` before."""
        if line in self._written:
            at, repeats = self._written[line]
            self._written[line] = at, repeats + 1
            return False
        self._written[line] = now, 0
        return True

    def finished(self, now: float) -> list[tuple[str, int]]:
        """Returns the lines whose time is over, each with how often it was held back, and forgets them.

        Those that were not repeated are left out. Above ``max_lines`` the oldest line's time is over, too.
        """
        over = []
        while self._written:
            line, (at, repeats) = next(iter(self._written.items()))
            if now - at < self._seconds and len(self._written) <= self._max_lines:
                break
            del self._written[line]
            if repeats:
                over.append((line, repeats))
        return over


@implementer(ILogObserver)
class RepeatFilter:
    """Passes events to ``observer``, and one in the place of all that repeat a line within a minute.

    ``clock()`` returns seconds. An event with ``is_answer=True`` is passed always.
    """

    def __init__(self, observer: ILogObserver, clock: Callable[[], float] = time.monotonic) -> None:
        self._observer = observer
        self._clock = clock
        self._lines = RepeatCounter()
        # The last event of each line that was held back.
        self._held: dict[str, LogEvent] = {}
        self._call_later: CallLater | None = None
        self._is_timed = False

    def __call__(self, event: LogEvent) -> None:
        """Passes an event, or counts it."""
        self.flush()
        line = eventAsText(event, includeTimestamp=False, includeSystem=False)
        if event.get("is_answer") or self._lines.is_new(line, self._clock()):
            self._observer(event)
            return
        self._held[line] = event
        self._flush_in_time()

    def flush_by(self, call_later: CallLater) -> None:
        """Has the counts written in time also if nothing else is logged; ``call_later`` is that of a reactor."""
        self._call_later = call_later

    def flush(self, *, at_end: bool = False) -> None:
        """Passes the counts of lines whose minute is over, ``at_end`` those of all."""
        for line, repeats in self._lines.finished(math.inf if at_end else self._clock()):
            event = self._held.pop(line)
            self._observer(
                {
                    "log_format": "repeated {repeats} times: {line}",
                    "log_level": event.get("log_level", LogLevel.info),
                    "log_namespace": event.get("log_namespace", "grape"),
                    "log_time": event.get("log_time"),
                    "log_source": None,
                    "line": line.partition("\n")[0],
                    "repeats": repeats,
                }
            )

    def _flush_in_time(self) -> None:
        if self._held and self._call_later is not None and not self._is_timed:
            self._is_timed = True
            self._call_later(REPEAT_SECONDS, self._time_over)

    def _time_over(self) -> None:
        self._is_timed = False
        self.flush()
        self._flush_in_time()
