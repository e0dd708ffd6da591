"""Runs a grape as a process of its own: logs where it listens; ends the process with one line if it cannot start."""

from __future__ import annotations

import errno
import gc
import os
import shlex
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING, NoReturn

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.logger import ILogObserver, Logger
from twisted.python.components import Componentized

from grape import __version__
from grape.config import Config
from grape.daemon.signals import Signals
from grape.daemon.state_file import WAIT_SECONDS, wait_for
from grape.reactor import Reactor
from grape.service import Grape
from grape.state.lock import StateError, StateInUse
from grape.web.service import CannotListenTCP

if TYPE_CHECKING:
    from grape.daemon.reload import Reloader
    from grape.daemon.supervised import Supervised
    from grape.systemd import Notifier

# Containers made, less those gone, before the collector looks: three times Python's own number. With more, what
# hostile requests leave behind in cycles is felt.
GC_THRESHOLD = 2_000
# As in sysexits.h: a resource is not available; a file cannot be read or written; a wrong configuration.
EXIT_CANNOT_LISTEN = 69
EXIT_IN_USE = 69
EXIT_STATE = 74
EXIT_CONFIG = 78
# What the parent of a daemon reads of the status pipe of twistd.
MAX_STATUS_BYTES = 100
# As a shell tells of a process that Ctrl-C ended.
EXIT_INTERRUPTED = 130
ALL_ADDRESSES = ("", "0.0.0.0", "::")

log = Logger(namespace="grape.daemon")


