"""Answers an operator's signals: HUP, USR1 and USR2 end nothing by accident, TERM and INT stop a process cleanly.

A handler of Python's runs between any two instructions: each only has the reactor call what answers the signal. Signals
that were ignored when the process started, as ``nohup`` has it, stay ignored.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol, TextIO, TypeAlias

import attrs
from twisted.internet.error import ReactorNotRunning
from twisted.logger import Logger

from grape.metrics import Stats

Frame: TypeAlias = object
TERMINAL_AT = 0

log = Logger(namespace="grape.daemon")


class RunningReactor(Protocol):
    """The part of a reactor that signals need."""

    def callFromThread(self, function: Callable[..., object], /, *arguments: object) -> object: ...

    def callWhenRunning(self, function: Callable[..., object], /, *arguments: object) -> object: ...

    def stop(self) -> object: ...


class Signals:
    """The signals of a process that runs a grape.

    ``log_file`` is a log file that USR1 reopens. With ``ends_by_signal`` TERM and INT are left to Twisted, which ends
    the process by the same signal once all is closed; otherwise its status is 0.
    """

    def __init__(
        self, reactor: RunningReactor, log_file: TextIO | None = None, *, ends_by_signal: bool = False
    ) -> None:
        self._reactor = reactor
        self._log_file = log_file
        self._ends_by_signal = ends_by_signal
        self._stats: Callable[[], Stats] | None = None
        self._hurry: Callable[[], object] = lambda: None
        #: Reads the settings again, for HUP; None: there is nothing to reload.
        self.reload: Callable[[], object] | None = None
        self._ignored: set[signal.Signals] = set()
        self._is_on_terminal = False
        self._is_stopping = False

    def install(self, stats: Callable[[], Stats], hurry: Callable[[], object] = lambda: None) -> None:
        """Answers signals from now on; ``stats()`` returns the figures for USR2. A second call changes nothing.

        ``hurry()`` is called when the process is told a second time to stop.

        A signal that somebody handles already, as twistd does USR1 where it logs to a file, is left to them. Has to
        be called before the reactor runs, in the main thread; in another one, where Python allows no handlers, it
        does nothing.
        """
        if self._stats is not None or threading.current_thread() is not threading.main_thread():
            return
        self._stats = stats
        self._hurry = hurry
        self._is_on_terminal = _is_terminal(TERMINAL_AT)
        for number, answer in (
            (signal.SIGHUP, self._hang_up),
            (signal.SIGUSR1, self._reopen_log),
            (signal.SIGUSR2, self._log_stats),
        ):
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, self._later(answer))
        ends = (signal.SIGTERM, signal.SIGINT)
        self._ignored = {number for number in ends if signal.getsignal(number) is signal.SIG_IGN}
        # A reactor sets handlers of its own when it begins to run.
        self._reactor.callWhenRunning(self._take_over, ends)

    def _later(self, answer: Callable[[], object]) -> Callable[[int, Frame], object]:
        return lambda number, frame: self._reactor.callFromThread(answer)

    def _take_over(self, ends: tuple[signal.Signals, ...]) -> None:
        for number in ends:
            handler = signal.getsignal(number)
            if number in self._ignored:
                signal.signal(number, signal.SIG_IGN)
            # Others than the reactor's are a debugger's.
            elif getattr(handler, "__self__", None) is self._reactor and callable(handler):
                signal.signal(number, self._stopper(number, handler if self._ends_by_signal else None))

    def _stopper(
        self, number: signal.Signals, handler: Callable[[int, None], object] | None
    ) -> Callable[[int, Frame], object]:
        """Returns the handler of a signal that stops the process; Twisted's own fails at a second signal."""

        def stop(_: int, frame: Frame) -> None:
            if self._is_stopping:
                self._reactor.callFromThread(self._hurry)
                return
            self._is_stopping = True
            if handler is not None:
                # It logs the name of the signal.
                handler(number, None)
            else:
                self._reactor.callFromThread(self._stop, f"{number.name}: stopping")

        return stop

    def _stop(self, line: str) -> None:
        _say(line)
        self._is_stopping = True
        with suppress(ReactorNotRunning):
            self._reactor.stop()

    def _hang_up(self) -> None:
        if self._is_stopping:
            return
        if self._is_on_terminal:
            self._stop("SIGHUP: stopping, since it was started on a terminal")
        elif self.reload is not None:
            self.reload()
        else:
            _say("SIGHUP: nothing to reload; goes on")

    def _reopen_log(self) -> None:
        if self._log_file is None:
            _say("SIGUSR1: no log file to reopen; goes on")
            return
        try:
            new = os.open(self._log_file.name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        except OSError as error:
            log.warn("SIGUSR1: log file {path} cannot be reopened: {error}; goes on in the old one",
                     path=self._log_file.name, error=error.strerror or error)  # fmt: skip
            return
        os.dup2(new, self._log_file.fileno(), inheritable=False)
        os.close(new)
        _say(f"SIGUSR1: log file {self._log_file.name} reopened")

    def _log_stats(self) -> None:
        assert self._stats is not None
        _say(f"SIGUSR2: {stats_line(self._stats())}")


def stats_line(stats: Stats) -> str:
    """Returns the figures as one line of NAME=VALUE, counters after the others, under their names in ``Stats``."""
    figures = attrs.asdict(stats)
    counters = figures.pop("counters")
    figures["buckets"] = ",".join(map(str, stats.buckets)) or None
    return " ".join(f"{name}={value}" for name, value in {**figures, **counters}.items())


def _is_terminal(descriptor: int) -> bool:
    try:
        return os.isatty(descriptor)
    except OSError:
        return False


def _say(line: str) -> None:
    # Each is an answer of its own: the same one twice is written twice.
    log.info("{line}", line=line, is_answer=True)
