"""Runs the commands for people and scripts that ask a running grape, and says how they end.

Each command stands in a module of its own kind, which is imported when that command runs: ``grape ping`` loads no HTTP
client, and starting a node loads none of this.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from io import TextIOWrapper
from typing import TypeVar, cast

import click
from click.shell_completion import CompletionItem

from grape.cli.run import COMMANDS, PEOPLE
from grape.client.errors import NotSupportedError, UnreachableError
from grape.errors import GrapeError

EXIT_NOTHING_FOUND = 1
EXIT_USAGE = 2
EXIT_ERROR = 3
EXIT_UNREACHABLE = 4
EXIT_OUTPUT = 74
EXIT_INTERRUPTED = 130

DEFAULT_URL = "http://127.0.0.1:30001"

STATUS = """\b
Status: 0 well; 1 nothing was found, or a check failed; 2 usage error;
3 the grape answered with an error; 4 no grape answered; 74 output error."""

# What to do, for errors that a grape tells by a code.
ADVICE = {
    "ERR_GRAPE_LOOKUP": "a name is needed",
    "ERR_GRAPE_ANNOUNCE": "a name is needed",
    "ERR_GRAPE_SERVICE_PORT": "a port is a whole number from 0 to 65535",
    "ERR_GRAPE_HASH_FORMAT": "a hash has 40 hex digits",
    "ERR_GRAPE_OVERLOADED": "the grape has too many calls under way: try again, or another grape",
    "ERR_GRAPE_ISOLATED": "the grape reaches no other: see grape doctor",
    "ERR_GRAPE_STATE": "the grape cannot write its state file: see grape status",
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
        command = PEOPLE.get(name)
        if command is None:
            return None
        return cast("click.Command", getattr(import_module(command.module), name))

    def shell_complete(self, context: click.Context, incomplete: str) -> list[CompletionItem]:
        """Returns the words that may follow ``grape``: commands, and the flags of a node."""
        items = super().shell_complete(context, incomplete)
        items += [CompletionItem(name, help=command.help) for name, command in COMMANDS.items()]
        items.append(CompletionItem("run", help="run a node, as without a command"))
        if incomplete.startswith("-"):
            from grape.config import Config
            from grape.settings.declaration import settings_of

            items += [CompletionItem(f"--{setting.flag}", help=setting.help) for setting in settings_of(Config)]
        return [item for item in items if item.value.startswith(incomplete)]


@click.command(
    "grape",
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
    help="Asks a running grape. Without a command, with flags or with `run`, grape runs a node: see grape --help.",
    epilog=STATUS,
)
def people() -> None:
    """Has no options of its own."""


def _urls(context: click.Context, parameter: click.Parameter, given: Sequence[str]) -> list[str]:
    urls = [url for text in given for url in text.replace(",", " ").split()]
    return [url if "://" in url else f"http://{url}" for url in urls]


def asks_a_grape(command: F) -> F:
    """Gives a command ``urls``, the grapes to ask, and ``timeout``, in seconds."""
    url = click.option(
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
        help="A grape to ask; several for one after the other, as one fails.",
    )
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


def main(words: Sequence[str]) -> int:
    """Runs the command in ``words``; returns the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # Names that are not UTF-8, or not of this terminal, are printed all the same.
            stream.reconfigure(errors="backslashreplace")
    try:
        status = people.main(list(words), prog_name="grape", standalone_mode=False)
        sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help())
        return 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    except GrapeError as error:
        return _failed(error)
    except ValueError as error:
        # Something that was given cannot be used: a URL, a host, a file with a key, a salt.
        click.echo(f"grape: {error}", err=True)
        return EXIT_USAGE
    except OSError as error:
        click.echo(f"grape: output: {error.strerror or error}", err=True)
        # At its end Python would try once more to write what is left.
        sys.stdout = None
        return EXIT_OUTPUT


def _failed(error: GrapeError) -> int:
    if isinstance(error, UnreachableError):
        click.echo(f"grape: no grape answered: {'; '.join(dict.fromkeys(error.failures)) or error.code}", err=True)
        return EXIT_UNREACHABLE
    if isinstance(error, NotSupportedError):
        click.echo(f"grape: the grape has no {error.call}: it is a Node grape, or an older one", err=True)
        return EXIT_ERROR
    advice = ADVICE.get(error.code)
    click.echo(f"grape: {error}{f' ({advice})' if advice else ''}", err=True)
    return EXIT_ERROR
