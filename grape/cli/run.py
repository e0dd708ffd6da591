"""The console command ``grape``: the plugin's service without twistd's pid file, plugin scan and tracebacks."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from typing import Any

from twisted.logger import (
    FileLogObserver,
    FilteringLogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    eventAsText,
    globalLogBeginner,
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a grape until a signal ends it, or do what ``state`` asks (see grape.cli.state).

    ``arguments`` are those of the command line, without its name.
    """
    words = sys.argv[1:] if arguments is None else arguments
    if words[:1] == ["state"]:
        # Only then: the grape itself has no use for it, nor it for the reactor.
        from grape.cli import state as state_cli

        raise SystemExit(state_cli.main(words[1:]))
    # First, as what follows loads Twisted's TCP.
    _without_tls()
    from grape.tap import Options, makeService

    options = Options()
    options.parseOptions(words)
    _log_to_stderr()
    service = makeService(options)
    from twisted.internet import reactor as global_reactor

    reactor: Any = global_reactor
    service.privilegedStartService()
    service.startService()
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    reactor.callWhenRunning(_stop_on_signals, reactor)
    reactor.run()


def _without_tls() -> None:
    """Have Twisted take it that pyOpenSSL is not installed, as it may be: a grape speaks no TLS.

    Twisted's TCP loads it where it is, a fifth of the process: 12 MB and 40 ms. Without effect once it is loaded.
    """
    # None is how Python marks a module that is not to be had.
    sys.modules.setdefault("OpenSSL", None)  # type: ignore[arg-type]


def _stop_on_signals(reactor: Any) -> None:
    """Stop cleanly, with status 0, at the first signal; Twisted's own handlers fail at a second one."""
    stopping: list[int] = []

    def stop(number: int, _: object) -> None:
        if not stopping:
            stopping.append(number)
            reactor.callFromThread(reactor.stop)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)


def _log_to_stderr() -> None:
    levels = LogLevelFilterPredicate(defaultLogLevel=LogLevel.info)
    # twisted.web tells of every idle connection that it closes, Twisted's old log of every port.
    for namespace in ("twisted.web", "log_legacy"):
        levels.setLogLevelForNamespace(namespace, LogLevel.warn)
    observer = FileLogObserver(sys.stderr, lambda event: eventAsText(event, includeSystem=False) + "\n")
    globalLogBeginner.beginLoggingTo([FilteringLogObserver(observer, [levels])], redirectStandardIO=False)
