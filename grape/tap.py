"""Turns flags into a Config, and a Config into the service that twistd, twist and ``grape`` run."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from io import TextIOWrapper
from typing import NoReturn, TextIO, cast

import attrs
from twisted.logger import Logger
from twisted.python.usage import Options as UsageOptions

from grape import __version__
from grape.config import Config
from grape.daemon.limits import connection_limit, raise_descriptor_limit
from grape.daemon.service import EXIT_CANNOT_LISTEN as EXIT_CANNOT_LISTEN
from grape.daemon.service import EXIT_IN_USE as EXIT_IN_USE
from grape.daemon.service import EXIT_STATE as EXIT_STATE
from grape.daemon.service import GC_THRESHOLD as GC_THRESHOLD
from grape.daemon.service import Daemon as Daemon
from grape.daemon.service import spare_the_collector as spare_the_collector
from grape.daemon.signals import RunningReactor, Signals
from grape.daemon.state_file import with_state_file
from grape.errors import ConfigError
from grape.logs import counting_repeats
from grape.reactor import Reactor, Steppable, use_monotonic_clock
from grape.settings.declaration import settings_of
from grape.settings.flags import FlagError, columns, help_entries, read_flags, render, wrap
from grape.settings.kinds import Switch

ABOUT = (
    "Runs a grape: a node of a Grenache network. Services announce themselves through its HTTP API, clients look them "
    "up; the nodes find each other by a distributed hash table (the BitTorrent DHT) over UDP.",
    "The HTTP API has no authentication and no TLS, and it listens on all addresses unless -b or --api-bind says "
    "otherwise.",
)

# The descriptors up to this one are no log file of their own.
STDERR = 2

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


def makeService(options: Options) -> Daemon:
    """Makes the service that the plugin and the command run: the composition root."""
    from twisted.internet import reactor

    use_monotonic_clock(cast("Steppable", reactor))
    runner = options.parent
    if runner is not None and "fileLogObserverFactory" in runner:
        # twist makes its log after this; twistd made its own before.
        runner["fileLogObserverFactory"] = counting_repeats(runner["fileLogObserverFactory"])
    signals = Signals(cast("RunningReactor", reactor), _log_file(runner), ends_by_signal=runner is not None)
    config, is_state_optional = with_state_file(_with_connections(options.config, reactor), os.environ)
    return Daemon(config, cast("Reactor", reactor), runner, signals, is_state_optional=is_state_optional)


def _with_connections(config: Config, reactor: object) -> Config:
    """Returns the config with a limit of HTTP connections for which there are descriptors."""
    descriptors = raise_descriptor_limit(reactor)
    connections = connection_limit(config.max_connections, descriptors)
    if connections < config.max_connections:
        log.warn(
            "at most {connections} HTTP connections instead of {wanted}: the process may open {descriptors} files and "
            "sockets; raise the limit (ulimit -Hn, LimitNOFILE=)",
            connections=connections,
            wanted=config.max_connections,
            descriptors=descriptors,
        )
    return attrs.evolve(config, max_connections=connections)


def _log_file(runner: Mapping[str, object] | None) -> TextIO | None:
    """Returns the log file that twist opened; None if it logs elsewhere, or for twistd, which reopens its own."""
    file = runner.get("logFile") if runner is not None else None
    return file if isinstance(file, TextIOWrapper) and file.fileno() > STDERR else None
