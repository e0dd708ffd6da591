"""grape.cli.completion: lines that bash completes, and the scripts for all three shells."""

from __future__ import annotations

import subprocess
from pathlib import Path
from shutil import which

import pytest

from grape.cli.completion import SHELLS
from grape.cli.run import COMMANDS, PEOPLE
from grape.config import Config
from grape.settings.declaration import settings_of
from tests.cli.conftest import SECONDS, environment, process

FLAGS = {spelling for setting in settings_of(Config) for spelling in setting.spellings}
# As a user would, after the script of `grape completion bash`; what is typed stands in the arguments.
BASH = """
eval "$(grape completion bash)"
compopt() { :; }
COMP_WORDS=(grape "$@")
COMP_CWORD=$#
_grape_completion grape
printf '%s\\n' "${COMPREPLY[@]}"
"""


def found(shell: str) -> str:
    """Returns where a shell is; skips the test if it is not installed."""
    path = which(shell)
    if path is None:
        pytest.skip(f"{shell} is not installed")
    return path


@pytest.fixture
def with_grape(tmp_path: Path) -> dict[str, str]:
    """Returns an environment in which ``grape`` is this one."""
    import os
    import sys

    command = tmp_path / "grape"
    command.write_text(f'#!/bin/sh\nPYTHONPATH="{Path.cwd()}" exec {sys.executable} -m grape "$@"\n')
    command.chmod(0o755)
    return environment(PATH=f"{tmp_path}:{os.environ['PATH']}")


def completed(with_grape: dict[str, str], *words: str) -> list[str]:
    """Returns what a real bash offers for a line; the last of the words is the one under the cursor."""
    command = [found("bash"), "--norc", "--noprofile", "-c", BASH, "bash", *words]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True, env=with_grape)
    assert ran.stderr == ""
    return ran.stdout.split()


def test_bash_completes_commands(with_grape: dict[str, str]) -> None:
    assert set(completed(with_grape, "")) == {*PEOPLE, *COMMANDS, "run"}
    assert completed(with_grape, "look") == ["lookup"]
    assert set(completed(with_grape, "st")) == {"status", "state"}
    assert completed(with_grape, "x") == []


@pytest.mark.parametrize(
    "before", [(), ("--dp", "20001"), ("--read-only",), ("--bn", "--aph=1"), ("run",), ("run", "--dp", "1")]
)
def test_bash_completes_flags_of_a_node(with_grape: dict[str, str], before: tuple[str, ...]) -> None:
    offered = completed(with_grape, *before, "--dht")
    assert set(offered) >= {flag for flag in FLAGS if flag.startswith("--dht")} - {*before}
    assert all(flag.startswith("--dht") for flag in offered)


def test_bash_completes_every_flag(with_grape: dict[str, str]) -> None:
    assert set(completed(with_grape, "--")) == {*(flag for flag in FLAGS if flag[:2] == "--"), "--version", "--help"}
    assert completed(with_grape, "--profile", "p") == ["private", "public"]


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["lookup", "--"], {"--trace", "--first", "--json", "--url", "--timeout", "--help"}),
        (["lookup", "name", "--tr"], {"--trace"}),
        (["announce", "name", "1", "--"], {"--ttl", "--keep", "--json", "--url", "--timeout", "--help"}),
        (["completion", ""], {*SHELLS}),
        (["config", ""], {"check", "show", "example"}),
        (["config", "show", "--js"], {"--json"}),
        (["config", "check", "--dra"], {"--drain"}),
        (["state", "d"], {"dump"}),
        (["state", "check", "--"], {"--json", "--help"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bash_completes_the_words_of_a_command(with_grape: dict[str, str], words: list[str], offered: set[str]) -> None:
    assert set(completed(with_grape, *words)) == offered


@pytest.mark.parametrize("shell", SHELLS)
def test_script_is_one_that_its_shell_can_read(tmp_path: Path, shell: str) -> None:
    ran = process("completion", shell)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "_GRAPE_COMPLETE" in ran.stdout
    script = tmp_path / "script"
    script.write_text(ran.stdout)
    subprocess.run([found(shell), "-n", script], timeout=SECONDS, check=True)


def test_fish_completes_commands_with_their_texts(with_grape: dict[str, str]) -> None:
    program = "grape completion fish | source; complete --do-complete 'grape look'"
    command = [found("fish"), "--no-config", "-c", program]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True, env=with_grape)
    assert ran.stdout == f"lookup\t{PEOPLE['lookup'].help}\n"
