"""Tests that services of the npm clients and of ours find each other: what one announces, the other looks up."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import IO, cast
from urllib.request import Request, urlopen

import pytest

from tests.client.styles import Opened, in_thread
from tests.live.conftest import Start, StartRing
from tests.live.items import new_name
from tests.live.processes import HOST, Process

pytestmark = pytest.mark.parametrize("which", ["http", "ws"])


class Rpc:
    """A worker and a client of an npm package, in one process."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._read = 0
        self.port = cast("int", self._line()["port"])

    def request(self, name: str) -> object:
        """Has the client call a service."""
        pipe = cast("IO[bytes]", self._process.stdin)
        pipe.write(f"{name}\n".encode())
        pipe.flush()
        return self._line()

    def _line(self) -> dict[str, object]:
        def line() -> str:
            lines = self._process.stdout.splitlines(keepends=True)[self._read :]
            return lines[0] if lines and lines[0].endswith("\n") else ""

        told: dict[str, object] = json.loads(self._process.wait_for("a line", line))
        self._read += 1
        return told


def start_rpc(start: Start, node: Path, which: str, grape: str, name: str, *, announce: bool) -> Rpc:
    settings = {"grape": grape, "which": which, "name": name, "announce": announce}
    return Rpc(start(["node", str(node / "rpc.js"), json.dumps(settings)], stdin=subprocess.PIPE))


@in_thread
def test_npm_client_calls_what_python_announced(
    open_link: Opened, grape_ring: StartRing, start: Start, node: Path, which: str
) -> None:
    first, second = grape_ring(2)
    name = new_name()
    rpc = start_rpc(start, node, which, second.api.url, name, announce=False)
    with open_link(first.api.url).announcing(name, rpc.port):
        assert rpc.request(name) == {"answer": [name, "grape ✓"]}


@in_thread
def test_python_finds_what_an_npm_worker_announced(
    open_link: Opened, grape_ring: StartRing, start: Start, node: Path, which: str
) -> None:
    first, second = grape_ring(2)
    name = new_name()
    rpc = start_rpc(start, node, which, second.api.url, name, announce=True)
    assert open_link(first.api.url).lookup(name) == [f"{HOST}:{rpc.port}"]
    if which == "http":
        # As Grenache's RPC over HTTP has it.
        call = Request(f"http://{HOST}:{rpc.port}/", json.dumps(["id", name, "words"]).encode())
        with urlopen(call, timeout=20) as response:
            assert json.load(response) == ["id", None, [name, "words"]]
