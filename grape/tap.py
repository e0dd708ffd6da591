"""Turns flags into a Config, and a Config into the service that twistd, twist and ``grape`` run."""

from __future__ import annotations

import errno
import gc
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn, cast

import attrs
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.logger import Logger
from twisted.python.usage import Options as UsageOptions

from grape import __version__
from grape.config import Config
from grape.errors import ConfigError
from grape.reactor import Reactor, Steppable, use_monotonic_clock
from grape.service import Grape
from grape.settings.declaration import settings_of
from grape.settings.flags import FlagError, columns, help_entries, read_flags, render, wrap
from grape.settings.kinds import Switch
from grape.state.lock import StateError, StateInUse
from grape.web.service import CannotListenTCP

# Containers made, less those gone, before the collector looks: three times Python's own number. With more, what
# hostile requests leave behind in cycles is felt.
GC_THRESHOLD = 2_000
# As in sysexits.h: a resource is not available; a file cannot be read or written.
EXIT_CANNOT_LISTEN = 69
EXIT_IN_USE = 69
EXIT_STATE = 74

ABOUT = (
    "Runs a grape: a node of a Grenache network. Services announce themselves through its HTTP API, clients look them "
    "up; the nodes find each other by a distributed hash table (the BitTorrent DHT) over UDP.",
    "The HTTP API has no authentication and no TLS, and it listens on all addresses unless -b or --api-bind says "
    "otherwise.",
)
ALL_ADDRESSES = ("", "0.0.0.0", "::")

log = Logger(namespace="grape")


