"""The log of a process of its own: which lines, in which form, to which file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from twisted.logger import FilteringLogObserver, ILogObserver, LogEvent, globalLogBeginner
from zope.interface import implementer

from grape.logs.levels import Levels
from grape.logs.lines import json_line, text_line, with_priority
from grape.logs.repeats import CallLater, RepeatFilter

if TYPE_CHECKING:
    from typing import Protocol

    class Target(Protocol):
        """Takes lines: a text stream or twisted.python.logfile.LogFile."""

        def write(self, text: str, /) -> object: ...

        def flush(self) -> object: ...


class ProcessLog:
    """Makes observers that write the lines of ``levels`` as ``form``: "text", "json", or None for what suits the file.

    That is text on a terminal, and JSON anywhere else. ``environment`` has NO_COLOR, TERM and JOURNAL_STREAM.
    """

    def __init__(self, form: str | None, levels: Iterable[str], environment: Mapping[str, str] = os.environ) -> None:
        self._form = form
        self._environment = environment
        self._repeats: list[RepeatFilter] = []
        self._call_later: CallLater | None = None
        self.levels = Levels(levels)

    def begin(self, file: Target) -> None:
        """Begins the process's log in a file; what is printed stays where it is."""
        globalLogBeginner.beginLoggingTo([self.observer(file)], redirectStandardIO=False)

    def observer(self, file: Target) -> ILogObserver:
        """Returns an observer that writes to a file."""
        return self.filtering(LineObserver(file, self._render(file)))

    def filtering(self, observer: ILogObserver) -> ILogObserver:
        """Returns an observer that passes the events of the levels, and counts repeated ones."""
        repeats = RepeatFilter(observer)
        if self._call_later is not None:
            repeats.flush_by(self._call_later)
        self._repeats.append(repeats)
        return FilteringLogObserver(repeats, [self.levels])

    def flush_by(self, call_later: CallLater) -> None:
        """Has the counts of repeated lines written in time also if nothing else is logged."""
        self._call_later = call_later
        for repeats in self._repeats:
            repeats.flush_by(call_later)

    def flush(self) -> None:
        """Writes the counts of all repeated lines: the process ends."""
        for repeats in self._repeats:
            repeats.flush(at_end=True)

    def _render(self, file: Target) -> Callable[[LogEvent], str]:
        is_terminal = _is_terminal(file)
        is_journal = is_journald(file, self._environment)
        if (self._form or ("text" if is_terminal else "json")) == "json":
            return (lambda event: with_priority(json_line(event), event)) if is_journal else json_line
        if is_journal:
            # The journal has the time itself.
            return lambda event: with_priority(text_line(event, has_time=False), event)
        is_coloured = is_terminal and not self._environment.get("NO_COLOR") and self._environment.get("TERM") != "dumb"
        return lambda event: text_line(event, is_coloured=is_coloured)


@implementer(ILogObserver)
class LineObserver:
    """Writes each event to a file as ``render`` makes a line of it; "" is left out. A file that fails is ignored."""

    def __init__(self, file: Target, render: Callable[[LogEvent], str]) -> None:
        self._file = file
        self._render = render

    def __call__(self, event: LogEvent) -> None:
        """Writes an event."""
        line = self._render(event)
        if line:
            # The terminal may be closed, the disk full; then nobody reads it.
            with suppress(OSError, ValueError):
                self._file.write(f"{line}\n")
                self._file.flush()


def is_journald(file: Target, environment: Mapping[str, str]) -> bool:
    """Returns True if a file is the stream to journald, of which JOURNAL_STREAM has device and inode."""
    stream = environment.get("JOURNAL_STREAM", "")
    fileno = getattr(file, "fileno", None)
    if not stream or fileno is None:
        return False
    try:
        status = os.fstat(fileno())
    except (OSError, ValueError):
        return False
    return stream == f"{status.st_dev}:{status.st_ino}"


def _is_terminal(file: Target) -> bool:
    isatty = getattr(file, "isatty", None)
    try:
        return isatty is not None and bool(isatty())
    except ValueError:
        return False
