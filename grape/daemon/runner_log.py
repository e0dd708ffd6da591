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


def is_twist(runner: Options) -> bool:
    """Returns True for the options of twist, False for those of twistd."""
    return "fileLogObserverFactory" in runner


def log_of(config: Config, runner: Options | None, given: Collection[str]) -> ProcessLog:
    """Returns the log of a process; ``given`` are the settings that are not the default.

    ``runner`` has the options of twistd or twist, None under ``grape``.
    """
    form, levels = config.log_format, config.log_level
    if runner is not None and is_twist(runner):
        form = form or str(runner["logFormat"])
        level = runner["logLevel"]
        if "log_level" not in given and isinstance(level, type(LogLevel.info)):
            levels = (level.name,)
    return ProcessLog(form, levels)


def take_over_twist(runner: Options, log: ProcessLog) -> None:
    """Has twist, which makes its observer after the service, make ours."""
    runner["fileLogObserverFactory"] = log.observer
    # It filters once more, by this level.
    runner["logLevel"] = LogLevel.debug


def observer_for_twistd(runner: Options, log: ProcessLog) -> ILogObserver | None:
    """Returns the observer that twistd is to use; None where ``--logger`` names one, or it will refuse to log.

    twistd takes it as a component of the application (``Daemon.log_observer``).
    """
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