class Options(UsageOptions):
    """The flags of the Node grape, in all their spellings, and ours; ``config`` is what they say.

    ``commands`` has a (synopsis, text) for each further command that the help names.
    """

    declaration: type[Config] = Config
    commands: Sequence[tuple[str, str]] = ()
    config: Config
    # Twisted makes shell completions of these two.
    optFlags: Sequence[Sequence[str | None]] = tuple(
        (name, None, setting.help)
        for setting in settings_of(Config)
        for name in ((setting.flag,) if isinstance(setting.kind, Switch) else ())
    )
    optParameters: Sequence[Sequence[str | None]] = tuple(
        (name, None, None, setting.help)
        for setting in settings_of(Config)
        for name in (() if isinstance(setting.kind, Switch) else (setting.flag, *setting.also))
    )

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Reads the words of a command line. What is wrong ends the process with one line and status 1."""
        words = sys.argv[1:] if options is None else options
        if "--help" in words or "-h" in words:
            self.opt_help()
        if "--version" in words:
            self.opt_version()
        try:
            given = read_flags(self.declaration, words, ("--help", "--version"))
        except (ConfigError, FlagError) as error:
            raise SystemExit(f"grape: {error}") from error
        if "help" in given.words:
            self.opt_help()
        if given.words:
            raise SystemExit(f"grape: unknown word {given.words[0]!r} (try --help)")
        self.config = self.declaration(**given.values)  # type: ignore[arg-type]

    def opt_help(self) -> NoReturn:
        """Prints this help and exits."""
        sys.stdout.write(str(self))
        raise SystemExit(0)

    def opt_version(self) -> NoReturn:
        """Prints the version and exits."""
        sys.stdout.write(f"{__version__}\n")
        raise SystemExit(0)

    def getSynopsis(self) -> str:
        """Returns the first line of the help."""
        program = "grape" if self.parent is None else "twistd -n grape" if "nodaemon" in self.parent else "twist grape"
        return f"Usage: {program} [--dp PORT] [--aph PORT] [--bn HOST:PORT,...] [-b ADDRESS] ..."

    def getUsage(self, width: int | None = None) -> str:
        """Returns the help after its first line, ``width`` columns wide, by default as wide as COLUMNS says."""
        width = width or columns(os.environ.get("COLUMNS"))
        entries = [
            *help_entries(self.declaration),
            ("-h, --help", "print this help and exit"),
            ("--version", "print the version and exit"),
        ]
        about = "\n".join(wrap(paragraph, width) + "\n" for paragraph in ABOUT)
        commands = self.commands or [("grape --help", "names further commands, such as grape state")]
        return f"\n{about}\nFlags [default]:\n{render(entries, width)}\nCommands:\n{render(commands, width)}"

    def __str__(self) -> str:
        synopsis = wrap(self.getSynopsis(), columns(os.environ.get("COLUMNS")), "", "    ")
        return f"{synopsis}\n{self.getUsage()}"


class Daemon(MultiService):
    """A grape as a process of its own: logs where it listens, and ends the process if it cannot."""

    def __init__(self, config: Config, reactor: Reactor | None, twistd: Mapping[str, object] | None = None) -> None:
        super().__init__()
        self._twistd = twistd if twistd is not None else {}
        self.grape = Grape.from_config(config, reactor)
        self.grape.setServiceParent(self)

    def privilegedStartService(self) -> None:
        """Opens the sockets, while the process may still have the rights for it."""
        self._or_exit(super().privilegedStartService)

    def startService(self) -> None:
        """Starts the grape. A socket that cannot be opened ends the process with one line and status 69."""
        self._or_exit(super().startService)
        spare_the_collector()
        log.info("{line}", line=self.first_line())

    def stopService(self) -> Deferred[None]:
        """Stops the grape, and logs when its sockets are closed."""
        dht, api = self.grape.dht_address, self.grape.api_address
        were = " and ".join(
            f"{name} {_host_and_port(*address)}"
            for name, address in (("DHT udp", dht), ("HTTP API", api))
            if address is not None
        )

        def stopped(_: object) -> None:
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

    def _or_exit(self, start: Callable[[], None]) -> None:
        try:
            start()
        except CannotListenError as error:
            reason = getattr(error.socketError, "strerror", None) or error.socketError
            host = "all addresses" if error.interface in ALL_ADDRESSES else error.interface
            kind, flag = ("TCP", "--aph") if isinstance(error, CannotListenTCP) else ("UDP", "--dp")
            is_port = getattr(error.socketError, "errno", None) in (errno.EADDRINUSE, errno.EACCES)
            hint = f"{flag} chooses another port" if is_port else "-b chooses another address"
            problem = f"cannot listen on {kind} port {error.port} of {host}: {reason} ({hint})"
            self._exit(error, problem, EXIT_CANNOT_LISTEN)
        except StateError as error:
            self._exit(error, f"--state {error}", EXIT_IN_USE if isinstance(error, StateInUse) else EXIT_STATE)

    def _exit(self, error: Exception, problem: str, status: int) -> NoReturn:
        if "nodaemon" in self._twistd and not self._twistd["nodaemon"]:
            # The process is a child of the one on the terminal, to which Twisted brings errors, but no exits.
            raise error
        # twistd has put its log in the place of stderr: the line belongs in both.
        for stream in dict.fromkeys((sys.stderr, sys.__stderr__)):
            if stream is not None:
                stream.write(f"grape: {problem}\n")
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


def makeService(options: Options) -> Daemon:
    """Makes the service that the plugin and the command run: the composition root."""
    from twisted.internet import reactor

    use_monotonic_clock(cast("Steppable", reactor))
    return Daemon(_with_state(options.config), cast("Reactor", reactor), options.parent)


def _with_state(config: Config) -> Config:
    """Returns the config with a state file, unless one is named or the port is for the system to choose."""
    if config.state is not None or config.dht_port == 0:
        return config
    name = f"grape-{config.dht_port}.sqlite"
    # systemd sets a list, usually of one. Otherwise the working directory is used: twistd's --rundir.
    folder = next(filter(None, os.environ.get("STATE_DIRECTORY", "").split(":")), "")
    return attrs.evolve(config, state=os.path.join(folder, name))
