"""The programs of docs/embedding.md, each run by a Python of its own, in the network of a real grape."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from urllib.request import urlopen

import pytest
import pytest_twisted  # type: ignore[import-untyped]
from twisted.internet.defer import maybeDeferred

from grape import Grape
from tests.client.styles import in_thread
from tests.live.processes import free_port, until

ROOT = Path(__file__).parents[1]
PROGRAMS: list[str] = re.findall(
    r"```python\n(.*?)```", (ROOT / "docs" / "embedding.md").read_text(encoding="utf-8"), re.DOTALL
)
SECONDS = 20.0
TWISTD = "from twisted.scripts.twistd import run; run()"
PEER = "127.0.0.1:1337"

Embedding = subprocess.Popen[str]
Start = Callable[..., tuple[Embedding, int]]


def with_mark(mark: str) -> str:
    """Returns the one program in which ``mark`` stands."""
    (program,) = (program for program in PROGRAMS if mark in program)
    return program


@pytest_twisted.async_yield_fixture()  # type: ignore[untyped-decorator]
async def grape() -> AsyncIterator[Grape]:
    """Runs the first grape of the network, with one service."""
    first = Grape(dht_port=0, api_port=0, host="127.0.0.1")
    first.startService()
    await first.when_ready()
    await first.announce("rest:util:net", 1337)
    yield first
    await maybeDeferred(first.stopService)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a program that joins the network of a grape; returns it and its HTTP port.

    The grape is an argument, as older pytest-twisted gives asynchronous fixtures to tests alone.
    """
    started: list[Embedding] = []

    def begin(grape: Grape, program: str, *command: str) -> tuple[Embedding, int]:
        port = free_port()
        path = tmp_path / f"app{len(started)}.py"
        program = program.replace("grape1.example:20001", f"127.0.0.1:{grape.dht_port}")
        program = program.replace("dht_port=20001", "dht_port=0").replace("30001", str(grape.api_port))
        path.write_text(program.replace("8080", str(port)).replace("start(5.0)", "start(0.2)"), encoding="utf-8")
        started.append(
            subprocess.Popen(
                [sys.executable, *command, str(path)],
                cwd=tmp_path,
                env={"PYTHONPATH": str(ROOT)},
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1], port

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def read(port: int, path: str, data: bytes | None = None) -> bytes:
    """Returns what an HTTP server says, nothing while it does not answer."""
    with suppress(OSError), urlopen(f"http://127.0.0.1:{port}{path}", data, timeout=5) as answer:
        body: bytes = answer.read()
        return body
    return b""


def is_found(port: int, path: str, data: bytes | None = None) -> bool:
    return read(port, path, data).strip() == json.dumps([PEER]).encode()


@in_thread
def test_grape_in_the_service_tree_of_an_application_looks_up_and_stops_with_it(start: Start, grape: Grape) -> None:
    process, port = start(grape, with_mark("Application("), "-c", TWISTD, "-noy")
    until("the service is found", lambda: is_found(port, "/peers/rest:util:net"), SECONDS)
    process.terminate()
    # twistd stops all services, then ends by the signal that it was sent.
    printed, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == -signal.SIGTERM
    assert "Server Shut Down" in printed


@in_thread
def test_api_is_served_under_a_path_of_another_site(start: Start, grape: Grape) -> None:
    process, port = start(grape, with_mark("grape.resource()"))
    data = b'{"data":"rest:util:net"}'
    until("the service is found", lambda: is_found(port, "/grape/lookup", data), SECONDS)
    assert json.loads(read(port, "/grape/readyz")) == {"status": "ready"}
    assert read(port, "/") == b"hello"
    process.terminate()
    assert process.wait(SECONDS) == 0


@in_thread
def test_services_that_announce_themselves_find_each_other_until_one_stops(start: Start, grape: Grape) -> None:
    first, second = (start(grape, with_mark("keep_announced(NAME"))[0] for _ in range(2))
    greetings = [process.stdout.readline().split() for process in (first, second) if process.stdout is not None]
    assert [words[1:4] for words in greetings] == [["got", "hello", "from"]] * 2
    assert greetings[0][0] == greetings[1][-1].rpartition(":")[2]
    second.terminate()
    assert second.wait(SECONDS) == 0
    # Withdrawn before it ended.
    names = json.loads(read(grape.api_port or 0, "/lookup", b'{"data":"rest:hello"}'))
    assert names == [f"127.0.0.1:{greetings[0][0]}"]


@in_thread
def test_grape_runs_on_an_asyncio_loop(start: Start, grape: Grape) -> None:
    process, _ = start(grape, with_mark("asyncioreactor"))
    printed, _ = process.communicate(timeout=SECONDS)
    assert (process.returncode, printed) == (0, f"['{PEER}']\n")


# Before the grape is started, which older pytest-twisted does not stop after a test that skips itself.
@pytest.mark.skipif(not (find_spec("flask") and find_spec("crochet")), reason="flask or crochet is not installed")
@pytest.mark.parametrize("mark", ["blocking import Link", "from crochet"])
@in_thread
def test_flask_looks_up_by_the_client_or_by_a_grape_in_a_thread(start: Start, grape: Grape, mark: str) -> None:
    _, port = start(grape, with_mark(mark))
    until("the service is found", lambda: is_found(port, "/peers/rest:util:net"), SECONDS)


def test_every_program_is_run() -> None:
    assert len(PROGRAMS) == 6
