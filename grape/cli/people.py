"""Runs the commands for people and scripts that ask a running grape, and says how they end.

Each command stands in a module of its own kind, which is imported when that command runs: ``grape ping`` loads no HTTP
client, and starting a node loads none of this.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from io import TextIOWrapper
from typing import TypeVar, cast

import click

from grape.cli.output import say
from grape.cli.run import COMPLETE, PEOPLE
from grape.client.errors import NotSupportedError, UnreachableError
from grape.errors import GrapeError

EXIT_NOTHING_FOUND = 1
EXIT_USAGE = 2
EXIT_ERROR = 3
EXIT_UNREACHABLE = 4
EXIT_OUTPUT = 74
EXIT_INTERRUPTED = 130

#: The exit statuses of these commands.
STATUSES: Mapping[int, str] = {
    0: "well",
    EXIT_NOTHING_FOUND: "nothing was found, or a check failed",
    EXIT_USAGE: "usage error",
    EXIT_ERROR: "the grape answered with an error",
    EXIT_UNREACHABLE: "no grape answered",
    EXIT_OUTPUT: "output error",
}

DEFAULT_URL = "http://127.0.0.1:30001"
WIDTH = 80

# What to do, for errors that a grape tells by a code.
ADVICE = {
    "ERR_GRAPE_OVERLOADED": "the grape has too many calls under way: try again, or another grape",
    "ERR_GRAPE_ISOLATED": "the grape reaches no other: see grape doctor",
    "ERR_GRAPE_STATE": "the grape cannot write its state file: see grape status",
    "ERR_GRAPE_PUT": "what can be stored: text, whole numbers, lists and objects of these",
    "v must be less than 1000 bytes in put()": "text has at most 999 bytes, other values 1,000 in bencode",
    "No nodes to query": "the grape reaches no other: see grape doctor",
    "All queries failed": "no other grape took it",
    "301 CAS mismatch, re-read and try again": "another item is there: get it, and put with its seq as --cas",
    "302 sequence number less than current": "a newer item is there: put without --seq, or with a higher one",
}

F = TypeVar("F", bound=Callable[..., object])


class Commands(click.Group):
    """The commands by name; each is imported when it is needed."""

    def list_commands(self, context: click.Context) -> list[str]:
        """Returns the names in the order of the help."""
        return list(PEOPLE)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """Imports a command; None for an unknown name."""
        named = PEOPLE.get(name)
        if named is None:
            return None
        command = cast("click.Command", getattr(import_module(named.module), name))
        command.epilog = f"Status: {'; '.join(f'{number} {text}' for number, text in STATUSES.items())}."
        return command


def names_grapes(help: str) -> Callable[[F], F]:
    """Returns what gives a command ``urls``, the grapes that ``--url`` names; ``help`` says what is done with them."""
    return click.option(
        "-u",
        "--url",
        "urls",
        multiple=True,
        envvar="GRAPE_URL",
        callback=_urls,
        metavar="URL",
        default=[DEFAULT_URL],
        show_default=True,
        show_envvar=True,
        help=help,
    )


def asks_a_grape(command: F) -> F:
    """Gives a command ``urls``, the grapes to ask, and ``timeout``, in seconds."""
    url = names_grapes("A grape to ask; several for one after the other, as one fails.")
    timeout = click.option(
        "--timeout",
        type=click.FloatRange(0.1, 3_600),
        default=10,
        show_default=True,
        metavar="SECONDS",
        help="Time to wait for an answer, over all grapes.",
    )
    return url(timeout(command))


def prints_json(command: F) -> F:
    """Gives a command ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")(command)


def _urls(context: click.Context, parameter: click.Parameter, given: Sequence[str]) -> list[str]:
    urls = [url for text in given for url in text.replace(",", " ").split()]
    return [url if "://" in url else f"http://{url}" for url in urls] or [DEFAULT_URL]


def main(words: Sequence[str]) -> int:
    """Runs the command in ``words``; returns the exit status.

    Where a shell asks how to complete a line, answers that instead.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # Names that are not of this terminal's letters are printed all the same.
            stream.reconfigure(errors="backslashreplace")
    try:
        return _run(words)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        return _refused(error, words)
    except (click.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    except GrapeError as error:
        return _failed(error)
    except ValueError as error:
        # Something that was given cannot be used: a URL, a host, a file with a key, a salt.
        say(f"grape: {error}")
        return EXIT_USAGE
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            # `grape nodes | head` has read enough.
            say(f"grape: output: {error.strerror or error}")
        # At its end Python would try once more to write what is left.
        sys.stdout = None
        return EXIT_OUTPUT


def _run(words: Sequence[str]) -> int:
    if COMPLETE in os.environ:
        # Imported here, as it loads the settings of a node.
        from grape.cli.completion import complete

        return complete(os.environ)
    commands = Commands("grape")
    # Not by ``commands.main()``, which ends the process as it likes where a pipe is closed.
    context = commands.make_context("grape", list(words), help_option_names=["-h", "--help"], max_content_width=WIDTH)
    with context:
        status = commands.invoke(context)
    return status if isinstance(status, int) else 0


def _refused(error: click.ClickException, words: Sequence[str]) -> int:
    text = error.format_message().rstrip(".")
    say(f"grape: {text[:1].lower()}{text[1:]} (try grape {words[0]} --help)")
    return EXIT_USAGE


def _failed(error: GrapeError) -> int:
    if isinstance(error, UnreachableError):
        say(f"grape: no grape answered: {'; '.join(dict.fromkeys(error.failures)) or error.code}")
        return EXIT_UNREACHABLE
    if isinstance(error, NotSupportedError):
        call = error.call.partition("?")[0]
        say(f"grape: the grape has no {call}: it is a Node grape, or an older one")
        return EXIT_ERROR
    advice = ADVICE.get(error.code)
    say(f"grape: {error}{f' ({advice})' if advice else ''}")
    return EXIT_ERROR
