"""Runs the console command ``grape``: the plugin's service without twistd's pid file and plugin scan.

``COMMANDS`` is the table of the further commands, ``grape WORD ...``; each is a module with ``main(words) -> status``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any, NamedTuple

EXIT_UNAVAILABLE = 69
# Set by the shells' completion, which click answers.
COMPLETE = "_GRAPE_COMPLETE"


class Command(NamedTuple):
    """A command: the module that has its ``main``, how it is called and what it does, for the help."""

    module: str
    synopsis: str
    help: str


# Those that ask a running grape, or a node. A test compares the help with that of the commands themselves.
PEOPLE: Mapping[str, Command] = {
    "lookup": Command("grape.cli.services", "grape lookup NAME [--trace]", "find the peers of a service"),
    "announce": Command("grape.cli.services", "grape announce NAME PORT [--keep]", "announce a service"),
    "unannounce": Command("grape.cli.services", "grape unannounce NAME PORT", "withdraw an announced service"),
    "put": Command("grape.cli.items", "grape put VALUE|- [--key FILE]", "store a value, signed with --key"),
    "get": Command("grape.cli.items", "grape get HASH|--key KEY", "fetch a value by its hash or key"),
    "keygen": Command("grape.cli.keys", "grape keygen FILE", "make a private key for signed values"),
    "status": Command("grape.cli.nodes", "grape status", "tell what the grape is and does"),
    "nodes": Command("grape.cli.nodes", "grape nodes", "list the grape's contacts"),
    "services": Command("grape.cli.services", "grape services [NAME]", "list the services that the grape holds"),
    "ping": Command("grape.cli.nodes", "grape ping HOST:PORT", "ask a node whether it is there, over UDP"),
    "doctor": Command("grape.cli.doctor.command", "grape doctor [NAME]", "find out what is wrong with a grape"),
    "completion": Command("grape.cli.completion", "grape completion SHELL", "print completion for bash, zsh or fish"),
}

COMMANDS: Mapping[str, Command] = {
    "config": Command("grape.cli.config", "grape config check|show|example", "check, show or explain the settings"),
    "state": Command(
        "grape.cli.state", "grape state check|dump|import|new-id FILE", "check, print or repair a state file"
    ),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a grape until a signal ends it, or the command that the first word names.

    ``arguments`` are those of the command line without the program's name, by default the process's own. Ends with
    SystemExit, unless a signal stops the grape.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["help"] and len(words) == 2 and (words[1] in PEOPLE or words[1] in COMMANDS):
        words = [words[1], "--help"]
    command = COMMANDS.get(words[0]) if words else None
    if command is not None:
        # Imported here: a grape does not need the commands, nor they the reactor.
        raise SystemExit(import_module(command.module).main(words[1:]))
    if (words and words[0] in PEOPLE) or COMPLETE in os.environ:
        raise SystemExit(_run_for_people(words))
    if words and words[0] == "run":
        words = words[1:]
    # First, because the imports below load Twisted.
    load_less()
    from grape.logs.process import ProcessLog
    from grape.tap import Options, makeService

    options = Options()
    options.commands = [(command.synopsis, command.help) for command in (*PEOPLE.values(), *COMMANDS.values())]
    options.parseOptions(words)
    options.log = lines = ProcessLog(options.config.log_format, options.config.log_level)
    lines.begin(sys.stderr)
    service = makeService(options)
    from twisted.internet import reactor as global_reactor

    reactor: Any = global_reactor
    service.privilegedStartService()
    service.startService()
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    lines.flush_by(reactor.callLater)
    reactor.run()
    lines.flush()


def _run_for_people(words: Sequence[str]) -> int:
    """Runs a command that needs the libraries of the extra ``cli``; returns the exit status."""
    try:
        status: int = import_module("grape.cli.people").main(words)
    except ImportError as error:
        missing = error.__cause__ if isinstance(error.__cause__, ImportError) else error
        if missing.name is None or missing.name.partition(".")[0] == "grape":
            raise
        sys.stderr.write(f"grape: this command needs the package {missing.name}: pip install 'grape-dht[cli]'\n")
        return EXIT_UNAVAILABLE
    return status


def load_less() -> None:
    """Has Twisted load less of what a grape does not need: pyOpenSSL and http.cookiejar."""
    _without_tls()
    _without_cookies()


def _without_tls() -> None:
    """Has Twisted find no pyOpenSSL, since a grape speaks no TLS; without effect once pyOpenSSL is loaded.

    Twisted's TCP loads it where it is installed, a fifth of the process: 12 MB and 40 ms.
    """
    # None is how Python marks a module that cannot be imported.
    sys.modules.setdefault("OpenSSL", None)  # type: ignore[arg-type]


def _without_cookies() -> None:
    """Has Twisted's import of http.cookiejar, of which it only keeps the name, load that module at its first use.

    It would bring urllib.request, http.client and email along: 16 modules, a twentieth of the start. Without effect
    once Twisted is loaded.
    """
    import http

    if not hasattr(http, "cookiejar"):
        # ``from http import cookiejar`` takes what stands here; other imports load the module, which replaces it.
        http.cookiejar = _Cookies("http.cookiejar")


class _Cookies(ModuleType):
    """Stands for the module http.cookiejar until something of it is used."""

    def __getattr__(self, name: str) -> object:
        return getattr(import_module("http.cookiejar"), name)
