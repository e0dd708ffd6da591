"""Processes of real peers: grapes by all four commands, and how the tests wait for them and talk to them."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import attrs

T = TypeVar("T")

HOST = "127.0.0.1"
START_SECONDS = 20.0
CALL_SECONDS = 15.0
END_SECONDS = 10.0
POLL_SECONDS = 0.01

_BIN = Path(sys.executable).parent
# Without a pid file, as several of them are run at once.
COMMANDS: dict[str, list[str]] = {
    "grape": [str(_BIN / "grape")],
    "python -m grape": [sys.executable, "-m", "grape"],
    "twistd -n grape": [str(_BIN / "twistd"), "-n", "--pidfile=", "grape"],
    "twist grape": [str(_BIN / "twist"), "grape"],
}
# No setting of whoever runs the tests reaches the grapes; what is written is seen at once.
_ENVIRONMENT = {**{k: v for k, v in os.environ.items() if k != "DEBUG"}, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1"}


def until(what: str, holds: Callable[[], T], seconds: float = START_SECONDS) -> T:
    """What ``holds`` returns, once that is true. The only place where the tests wait by the clock."""
    end = time.monotonic() + seconds
    while not (result := holds()):
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(POLL_SECONDS)
    return result


_given: set[int] = set()


def free_port() -> int:
    """A port that is free for UDP and TCP on all addresses, and given once."""
    while True:
        with socket.socket(type=socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
            udp.bind(("", 0))
            port: int = udp.getsockname()[1]
            try:
                tcp.bind(("", port))
            except OSError:
                continue
        if port not in _given:
            _given.add(port)
            return port


def post(port: int, path: str, body: bytes, seconds: float = CALL_SECONDS) -> tuple[int, bytes]:
    """The status and body that a grape's HTTP API answers with. Raises OSError or HTTPException."""
    connection = http.client.HTTPConnection(HOST, port, timeout=seconds)
    try:
        connection.request("POST", path, body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@attrs.frozen
class Api:
    """The HTTP API of a grape, ours or the reference."""

    dht_port: int
    api_port: int

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.api_port}"

    @property
    def node(self) -> str:
        """What others bootstrap from."""
        return f"{HOST}:{self.dht_port}"

    def call(self, path: str, data: object) -> Any:
        """What a call answers; None for an empty body. Only 200 is well."""
        status, body = post(self.api_port, f"/{path}", json.dumps({"rid": "live", "data": data}).encode())
        assert status == 200, (status, body)
        return json.loads(body) if body else None

    def answers(self) -> bool:
        """Whether the API serves."""
        try:
            return post(self.api_port, "/", b"{}", 2.0)[0] == 200
        except (OSError, http.client.HTTPException):
            return False


def new_api() -> Api:
    return Api(free_port(), free_port())


class Process:
    """A process in a directory of its own, its output in files; ended by its own id and reaped."""

    def __init__(
        self, command: Sequence[str], directory: Path, environment: Mapping[str, str] | None = None, **options: Any
    ) -> None:
        number = sum(path.suffix == ".out" for path in directory.iterdir())
        self._out, self._err = directory / f"{number}.out", directory / f"{number}.err"
        self.command = command
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self._popen = subprocess.Popen(
                command, cwd=directory, env={**_ENVIRONMENT, **(environment or {})}, stdout=out, stderr=err, **options
            )

    @property
    def pid(self) -> int:
        """The process id."""
        return self._popen.pid

    @property
    def stdout(self) -> str:
        return self._out.read_text()

    @property
    def stderr(self) -> str:
        return self._err.read_text()

    @property
    def output(self) -> str:
        return self.stdout + self.stderr

    @property
    def status(self) -> int | None:
        """The exit status; None while it runs."""
        return self._popen.poll()

    def wait_for(self, what: str, holds: Callable[[], T]) -> T:
        """``until``, which fails at once when the process is gone."""

        def alive() -> T:
            assert self.status is None, f"{self.command} ended with {self.status}: {self.output}"
            return holds()

        return until(f"{what} of {self.command}", alive)

    def ended(self, seconds: float = END_SECONDS) -> int:
        """The exit status, once there is one."""
        try:
            return self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.command} still runs after {seconds:g} s: {self.output}") from None

    def signal(self, number: signal.Signals) -> None:
        self._popen.send_signal(number)

    def close(self) -> None:
        """End it, if it has not ended."""
        if self._popen.stdin is not None:
            self._popen.stdin.close()
        try:
            self._popen.terminate()
            self._popen.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()


@attrs.frozen
class GrapeProcess:
    """One of our grapes, running."""

    process: Process
    api: Api

    def call(self, path: str, data: object) -> Any:
        return self.api.call(path, data)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """The exit status after a signal."""
        self.process.signal(number)
        return self.process.ended()
