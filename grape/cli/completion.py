"""Implements ``grape completion``, and answers what bash, zsh or fish ask to complete a line.

click knows the shells, and the commands that are made with it. Stand-ins tell it of the others: ``grape run`` with the
flags of a node, ``grape config`` and ``grape state``.
"""

from __future__ import annotations

from collections.abc import Mapping

import click
from click.shell_completion import CompletionItem, get_completion_class, shell_complete

from grape.cli.output import print_raw
from grape.cli.people import Commands
from grape.cli.run import COMMANDS, COMPLETE, PEOPLE
from grape.config import Config
from grape.settings.declaration import Setting, settings_of
from grape.settings.kinds import Choice, Switch

SHELLS = ("bash", "zsh", "fish")
_FILES = ("config", "state")


@click.command(short_help="print completion for bash, zsh or fish")
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> int:
    """Print what makes a shell complete the commands and flags of grape.

    \b
    bash: grape completion bash > ~/.local/share/bash-completion/completions/grape
    zsh:  grape completion zsh > "${fpath[1]}/_grape"
    fish: grape completion fish > ~/.config/fish/completions/grape.fish
    """
    print_raw(script(shell).rstrip("\n"))
    return 0


def script(shell: str) -> str:
    """Returns the script for a shell of ``SHELLS``."""
    kind = get_completion_class(shell)
    assert kind is not None
    return kind(Commands("grape"), {}, "grape", COMPLETE).source()


def complete(environment: Mapping[str, str]) -> int:
    """Prints how the line in ``COMP_WORDS`` may go on, for the shell that ``COMPLETE`` names; returns the status."""
    words = environment.get("COMP_WORDS", "").split()[1:]
    # Without a command a line is that of a node.
    command = _node("grape") if words and words[0].startswith("-") else _AllCommands("grape")
    return shell_complete(command, {}, "grape", COMPLETE, environment[COMPLETE])


class _AllCommands(Commands):
    """The commands and the stand-ins for those that click does not run."""

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name == "run":
            return _node(name)
        printing = click.Option(["as_json", "--json"], is_flag=True, help="Print JSON, for programs.")
        if name == "config":
            return _group(name, _node("check"), _node("show", printing), click.Command("example"))
        if name == "state":
            return _group(name, _of_file("check", printing), *map(_of_file, ("dump", "import", "new-id")))
        return super().get_command(context, name)

    def shell_complete(self, context: click.Context, incomplete: str) -> list[CompletionItem]:
        """Returns the commands that may follow ``grape``, without an import of each."""
        texts = {name: command.help for name, command in (*PEOPLE.items(), *COMMANDS.items())}
        texts["run"] = "run a node, as without a command"
        return [CompletionItem(name, help=text) for name, text in texts.items() if name.startswith(incomplete)]


def _group(name: str, *commands: click.Command) -> click.Group:
    return click.Group(name, {str(command.name): command for command in commands})


def _of_file(name: str, *options: click.Option) -> click.Command:
    return click.Command(name, params=[click.Argument(["file"], type=click.Path()), *options])


def _node(name: str, *more: click.Option) -> click.Command:
    """Returns a command with the flags of a node."""
    version = click.Option(["version", "--version"], is_flag=True, help="print the version and exit")
    flags = [_option(setting) for setting in settings_of(Config)]
    return click.Command(name, params=[*flags, *more, version])


def _option(setting: Setting) -> click.Option:
    names = [setting.name, *setting.spellings]
    if isinstance(setting.kind, Switch):
        return click.Option(names, is_flag=True, help=setting.help)
    kind: click.Path | click.Choice[str] | None = None
    if isinstance(setting.kind, Choice):
        kind = click.Choice(setting.kind.placeholder.split("|"))
    elif setting.name in _FILES:
        kind = click.Path()
    # Lists may be given several times; the others are completed again, too, as the last one counts.
    return click.Option(names, type=kind, multiple=True, help=setting.help)
