"""Runs code blocks of documents: sessions of a shell, scripts, programs, rings; and checks those that cannot be run.

Each function takes a block and the grape that is there for it, with a folder of its own to work in; it is called in a
thread while the reactor serves the grape.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import NamedTuple

import pytest
from twisted.python.usage import UsageError

from grape import Grape
from grape.cli.run import COMMANDS, PEOPLE
from grape.config import Config
from grape.resource import routes
from grape.settings.file import read_text
from grape.settings.places import Read
from grape.tap import Options
from tests.cli.conftest import environment
from tests.live.processes import Process, new_api, until

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 60.0
# Commands of other programs, which nothing here can run: they change the machine, or are not installed everywhere.
OUTSIDE = {"editor", "mv", "pip", "py-spy", "python3", "systemctl", "wrk"}


class Place(NamedTuple):
    """Holds what a block has while it runs: the port of a grape's HTTP API, and a folder of its own."""

    port: int
    folder: Path


Runner = Callable[[str, Place], None]


def place_of(grape: Grape, folder: Path) -> Place:
    """Returns the place that a running grape gives."""
    assert grape.api_port is not None
    return Place(grape.api_port, folder)


def session(text: str, place: Place) -> None:
    """Runs the commands after each "$ " in one shell, and compares what each prints with the lines after it."""
    parts = re.split(r"^\$ (.*)\n", text, flags=re.MULTILINE)[1:]
    steps = list(zip(parts[::2], parts[1::2], strict=True))
    program = "".join(f"{command}\necho; echo '==='\n" for command, _ in steps)
    printed = _shell(program, place).split("===\n")[:-1]
    assert [part.strip() for part in printed] == [expected.strip() for _, expected in steps]


def script(before: str = "") -> Runner:
    """Returns what runs a block as a script that must end well, after lines that prepare for it."""

    def run(text: str, place: Place) -> None:
        _shell(f"set -e\n{before}\n{text}", place)

    return run


def _shell(program: str, place: Place) -> str:
    if which("bash") is None or which("curl") is None:
        pytest.skip("bash or curl is not installed")
    commands = f'grape() {{ {sys.executable} -m grape "$@"; }}\ncurl() {{ command curl -s "$@"; }}\nexec 2>&1\n'
    ran = subprocess.run(
        ["bash", "-c", commands + program.replace("30001", str(place.port))],
        cwd=place.folder,
        env=environment(
            PYTHONPATH=str(ROOT),
            HOME=str(place.folder),
            GRAPE_URL=f"http://127.0.0.1:{place.port}",
            PYTHON=sys.executable,
        ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout
    return ran.stdout


def program(printed: str, ports: Sequence[int]) -> Runner:
    """Returns what runs a block as a Python program, with free ports instead of ``ports``, and checks its output."""

    def run(text: str, place: Place) -> None:
        apis = new_api()
        for port, free in zip(ports, (apis.dht_port, apis.api_port), strict=True):
            text = text.replace(str(port), str(free))
        ran = subprocess.run(
            [sys.executable, "-c", text],
            cwd=place.folder,
            env=environment(PYTHONPATH=str(ROOT)),
            stdout=subprocess.PIPE,
            text=True,
            timeout=SECONDS,
            check=True,
        )
        assert ran.stdout.strip() == printed

    return run


def ring(text: str, place: Place) -> None:
    """Starts a grape for each line, with free ports; what is announced at the first one is found at the last one."""
    pairs = re.findall(r"--dp (\d+) --aph (\d+)", text)
    apis = [new_api() for _ in pairs]
    free = {
        port: str(value)
        for pair, api in zip(pairs, apis, strict=True)
        for port, value in zip(pair, (api.dht_port, api.api_port), strict=True)
    }
    adapted = re.sub(r"\b\d{5}\b", lambda found: free[found[0]], text)
    started = [
        Process([sys.executable, "-m", *shlex.split(line)], place.folder, {"PYTHONPATH": str(ROOT)})
        for line in adapted.splitlines()
    ]
    try:
        until("all answer", lambda: all(api.answers() for api in apis))
        until("the ring is whole", lambda: apis[0].call("announce", ["rest:util:net", 1337]) == len(apis) - 1)
        assert apis[-1].call("lookup", "rest:util:net") == ["127.0.0.1:1337"]
    finally:
        for process in started:
            process.close()


def words(text: str, place: Place) -> None:
    """Checks commands that are not run: targets of make, flags and commands of the grape, modules of Python exist."""
    for line in text.splitlines():
        for command in _commands(shlex.split(line, comments=True)):
            _check(command)


def _commands(line: Sequence[str]) -> Iterator[list[str]]:
    command: list[str] = []
    for word in line:
        if word in ("&&", "&", "|", "||", ";"):
            yield command
            command = []
        else:
            command.append(word)
    if command:
        yield command


def _check(command: Sequence[str]) -> None:
    first, rest = Path(command[0]).name, list(command[1:])
    if first == "make":
        targets = (ROOT / "Makefile").read_text(encoding="utf-8")
        assert [word for word in rest if "=" not in word and f"\n{word}:" not in targets] == []
    elif first == "python" and rest[0] == "-m":
        assert find_spec(rest[1]) is not None, rest[1]
    elif first == "twistd":
        _check(rest[rest.index("grape") :])
    elif first == "grape" and rest[0] in (*PEOPLE, *COMMANDS):
        pass
    elif first == "grape":
        try:
            Options().parseOptions(rest)
        except UsageError as error:
            raise AssertionError(f"{shlex.join(command)}: {error}") from None
    else:
        assert first in OUTSIDE, first


def settings(text: str, place: Place) -> None:
    """Reads a file of settings: it has no error, and every setting that it names is another one than the default."""
    read = Read()
    read_text(Config, text, "grape.toml", read)
    assert read.problems == []
    assert len(tomllib.loads(text)) > 0


def answers(text: str, place: Place) -> None:
    """Parses the documents of a block: each has the members of an example that a route declares."""
    declared = [_shape(json.loads(route.example)) for route in routes() if route.example]
    decoder, rest = json.JSONDecoder(), text.strip()
    while rest:
        found, end = decoder.raw_decode(rest)
        assert _shape(found) in declared, sorted(found)
        rest = rest[end:].strip()


def _shape(value: object) -> object:
    """Returns the members of an object, of a list's first entry, or the kind of anything else."""
    if isinstance(value, list):
        return [_shape(entry) for entry in value[:1]]
    return sorted(value) if isinstance(value, Mapping) else type(value).__name__


def health_check(text: str, place: Place) -> None:
    """Runs the command of a Dockerfile's HEALTHCHECK."""
    (command,) = re.findall(r"CMD (\[.*\])", text)
    _, *arguments = json.loads(command)
    adapted = [argument.replace("30001", str(place.port)) for argument in arguments]
    subprocess.run([sys.executable, *adapted], timeout=SECONDS, check=True)


def paths(text: str, place: Place) -> None:
    """Checks lines for another program, which is not run: the paths in them are ours."""
    known = {route.path for route in routes()}
    found = re.findall(r"(?:path: |:30001)(/[a-z]+)", text)
    assert found
    assert set(found) <= known