class Daemon(MultiService):
    """Runs a grape as a process of its own: logs where it listens, and ends the process if it cannot.

    ``twistd`` has the options of twistd or twist. ``signals`` are answered from the start on; without them the process
    keeps its handlers. With ``is_state_optional`` a state file that the process may not write is a warning.
    ``patience`` is the time in seconds for which a file that another process has is waited for. ``sockets`` are those
    that systemd handed over, by their names; ``notifier`` tells it how the grape is.
    """

    def __init__(
        self,
        config: Config,
        reactor: Reactor | None,
        twistd: Mapping[str, object] | None = None,
        signals: Signals | None = None,
        *,
        is_state_optional: bool = False,
        patience: float = WAIT_SECONDS,
        sockets: Mapping[str, socket] | None = None,
        notifier: Notifier | None = None,
    ) -> None:
        super().__init__()
        self._twistd = twistd if twistd is not None else {}
        self._signals = signals
        self._patience = patience
        self._is_prepared = False
        #: Called at the end of the start, for ``reloader``, which reads the settings again at HUP. Other parts of the
        #: process add hooks to it.
        self.make_reloader: Callable[[], Reloader] | None = None
        self.reloader: Reloader | None = None
        #: What twistd is to log by.
        self.log_observer: ILogObserver | None = None
        # twistd makes this service before it leaves the terminal.
        self._terminal = _terminal() if self._twistd.get("nodaemon", True) in (0, False) else None
        sockets = sockets if sockets is not None else {}
        self.grape = Grape.from_config(
            config,
            reactor,
            is_state_optional=is_state_optional,
            dht_socket=sockets.get("dht"),
            api_socket=sockets.get("api"),
        )
        self.grape.http.has_log = True
        self.grape.setServiceParent(self)
        #: Tells systemd how the grape is; None where nobody wants to know.
        self.supervised = _supervised(self.grape, notifier, reactor) if notifier is not None and reactor else None

    def setServiceParent(self, parent: object) -> None:
        """Joins a parent; one that is an application of twistd's takes the log's observer, too."""
        if self.log_observer is not None and isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, self.log_observer)
        super().setServiceParent(parent)

    def privilegedStartService(self) -> None:
        """Opens the sockets, while the process may still have the rights for it."""
        self._or_exit(self._prepare)
        self._or_exit(super().privilegedStartService)

    def startService(self) -> None:
        """Starts the grape. A socket that cannot be opened ends the process with one line and status 69."""
        self._or_exit(self._prepare)
        self._or_exit(super().startService)
        spare_the_collector()
        log.info("{line}", line=self.first_line())
        if self.make_reloader is not None:
            # The reactor, in whose turn a signal is answered, does not run yet.
            self.reloader = self.make_reloader()
            if self._signals is not None:
                self._signals.reload = self.reloader
        if self.supervised is not None:
            if self.reloader is not None:
                self.reloader.before.append(self.supervised.reloading)
                self.reloader.after.append(self.supervised.reloaded)
            self.supervised.started()
        if self._terminal is not None:
            os.close(self._terminal)
            self._terminal = None

    def stopService(self) -> Deferred[None]:
        """Stops the grape, and logs when its sockets are closed. A second call ends the drain."""
        supervised, grape = self.supervised, self.grape
        if not grape.is_stopping:
            if supervised is not None:
                supervised.stopping()
            if grape.running and grape.config.drain:
                log.info(
                    "goes on for {drain} s before it stops; a second signal stops it now", drain=grape.config.drain
                )
        dht, api = grape.dht_address, grape.api_address
        were = " and ".join(
            f"{name} {_host_and_port(*address)}"
            for name, address in (("DHT udp", dht), ("HTTP API", api))
            if address is not None
        )

        def stopped(_: object) -> None:
            if supervised is not None:
                supervised.stopped()
            if were:
                log.info("{line}", line=f"grape {__version__} stopped: {were} closed")

        return maybeDeferred(super().stopService).addCallback(stopped)

    def first_line(self) -> str:
        """Returns the line that says where the grape listens, and a call to try."""
        dht, api = self.grape.dht_address, self.grape.api_address
        parts = [f"DHT udp {_bound(*dht) if dht is not None else 'closed'}"]
        parts.append(f"HTTP API listening on {_bound(*api)}" if api is not None else "no HTTP API")
        count = len(self.grape.config.dht_bootstrap)
        parts.append(f"{count or 'no'} bootstrap node{'s' * (count != 1)}")
        line = f"grape {__version__}: {', '.join(parts)}"
        if api is None:
            return line
        host, port = api
        url = f"http://{_host_and_port('127.0.0.1' if host in ALL_ADDRESSES else host, port)}/announce"
        body = shlex.quote('{"data":["rest:util:net",1337]}')
        return f"{line}; try: curl -d {body} {url}"

    def _prepare(self) -> None:
        """Answers signals, and waits for the state file: a grape that stops gives it back after its ports."""
        if self._is_prepared:
            return
        self._is_prepared = True
        if self._signals is not None:
            self._signals.install(self.grape.stats, self.grape.end_drain)
        path = self.grape.config.state_file
        if path is not None:
            wait_for(path, _say, self._patience)

    def _or_exit(self, start: Callable[[], None]) -> None:
        try:
            start()
        except CannotListenError as error:
            reason = getattr(error.socketError, "strerror", None) or error.socketError
            host = "all addresses" if error.interface in ALL_ADDRESSES else error.interface
            config = self.grape.config
            if isinstance(error, CannotListenTCP):
                kind, flag, bind = "TCP", "--aph", "-b" if config.api_bind is None else "--api-bind"
            else:
                kind, flag, bind = "UDP", "--dp", "-b" if config.dht_bind is None else "--dht-bind"
            is_port = getattr(error.socketError, "errno", None) in (errno.EADDRINUSE, errno.EACCES)
            hint = f"{flag} chooses another port" if is_port else f"{bind} chooses another address"
            problem = f"cannot listen on {kind} port {error.port} of {host}: {reason} ({hint})"
            self._exit(error, problem, EXIT_CANNOT_LISTEN)
        except StateError as error:
            self._exit(error, f"--state {error}", EXIT_IN_USE if isinstance(error, StateInUse) else EXIT_STATE)
        except KeyboardInterrupt:
            # The reactor does not run yet: Python's own handler raised it.
            self._remove_pid_file()
            raise SystemExit(EXIT_INTERRUPTED) from None

    def _exit(self, error: Exception, problem: str, status: int) -> NoReturn:
        line = f"grape: {problem}"
        if self._terminal is not None:
            with suppress(OSError):
                os.write(self._terminal, f"{line}\n".encode("utf-8", "backslashreplace"))
                line = "see above"
            os.close(self._terminal)
            self._terminal = None
        status_pipe = self._twistd.get("statusPipe")
        if isinstance(status_pipe, int):
            # The process is a child of the one on the terminal, which prints what comes through this pipe.
            with suppress(OSError):
                os.write(status_pipe, f"1 {line}".encode("ascii", "backslashreplace")[:MAX_STATUS_BYTES])
        _say(problem)
        if self.supervised is not None:
            self.supervised.failed(problem)
        self._remove_pid_file()
        raise SystemExit(status) from error

    def _remove_pid_file(self) -> None:
        """Removes the file that twistd wrote before it started us, as twistd itself does only after it ran."""
        name = self._twistd.get("pidfile")
        try:
            if isinstance(name, str) and name and Path(name).read_text().strip() == str(os.getpid()):
                Path(name).unlink()
        except OSError:
            pass


def _say(line: str) -> None:
    """Writes a line to stderr at once. ``twist`` begins its log only when the reactor runs."""
    # twistd has put its log in the place of stderr: the line belongs in both.
    for stream in dict.fromkeys((sys.stderr, sys.__stderr__)):
        if stream is not None:
            stream.write(f"grape: {line}\n")
            stream.flush()


def _terminal() -> int | None:
    """Returns a descriptor of its own for stderr, which a daemon of twistd closes; None if stderr is closed."""
    try:
        return os.dup(2)
    except OSError:
        return None


def _supervised(grape: Grape, notifier: Notifier, reactor: Reactor) -> Supervised:
    from grape.daemon.supervised import Supervised

    return Supervised(notifier, grape, lambda: grape.node.journal.committing, reactor)


def _bound(host: str, port: int) -> str:
    return f"{_host_and_port(host, port)}{' (all addresses)' if host in ALL_ADDRESSES else ''}"


def _host_and_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def spare_the_collector() -> None:
    """Has the collector of cycles look only at objects made from now on, and more rarely.

    A grape makes hardly any cycles, and everything that it stores would be searched again and again.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 10, 10)
