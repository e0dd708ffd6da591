"""The command line: flags to Config, and Config to the service that twistd, twist and ``grape`` run."""

from __future__ import annotations

import gc
import math
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn, cast

import attrs
from twisted.application.service import MultiService
from twisted.internet.error import CannotListenError
from twisted.logger import Logger
from twisted.python.usage import Options as UsageOptions
from twisted.python.usage import UsageError

from grape import __version__
from grape.config import API_PORT, DHT_PORT, Config, ConfigError
from grape.reactor import Reactor, Steppable, use_monotonic_clock
from grape.service import Grape
from grape.state.lock import StateError, StateInUse
from grape.web.service import CannotListenTCP

# Containers made, less those gone, before the collector looks: three times Python's own number. With more, what
# hostile requests leave behind in cycles is felt.
GC_THRESHOLD = 2_000
# As in sysexits.h: something that is needed is not to be had; a file cannot be read or written.
EXIT_CANNOT_LISTEN = 69
EXIT_IN_USE = 69
EXIT_STATE = 74

log = Logger(namespace="grape")


def _whole(text: str) -> int:
    # As in Node, "0x52d1" is hexadecimal and "020001" is not octal.
    return int(text, 16) if text.lower().startswith("0x") else int(text)


def _milliseconds(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value / 1000


# For each setting: its flag, the flag's other spellings, how its text is read, and what it does.
_FLAGS: tuple[tuple[str, str, tuple[str, ...], Callable[[str], object], str], ...] = (
    ("dht_port", "dp", ("dht_port",), _whole, f"UDP port of the DHT [{DHT_PORT}]"),
    ("api_port", "aph", ("api_port", "api_port_http"), _whole, f"TCP port of the HTTP API [{API_PORT}]"),
    ("dht_bootstrap", "bn", ("bootstrap",), str, "nodes to join through: HOST:PORT,HOST:PORT,... [none]"),
    ("host", "bind", ("b",), str, "address of both sockets [all addresses]"),
    ("dht_bind", "dht-bind", (), str, "address of the UDP socket alone"),
    ("api_bind", "api-bind", (), str, "address of the HTTP socket alone"),
    ("dht_concurrency", "dc", ("dht_concurrency",), _whole, "queries that a lookup has in flight [16]"),
    ("dht_max_tables", "dht_maxTables", (), _whole, "keys whose closest nodes are kept [5000]"),
    ("dht_max_values", "dht_maxValues", (), _whole, "items kept for others [5000]"),
    ("dht_peer_max_age", "dht_peer_maxAge", ("dpa",), _milliseconds, "life of a peer, ms; 0: for ever [240000]"),
    ("cache_max_age", "cache_maxAge", (), _milliseconds, "age of the lookup cache, ms [half a peer's life]"),
    ("dht_node_liveness", "dnl", ("dht_nodeLiveness",), _milliseconds, "silence before a ping, ms [300000]"),
    ("check_max_payload_size", "check_maxPayloadSize", (), _whole, "bytes of an HTTP body [8192]"),
    ("allow_origin", "allow-origin", (), str, "web origins that may call, https://app.example,... [none]"),
    ("allow_host", "allow-host", (), str, "names this machine is called by over loopback [localhost]"),
    ("state", "state", (), str, "file in which state outlives the process; :memory: keeps none [grape-PORT.sqlite]"),
    ("durability", "durability", (), str, "full: puts survive a power cut; normal: a killed process [full]"),
    ("profile", "profile", (), str, "private: a ring of one's own; public: the open internet [private]"),
    ("max_keys", "max-keys", (), _whole, "names that peers are kept under [10000]"),
    ("max_peers_per_key", "max-peers-per-key", (), _whole, "peers of one name [2000]"),
    ("max_store_bytes", "max-store-bytes", (), _whole, "memory for names and peers [67108864]"),
    ("max_calls", "max-calls", (), _whole, "HTTP calls under way; others get 503 [1024]"),
    ("max_connections", "max-connections", (), _whole, "HTTP connections [512]"),
    (
        "max_connections_per_host",
        "max-connections-per-host",
        (),
        _whole,
        "the same of one address but loopback [64]",
    ),
    ("timeslot", "timeslot", (), _milliseconds, "time slot of a 0.x network, ms [off]"),
)
_SPELLINGS = {spelling: flag for _, flag, spellings, _, _ in _FLAGS for spelling in spellings}
# Flags that the Node grape takes without a value, too: they count as not given.
_MAY_BE_BARE = ("bn", "bind")
_TAKES = {_whole: "takes a whole number", _milliseconds: "takes milliseconds", str: "takes text"}


class Options(UsageOptions):
    """The flags of the Node grape, in all their spellings, and ours. ``config`` is what they say."""

    longdesc = (
        "A Grenache grape: a DHT node with an HTTP API through which services are announced and looked up. "
        "Without flags it runs alone. Also understood: --dht_port, --api_port, --api_port_http, --bootstrap, -b, --b, "
        "--dht_concurrency, --dpa, --dht_nodeLiveness."
    )
    optFlags: Sequence[Sequence[str | None]] = (
        ("no-bn", None, "join through no nodes"),
        ("read-only", None, "ask, but do not serve (BEP 43)"),
    )
    optParameters: Sequence[Sequence[str | None]] = tuple((flag, None, None, text) for _, flag, _, _, text in _FLAGS)

    config: Config

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Read flags. What is wrong ends the process with one line and status 1."""
        try:
            super().parseOptions(_plain(sys.argv[1:] if options is None else options))
        except UsageError as error:
            raise SystemExit(f"grape: {error}") from error

    def parseArgs(self, *words: str) -> None:
        """The word ``help`` is the flag; other words are none of ours."""
        if "help" in words:
            self.opt_help()
        if words:
            raise UsageError(f"unknown word {words[0]!r} (try --help)")

    def postOptions(self) -> None:
        """Make the Config. Raises UsageError naming the flag."""
        settings: dict[str, object] = {"read_only": bool(self["read-only"])}
        for name, flag, _, read, _ in _FLAGS:
            text = self[flag]
            if text is not None and not (flag in _MAY_BE_BARE and not text):
                try:
                    settings[name] = read(text)
                except ValueError as error:
                    raise UsageError(f"--{flag} {_TAKES[read]}, not {text!r}") from error
        if self["no-bn"]:
            settings.pop("dht_bootstrap", None)
        try:
            self.config = Config(**settings)  # type: ignore[arg-type]
        except ConfigError as error:
            flags = {name: flag for name, flag, *_ in _FLAGS}
            raise UsageError(f"--{flags.get(error.name, error.name)} {error.problem}") from error

    def opt_version(self) -> None:
        """Print the version and exit."""
        sys.stdout.write(f"{__version__}\n")
        raise SystemExit(0)

    def getSynopsis(self) -> str:
        """The first line of the help."""
        flags = "[--dp PORT] [--aph PORT] [--bn HOST:PORT,...] [-b ADDRESS]"
        return f"Usage: grape {flags}" if self.parent is None else f"Usage: twistd -n grape {flags}"


def _plain(words: Sequence[str]) -> list[str]:
    """The words with every flag in its main spelling, bare flags as empty ones, and all ``--bn`` in one."""
    plain: list[str] = []
    bootstrap: list[str] = []
    left = list(words)
    while left:
        word = left.pop(0)
        name, equals, value = word.lstrip("-").partition("=")
        flag = _SPELLINGS.get(name, name)
        if not word.startswith("-") or (not word.startswith("--") and name != "b"):
            plain.append(word)
            continue
        if flag in _MAY_BE_BARE and not equals:
            value = left.pop(0) if left and not left[0].startswith("-") else ""
            equals = "="
        if flag == "bn":
            bootstrap.append(value)
        else:
            plain.append(f"--{flag}{equals}{value}")
    if bootstrap:
        plain.insert(0, f"--bn={','.join(bootstrap)}")
    return plain


class Daemon(MultiService):
    """A grape as a process of its own: says where it listens, and ends the process if it cannot."""

    def __init__(self, config: Config, reactor: Reactor | None, twistd: Mapping[str, object] | None = None) -> None:
        super().__init__()
        self._twistd = twistd if twistd is not None else {}
        self.grape = Grape.from_config(config, reactor)
        self.grape.setServiceParent(self)

    def privilegedStartService(self) -> None:
        """Open the sockets, while the process may still have the rights for it."""
        self._or_exit(super().privilegedStartService)

    def startService(self) -> None:
        """Run. A socket that cannot be opened ends the process with one line and status 69."""
        self._or_exit(super().startService)
        spare_the_collector()
        log.info("{line}", line=self.first_line())

    def first_line(self) -> str:
        """Where the grape listens, and what to try."""
        config = self.grape.config
        bound = config.api_host
        host = "127.0.0.1" if bound in ("::", "0.0.0.0") else f"[{bound}]" if ":" in bound else bound
        url = f"http://{host}:{self.grape.api_port}"
        body = shlex.quote('{"data":["rest:util:net",1337]}')
        count = len(config.dht_bootstrap)
        nodes = f"{count} bootstrap node{'s' * (count > 1)}" if count else "alone"
        dht = f"{config.dht_host or '0.0.0.0'}:{self.grape.dht_port}"
        return f"grape {__version__}, DHT udp {dht}, API {url}, {nodes}; try: curl -d {body} {url}/announce"

    def _or_exit(self, start: Callable[[], None]) -> None:
        try:
            start()
        except CannotListenError as error:
            reason = getattr(error.socketError, "strerror", None) or error.socketError
            host = "all addresses" if error.interface in ("", "::") else error.interface
            kind = "TCP" if isinstance(error, CannotListenTCP) else "UDP"
            self._exit(error, f"cannot listen on {kind} port {error.port} of {host}: {reason}", EXIT_CANNOT_LISTEN)
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
        """twistd writes one before it starts us, and removes it only after it ran."""
        name = self._twistd.get("pidfile")
        try:
            if isinstance(name, str) and name and Path(name).read_text().strip() == str(os.getpid()):
                Path(name).unlink()
        except OSError:
            pass


def spare_the_collector() -> None:
    """Have the collector of cycles look at what comes now alone, and more rarely: a grape makes hardly any, and all
    that it stores would be looked through again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 10, 10)


def makeService(options: Options) -> Daemon:
    """What the plugin runs: the composition root."""
    from twisted.internet import reactor

    use_monotonic_clock(cast("Steppable", reactor))
    return Daemon(_with_state(options.config), cast("Reactor", reactor), options.parent)


def _with_state(config: Config) -> Config:
    """A process of our own keeps its state, unless it is told not to, or has no port by which to be known again."""
    if config.state is not None or config.dht_port == 0:
        return config
    name = f"grape-{config.dht_port}.sqlite"
    # From systemd: a list, of one as a rule. Otherwise the working directory: twistd's --rundir.
    folder = next(filter(None, os.environ.get("STATE_DIRECTORY", "").split(":")), "")
    return attrs.evolve(config, state=os.path.join(folder, name))
