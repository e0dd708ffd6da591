"""Provides real grapes, the reference and the Grenache clients from npm, all on loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from shutil import which
from typing import Any, NoReturn

import pytest
import pytest_twisted  # type: ignore[import-untyped]
from twisted.internet.defer import maybeDeferred

from grape import Grape
from tests.client.conftest import open_link as open_link
from tests.live.processes import COMMANDS, HOST, Api, GrapeProcess, Process, new_api

NODE = Path(__file__).parent / "node"
INSTALL_SECONDS = 180
CLIENT_SECONDS = 40
NODE_VERSION = 20

Start = Callable[..., Process]
StartGrape = Callable[..., GrapeProcess]
StartRing = Callable[..., list[GrapeProcess]]
StartReference = Callable[..., list[Api]]
StartPublished = Callable[..., list[GrapeProcess]]
RunClient = Callable[..., list[dict[str, object]]]
Embed = Callable[..., Awaitable[Grape]]
Test = Callable[..., Awaitable[None]]

over_the_reactor: Callable[[Test], Test] = pytest_twisted.ensureDeferred


def unavailable(reason: str) -> NoReturn:
    """Skips a test whose peer or tool is missing; fails it where CI is set, which installs all of them."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Makes the working directory of the processes, in which only their output and their state files are."""
    made = tmp_path / "run"
    made.mkdir()
    return made


@pytest.fixture
def start(directory: Path) -> Iterator[Start]:
    """Starts processes: ``start(command, environment=None, **options of Popen)``. They end with the test."""
    started: list[Process] = []

    def start(command: Sequence[str], environment: Mapping[str, str] | None = None, **options: object) -> Process:
        process = Process(command, directory, environment, **options)
        started.append(process)
        return process

    yield start
    for process in started:
        process.close()
    for process in started:
        # pytest shows this output if the test fails.
        sys.stdout.write(f"{' '.join(process.command)}\n{process.output}\n")


@pytest.fixture
def grape_process(start: Start) -> StartGrape:
    """Starts grapes, each with further flags, by one of the four commands; waits until the HTTP API answers."""

    def begin(
        *flags: str, command: str = "grape", environment: Mapping[str, str] | None = None, api: Api | None = None
    ) -> GrapeProcess:
        api = api or new_api()
        ports = ["--dp", str(api.dht_port), "--aph", str(api.api_port), "-b", HOST]
        process = start([*COMMANDS[command], *ports, *flags], environment)
        process.wait_for("an answer", api.answers)
        return GrapeProcess(process, api)

    return begin


@pytest.fixture
def grape_ring(grape_process: StartGrape) -> StartRing:
    """Starts a number of grapes that join through each other and through further nodes."""

    def begin(number: int, *nodes: str) -> list[GrapeProcess]:
        apis = [new_api() for _ in range(number)]
        known = [[*nodes, *(other.node for other in apis if other != api)] for api in apis]
        return [grape_process("--bn", ",".join(nodes), api=api) for api, nodes in zip(apis, known, strict=True)]

    return begin


# The last of several -b counts. A grape that listens on one address keeps a copy of what is announced through it, which
# would hide that no other grape was told.
NO_COPY = ("-b", "0.0.0.0")


@pytest.fixture
def pair(grape_process: StartGrape) -> tuple[GrapeProcess, GrapeProcess]:
    """Starts two grapes; the second knows the first and keeps no copy of what is announced through it."""
    first = grape_process()
    second = grape_process("--bn", first.api.node, *NO_COPY)
    assert second.call("announce", ["a ring of two", 1]) == 1
    return first, second


@pytest.fixture(scope="session")
def node() -> Path:
    """Returns the directory of the programs for Node.js, and installs their packages if one is missing."""
    if not which("node") or not which("npm"):
        unavailable("Node.js and npm are missing; Debian: apt install nodejs npm")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False).stdout.strip()
    if int(version.lstrip("v").partition(".")[0]) < NODE_VERSION:
        unavailable(f"Node.js {NODE_VERSION} or later is needed, not {version}")
    packages = json.loads((NODE / "package.json").read_text())["dependencies"]
    if not all((NODE / "node_modules" / package / "package.json").is_file() for package in packages):
        command = ["npm", "install", "--no-audit", "--no-fund"]
        try:
            install = subprocess.run(
                command, cwd=NODE, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            unavailable(f"npm install did not end within {INSTALL_SECONDS} s")
        if install.returncode:
            unavailable(f"npm install failed: {install.stderr.strip()[-500:]}")
    return NODE


@pytest.fixture
def reference_grapes(node: Path, start: Start) -> StartReference:
    """Starts reference grapes in one process, which store mutable items, and waits until they are ready."""

    def begin(number: int, bootstrap: Sequence[str]) -> list[Api]:
        apis = [new_api() for _ in range(number)]
        ports = [[api.dht_port, api.api_port] for api in apis]
        settings = {"ports": ports, "bootstrap": [*bootstrap, apis[0].node], "host": HOST, "verify": True}
        process = start(["node", str(node / "grapes.js"), json.dumps(settings)], stdin=subprocess.PIPE)
        process.wait_for("ready", lambda: process.stdout)
        return apis

    return begin


@pytest.fixture
def published_grapes(node: Path, start: Start) -> StartPublished:
    """Starts the reference's own command, which stores no mutable items, each knowing all others."""
    program = node / "node_modules" / "grenache-grape" / "bin" / "grape.js"

    def begin(number: int, bootstrap: Sequence[str]) -> list[GrapeProcess]:
        apis = [new_api() for _ in range(number)]
        grapes = []
        for api in apis:
            others = [*bootstrap, *(other.node for other in apis if other is not api)]
            ports = ["--dp", str(api.dht_port), "--aph", str(api.api_port), "-b", HOST]
            grapes.append(GrapeProcess(start(["node", str(program), *ports, "--bn", ",".join(others)]), api))
        for grape in grapes:
            grape.process.wait_for("an answer", grape.api.answers)
        return grapes

    return begin


@pytest.fixture
def run_client(node: Path) -> RunClient:
    """Runs the checks of a Grenache client, and returns what it prints of each."""

    def run(which: str, grapes: Sequence[GrapeProcess]) -> list[dict[str, object]]:
        settings = {"grapes": [grape.api.url for grape in grapes], "which": which, "mutable": True}
        command = ["node", str(node / "clients.js"), json.dumps(settings)]
        client = subprocess.run(command, capture_output=True, text=True, timeout=CLIENT_SECONDS, check=False)
        sys.stdout.write(client.stdout)
        assert client.returncode == 0, client.stdout + client.stderr
        return [json.loads(line) for line in client.stdout.splitlines()]

    return run


@pytest_twisted.async_yield_fixture()  # type: ignore[untyped-decorator]
async def embed() -> AsyncIterator[Embed]:
    """Starts grapes inside this process, on the real reactor, and waits until each has joined."""
    grapes: list[Grape] = []

    async def begin(**settings: Any) -> Grape:
        grape = Grape(**{"dht_port": 0, "host": HOST, **settings})
        grapes.append(grape)
        grape.startService()
        await grape.when_ready()
        return grape

    yield begin
    for grape in grapes:
        await maybeDeferred(grape.stopService)
