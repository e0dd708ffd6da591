"""Puts a grape's log in the place of those that twistd and twist make, with their targets.

The options of both say where the log goes. Their ``--logger`` and twist's ``--log-level`` and ``--log-format`` hold
where the grape's own flags say nothing else.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Collection, MutableMapping
from typing import TYPE_CHECKING, cast

from twisted.logger import ILogObserver, LegacyLogObserverWrapper, LogLevel

from grape.config import Config
from grape.logs.process import ProcessLog

if TYPE_CHECKING:
    from twisted.python.log import ILogObserver as OldObserver
    from twisted.python.logfile import LogFile

Options = MutableMapping[str, object]


def take_over(config: Config, runner: Options, given: Collection[str]) -> tuple[ProcessLog, ILogObserver | None]:
    """Returns the log of a process that ``runner``, the options of twistd or twist, has set up.

    ``given`` are the settings that are not the default. twist, which makes its observer later, makes ours. For twistd
    the observer is returned, too: it takes it as a component of the application (``Daemon.log_observer``).
    """
    if "fileLogObserverFactory" not in runner:
        log = ProcessLog(config.log_format, config.log_level)
        return log, _observer_for_twistd(runner, log)
    levels = config.log_level if "log_level" in given else (cast("LogLevel", runner["logLevel"]).name,)
    log = ProcessLog(config.log_format or str(runner["logFormat"]), levels)
    runner["fileLogObserverFactory"] = log.observer
    # twist filters once more, by this level.
    runner["logLevel"] = LogLevel.debug
    return log, None


def _observer_for_twistd(runner: Options, log: ProcessLog) -> ILogObserver | None:
    """Returns the observer that twistd is to use; None where ``--logger`` names one, or it will refuse to log."""
    if runner.get("logger"):
        return None
    if runner.get("syslog"):
        from twisted.python.syslog import SyslogObserver

        # Of Twisted's old kind, which its wrapper takes.
        syslog = SyslogObserver(str(runner.get("prefix") or "twisted"))
        return log.filtering(LegacyLogObserverWrapper(cast("OldObserver", syslog.emit)))
    name, stays = str(runner.get("logfile") or ""), bool(runner.get("nodaemon"))
    if name == "-" and not stays:
        return None
    if name == "-" or (stays and not name):
        return log.observer(sys.stdout)
    from twisted.python.logfile import LogFile

    file = LogFile.fromFullPath(name or "twistd.log")
    _rotate_by_signal(file)
    return log.observer(file)


def _rotate_by_signal(file: LogFile) -> None:
    """Has USR1 rotate the file, as twistd does, unless somebody handles the signal."""

    def rotate(number: int, frame: object) -> None:
        from twisted.internet import reactor

        reactor.callFromThread(file.rotate)  # type: ignore[attr-defined]

    if signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL:
        signal.signal(signal.SIGUSR1, rotate)
