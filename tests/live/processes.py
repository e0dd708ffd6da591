"""Runs real peers as processes, grapes by all four commands among them, waits for them and calls their HTTP API."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, TypeVar

import attrs

from gauntlet import machine
from gauntlet.client import CALL_SECONDS, Client, ClientError
from gauntlet.machine import HOST as HOST
from gauntlet.machine import end_process
from gauntlet.machine import free_port as free_port

T = TypeVar("T")

START_SECONDS = 20.0
END_SECONDS = 10.0

_BIN = Path(sys.executable).parent
# twistd without a pid file, because several of them run at the same time.
COMMANDS: dict[str, list[str]] = {
    "grape": [str(_BIN / "grape")],
    "python -m grape": [sys.executable, "-m", "grape"],
    "twistd -n grape": [str(_BIN / "twistd"), "-n", "--pidfile=", "grape"],
    "twist grape": [str(_BIN / "twist"), "grape"],
}
# DEBUG of the developer's shell is not for the grapes, and what they write is seen at once, as text.
_ENVIRONMENT = {
    **{k: v for k, v in os.environ.items() if k != "DEBUG" and not k.startswith("GRAPE_")},
    "PYTHONUNBUFFERED": "1",
    "NO_COLOR": "1",
    "GRAPE_LOG_FORMAT": "text",
}


def until(what: str, holds: Callable[[], T], seconds: float = START_SECONDS) -> T:
    """Waits until ``holds()`` returns something true, and returns that. Raises TimeoutError."""
    return machine.until(what, holds, seconds)


def post(port: int, path: str, body: bytes, seconds: float = CALL_SECONDS) -> tuple[int, bytes]:
    """Sends a POST request over a new connection; returns status and body. Raises OSError, ClientError."""
    with Client(port, seconds) as client:
        reply = client.post(path, body)
    return reply.status, reply.body


@attrs.frozen
class Api:
    """Names the two ports of a grape, ours or the reference, and calls its HTTP API."""

    dht_port: int
    api_port: int

    @property
    def url(self) -> str:
        """The URL of the HTTP API."""
        return f"http://{HOST}:{self.api_port}"

    @property
    def node(self) -> str:
        """The address that other nodes join through: "host:port"."""
        return f"{HOST}:{self.dht_port}"

    def call(self, path: str, data: object) -> Any:
        """Makes a call, and returns the answer; None for an empty body. Raises OSError, ClientError unless 200."""
        with Client(self.api_port) as client:
            return client.call(path, data)

    def answers(self) -> bool:
        """Returns True if the API answers."""
        try:
            return post(self.api_port, "/", b"{}", 2.0)[0] == 200
        except (OSError, ClientError):
            return False


def new_api() -> Api:
    """Returns two free ports for a new grape."""
    return Api(free_port(), free_port())


def heed_signals() -> None:
    """Undoes in a new process that signals are ignored, as they are where a shell runs the tests in the background."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


class Process:
    """Runs a process, its output in files of ``directory``, until ``close`` ends it by its own id.

    ``environment`` are further variables, ``options`` those of Popen.
    """

    def __init__(
        self, command: Sequence[str], directory: Path, environment: Mapping[str, str] | None = None, **options: Any
    ) -> None:
        number = sum(path.suffix == ".out" for path in directory.iterdir())
        self._out, self._err = directory / f"{number}.out", directory / f"{number}.err"
        self.command = command
        options.setdefault("preexec_fn", heed_signals)
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self._popen = subprocess.Popen(
                command, cwd=directory, env={**_ENVIRONMENT, **(environment or {})}, stdout=out, stderr=err, **options
            )

    @property
    def pid(self) -> int:
        """The process id."""
        return self._popen.pid

    @property
    def stdin(self) -> IO[bytes] | None:
        """The pipe to its stdin, where one was asked for."""
        return self._popen.stdin

    @property
    def stdout(self) -> str:
        """All that it wrote to stdout so far."""
        return self._out.read_text()

    @property
    def stderr(self) -> str:
        """All that it wrote to stderr so far."""
        return self._err.read_text()

    @property
    def output(self) -> str:
        """All that it wrote so far: stdout, then stderr."""
        return self.stdout + self.stderr

    @property
    def status(self) -> int | None:
        """The exit status; None while it runs."""
        return self._popen.poll()

    def wait_for(self, what: str, holds: Callable[[], T]) -> T:
        """Waits as ``until`` does, and fails at once if the process ends."""

        def alive() -> T:
            assert self.status is None, f"{self.command} ended with {self.status}: {self.output}"
            return holds()

        return until(f"{what} of {self.command}", alive)

    def ended(self, seconds: float = END_SECONDS) -> int:
        """Waits for the end of the process, and returns its exit status."""
        try:
            return self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.command} still runs after {seconds:g} s: {self.output}") from None

    def signal(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        self._popen.send_signal(number)

    def close(self) -> None:
        """Ends it, if it has not ended."""
        if self._popen.stdin is not None:
            self._popen.stdin.close()
        end_process(self._popen, END_SECONDS)


@attrs.frozen
class GrapeProcess:
    """Holds a grape, ours or the reference's: its process and its API."""

    process: Process
    api: Api

    def call(self, path: str, data: object) -> Any:
        """Makes a call, as ``Api.call`` does."""
        return self.api.call(path, data)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Sends a signal, waits for the end, and returns the exit status."""
        self.process.signal(number)
        return self.process.ended()
