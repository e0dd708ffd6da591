"""Implements ``grape completion``: prints what makes bash, zsh or fish complete the commands and their flags.

Under 60 lines: click knows the shells.
"""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from grape.cli.run import COMPLETE

SHELLS = ("bash", "zsh", "fish")


@click.command(short_help="print completion for bash, zsh or fish")
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> int:
    """Print the completion of grape for a shell.

    \b
    bash: grape completion bash > ~/.local/share/bash-completion/completions/grape
    zsh:  grape completion zsh > "${fpath[1]}/_grape"
    fish: grape completion fish > ~/.config/fish/completions/grape.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None
    command = click.get_current_context().find_root().command
    click.echo(kind(command, {}, "grape", COMPLETE).source())
    return 0
