"""grape.cli.run: which words run a node and which a command, what each loads, and their help."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest

from grape.cli.people import Commands
from grape.cli.run import COMMANDS, PEOPLE
from tests.cli.conftest import SECONDS, OneGrape, Run, process

LIBRARIES = {"click", "rich", "httpx"}
ALL = [*PEOPLE, *COMMANDS]


def command_of(name: str) -> click.Command:
    found = Commands("grape").get_command(click.Context(click.Command("grape")), name)
    assert found is not None
    return found


def loaded(program: str) -> set[str]:
    """Returns the modules that a program has loaded at its end, by a Python of its own."""
    printing = f"import sys\ntry:\n    {program}\nexcept SystemExit:\n    pass\nsys.stderr.write(' '.join(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", printing], capture_output=True, text=True, timeout=SECONDS, check=True)
    return set(ran.stderr.splitlines()[-1].split())


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("words", [("{}", "--help"), ("{}", "-h"), ("help", "{}")], ids=" ".join)
def test_help_of_a_command_fits_80_columns(
    run: Run, monkeypatch: pytest.MonkeyPatch, name: str, words: tuple[str, str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    ran = run(*(word.format(name) for word in words))
    assert (ran.status, ran.err) == (0, "")
    assert [line for line in ran.out.splitlines() if len(line) > 80] == []
    assert f"grape {name}" in ran.out
    assert "Status: 0" in ran.out


def test_help_of_commands_is_no_wider_on_a_wide_terminal(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert max(map(len, run("put", "--help").out.splitlines())) <= 80


def test_help_of_grape_lists_all_commands_with_their_own_words(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    ran = run("--help")
    listed = ran.out.partition("Commands:\n")[2]
    assert [line for line in listed.splitlines() if len(line) > 80] == []
    for name, command in PEOPLE.items():
        assert command.help == command_of(name).short_help
        assert command.synopsis.startswith(f"grape {name}")
        assert " ".join(f"{command.synopsis} {command.help}".split()) in " ".join(listed.split())


def test_words_of_a_synopsis_are_those_that_the_command_takes() -> None:
    for name, command in PEOPLE.items():
        options = {option for parameter in command_of(name).params for option in parameter.opts}
        assert {
            word for word in command.synopsis.replace("[", " ").replace("|", " ").split() if "--" in word
        } <= options | {f"{option}]" for option in options}


def test_node_loads_no_library_of_the_commands() -> None:
    names = loaded("from grape.cli.run import main; main(['run', '--dp', 'x'])")
    assert "grape.tap" in names
    assert not names & {*LIBRARIES, "grape.cli.people", "grape.client"}
    assert not loaded("from grape.cli.run import main; main(['--help'])") & LIBRARIES


def test_ping_loads_no_http_client_and_no_twisted() -> None:
    names = loaded("from grape.cli.run import main; main(['ping', '127.0.0.1:1', '--timeout', '0.1'])")
    assert "click" in names
    assert not names & {"httpx", "rich", "twisted", "grape.config"}


@pytest.mark.parametrize("library", sorted(LIBRARIES))
def test_missing_library_is_said_with_what_brings_it(fake: OneGrape, library: str) -> None:
    program = f"import sys\nsys.modules['{library}'] = None\nfrom grape.cli.run import main\nmain(['lookup', 'a'])"
    ran = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        env={"GRAPE_URL": fake.url},
    )
    if library == "rich":
        # It is for tables and bars on a terminal alone.
        assert ran.returncode == 1
        return
    assert (ran.returncode, ran.stdout) == (69, "")
    assert ran.stderr == f"grape: this command needs the package {library}: pip install 'grape-dht[cli]'\n"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["lokup", "a"], "unknown word 'lokup'; did you mean grape lookup?"),
        (["anounce"], "unknown word 'anounce'; did you mean grape announce?"),
        (["stat"], "unknown word 'stat'; did you mean grape state?"),
        (["frobnicate"], "unknown word 'frobnicate' (try --help)"),
        (["--dp", "20001", "lookup", "a"], "the command lookup has to be the first word: grape lookup ..."),
        (["run", "lookup"], "the command lookup has to be the first word: grape lookup ..."),
        (["help", "frobnicate"], "Usage: grape [--dp PORT]"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_word_that_is_no_command_gets_a_hint(words: list[str], text: str) -> None:
    ran = process(*words)
    assert text in ran.stdout + ran.stderr
    assert ran.returncode == (0 if words[0] == "help" else 78)
