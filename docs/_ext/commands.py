"""Makes the page of all commands from what they declare: their help, arguments, options and statuses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from inspect import cleandoc

import click

from docs._ext.markdown import block, code, sentence, table
from grape.cli.people import STATUSES, Commands
from grape.cli.run import COMMANDS, PEOPLE
from grape.tap import ABOUT


def page() -> str:
    """Returns the page as Markdown."""
    return "".join(_parts())


def _parts() -> Iterator[str]:
    yield "# All commands\n\n"
    yield "Made of the commands' own help; [commands](../commands.md) has examples, and says which grape is asked.\n\n"
    everything = {**PEOPLE, **COMMANDS}
    yield table(
        ("command", "what it does"),
        ((f"[{code(command.synopsis)}](#grape-{name})", command.help) for name, command in everything.items()),
    )
    yield "## grape\n\n" + "\n\n".join(ABOUT) + "\n\nIts flags are the [settings](settings.md).\n\n"
    for name in PEOPLE:
        yield from _of_click(name)
    for name, command in COMMANDS.items():
        yield f"## grape {name}\n\n{sentence(command.help)}\n\n"
        yield block(import_module(command.module).HELP, "text")
    yield "## Statuses\n\n"
    yield "Of the commands that ask a running grape; a node has [others](../operations.md#exit-statuses).\n\n"
    yield table(("status", "meaning"), ((str(number), text) for number, text in STATUSES.items()))


def _of_click(name: str) -> Iterator[str]:
    commands = Commands("grape")
    context = click.Context(commands, info_name="grape")
    command = commands.get_command(context, name)
    assert command is not None
    own = click.Context(command, info_name=name, parent=context, help_option_names=["-h", "--help"])
    yield f"## grape {name}\n\n"
    yield block(" ".join((own.command_path, *command.collect_usage_pieces(own))), "text")
    for paragraph in re.split(r"\n\s*\n", cleandoc(command.help or "")):
        if paragraph.startswith("\b"):
            yield block(paragraph.strip("\b\n"), "text")
        else:
            yield " ".join(paragraph.split()) + "\n\n"
    options = [parameter for parameter in command.get_params(own) if isinstance(parameter, click.Option)]
    records = [option.get_help_record(own) for option in options]
    yield table(("option", "what it does"), ((code(record[0]), record[1]) for record in records if record is not None))
