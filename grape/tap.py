"""Turns flags into a Config, and a Config into the service that twistd, twist and ``grape`` run."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from io import TextIOWrapper
from socket import socket
from typing import TYPE_CHECKING, NoReturn, TextIO, cast

import attrs
from twisted.logger import Logger
from twisted.python.usage import Options as UsageOptions

from grape import __version__
from grape.config import Config
from grape.daemon.limits import connection_limit, raise_descriptor_limit
from grape.daemon.service import EXIT_CANNOT_LISTEN as EXIT_CANNOT_LISTEN
from grape.daemon.service import EXIT_CONFIG as EXIT_CONFIG
from grape.daemon.service import EXIT_IN_USE as EXIT_IN_USE
from grape.daemon.service import EXIT_STATE as EXIT_STATE
from grape.daemon.service import GC_THRESHOLD as GC_THRESHOLD
from grape.daemon.service import Daemon as Daemon
from grape.daemon.service import spare_the_collector as spare_the_collector
from grape.daemon.signals import RunningReactor, Signals
from grape.daemon.state_file import with_state_file
from grape.logs.process import ProcessLog
from grape.reactor import Reactor, Steppable, use_monotonic_clock
from grape.settings.declaration import nearest, settings_of
from grape.settings.flags import columns, help_entries, render, wrap
from grape.settings.kinds import Switch
from grape.settings.places import BadConfig, Source, build

if TYPE_CHECKING:
    from grape.daemon.reload import Reloader
    from grape.systemd import Notifier

ABOUT = (
    "Runs a grape: a node of a Grenache network. Services announce themselves through its HTTP API, clients look them "
    "up; the nodes find each other by a distributed hash table (the BitTorrent DHT) over UDP.",
    "The HTTP API has no authentication and no TLS, and it listens on all addresses unless -b or --api-bind says "
    "otherwise.",
)

# The descriptors up to this one are no log file of their own.
STDERR = 2

log = Logger(namespace="grape.daemon")


class Options(UsageOptions):
    """The flags of the Node grape, in all their spellings, and ours; ``config`` is what all places say.

    ``commands`` has a (synopsis, text) for each further command that the help names. ``source`` reads the settings
    again, ``given`` are those that are not the default, ``warnings`` lines for the log. ``log`` is the process's log,
    None where twistd or twist begin it.
    """

    declaration: type[Config] = Config
    commands: Sequence[tuple[str, str]] = ()
    config: Config
    source: Source
    given: frozenset[str] = frozenset()
    warnings: Sequence[str] = ()
    log: ProcessLog | None = None
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
        """Reads the words of a command line, the environment, and the file that one of them names.

        What is wrong ends the process with a line on stderr for each problem, and status 78.
        """
        words = sys.argv[1:] if options is None else options
        if "--help" in words or "-h" in words:
            self.opt_help()
        if "--version" in words:
            self.opt_version()
        self.source = Source(self.declaration, words, os.environ, ("--help", "--version"))
        gathered = self.source.read()
        if "help" in gathered.words:
            self.opt_help()
        gathered.problems.extend(self._refusal(word) for word in gathered.words[:1])
        try:
            self.config = build(self.declaration, gathered)
        except BadConfig as error:
            sys.stderr.write("".join(f"grape: {problem}\n" for problem in error.problems))
            raise SystemExit(EXIT_CONFIG) from error
        self.given = frozenset(gathered.values)
        self.warnings = gathered.warnings

    def _refusal(self, word: str) -> str:
        """Returns what to say of a word that is no flag; it may be meant for a command."""
        commands = [synopsis.split()[1] for synopsis, _ in self.commands]
        if word in commands:
            return f"the command {word} has to be the first word: grape {word} ..."
        near = nearest(word, commands)
        return f"unknown word {word!r}" + (f"; did you mean grape {near}?" if near is not None else " (try --help)")

    def opt_help(self) -> NoReturn:
        """Prints this help and exits."""
        sys.stdout.write(str(self))
        raise SystemExit(0)

    def opt_version(self) -> NoReturn:
        """Prints the version, and with it whether the hot modules are compiled, and exits."""
        from grape.node.status import own_build

        sys.stdout.write(f"{__version__} (compiled)\n" if own_build() == "compiled" else f"{__version__}\n")
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
    process_log = options.log or ProcessLog(options.config.log_format, options.config.log_level)
    observer = None
    if runner is not None:
        # Imported here: under ``grape`` there is no other log.
        from grape.daemon.runner_log import take_over

        process_log, observer = take_over(options.config, runner, options.given)
        process_log.flush_by(reactor.callLater)
        reactor.addSystemEventTrigger("after", "shutdown", process_log.flush)
    for line in options.warnings:
        log.warn("{line}", line=line)
    # Before the state file, whose name has the port in it.
    config, sockets, notifier = _from_systemd(options.config)
    signals = Signals(cast("RunningReactor", reactor), _log_file(runner), ends_by_signal=runner is not None)
    config, is_state_optional = with_state_file(_with_connections(config, reactor), os.environ)
    daemon = Daemon(
        config,
        cast("Reactor", reactor),
        runner,
        signals,
        is_state_optional=is_state_optional,
        sockets=sockets,
        notifier=notifier,
    )

    def make_reloader() -> Reloader:
        # Imported here: the sockets are open by then.
        from grape.daemon.reload import Reloader

        set_levels = process_log.levels.set
        return Reloader(
            options.source, options.config, daemon.grape, set_levels, lambda new: _with_connections(new, reactor)
        )

    daemon.make_reloader = make_reloader
    daemon.log_observer = observer
    return daemon


def _from_systemd(config: Config) -> tuple[Config, Mapping[str, socket], Notifier | None]:
    """Returns the sockets that systemd handed over, the config that they ask for, and what tells systemd things.

    A socket that a grape cannot use ends the process with one line.
    """
    if os.environ.keys().isdisjoint(("NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_FDNAMES")):
        return config, {}, None
    from grape.daemon.activation import with_sockets
    from grape.systemd import ActivationError, take_notifier, take_sockets

    notifier = take_notifier(os.environ, os.getpid())
    try:
        sockets = take_sockets(os.environ, os.getpid())
    except ActivationError as error:
        if notifier is not None:
            notifier.send(f"STATUS={error}")
        sys.stderr.write(f"grape: {error}\n")
        raise SystemExit(EXIT_CONFIG) from error
    return with_sockets(config, sockets), sockets, notifier


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
