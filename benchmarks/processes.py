"""Runs the processes that are measured, ours and the peers', each in a directory of its own and ended by its own id."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.builds import HERE, Build
from benchmarks.figures import BUILDS, IN_MEMORY, LIBTORRENT, REFERENCE, BenchmarkError, Cost
from benchmarks.tools import node_packages
from gauntlet.client import Client, ClientError
from gauntlet.machine import HOST, ROOT, Ports, end_process, resident_bytes, until, user_and_system_seconds

START_SECONDS = 20.0


def environment(**more: str) -> dict[str, str]:
    """Returns the environment of a measured process: it imports this checkout, and no variable makes it log."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("GRAPE_")}
    kept = {name: value for name, value in others.items() if name not in ("DEBUG", "NODE_OPTIONS")}
    return kept | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"} | more


class Process:
    """Runs a process until the ``with`` block ends; its stderr goes to a file.

    ``more`` are further environment variables, ``options`` those of Popen. Raises BenchmarkError if it cannot start.
    """

    def __init__(self, command: Sequence[str], more: Mapping[str, str] | None = None, **options: Any) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="grape-bench-")
        self._errors = Path(self._directory.name) / "stderr"
        options.setdefault("stdout", subprocess.DEVNULL)
        self.began = time.monotonic()
        try:
            with self._errors.open("wb") as errors:
                options.setdefault("stderr", errors)
                self.popen = subprocess.Popen(
                    command, cwd=self._directory.name, env=environment(**(more or {})), **options
                )
        except OSError as error:
            self._directory.cleanup()
            raise BenchmarkError(f"{command[0]} could not be started: {error}") from error
        self.pid = self.popen.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for stream in (self.popen.stdin, self.popen.stdout, self.popen.stderr):
            if stream is not None:
                with suppress(OSError):
                    stream.close()
        end_process(self.popen)
        self._directory.cleanup()

    @property
    def errors(self) -> str:
        """The end of what it wrote to stderr."""
        return self._errors.read_text(errors="replace")[-800:] if self._errors.exists() else ""

    def check(self) -> None:
        """Raises BenchmarkError if the process has ended."""
        if self.popen.poll() is not None:
            raise BenchmarkError(f"a process ended with {self.popen.returncode}: {self.errors}")

    def resident_megabytes(self) -> float:
        """Returns its resident memory, in MB of 1,048,576 bytes."""
        return resident_bytes(self.pid) / 2**20

    def user_and_system_seconds(self) -> tuple[float, float]:
        """Returns its processor time so far, in the program and in the kernel, in steps of 10 ms."""
        return user_and_system_seconds(self.pid)

    def cpu_seconds(self) -> float:
        """Returns the processor time of all its threads so far, from the scheduler's nanoseconds."""
        total = 0
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            with suppress(OSError):
                total += int((task / "schedstat").read_text().split()[0])
        return total / 1e9


def cost_of(process: Process, load: Callable[[], float], seconds: float) -> Cost:
    """Returns the cost of one request. ``load()`` runs for ``seconds`` and returns the requests answered a second."""
    before = process.user_and_system_seconds()
    rate = load()
    after = process.user_and_system_seconds()
    requests = rate * seconds
    user, system = ((later - earlier) / requests * 1e6 for earlier, later in zip(before, after, strict=True))
    return Cost(user, system, rate)


def run_json(command: Sequence[str], seconds: float, **options: Any) -> dict[str, Any]:
    """Runs a program for at most so many seconds, and returns the last line that it prints, from JSON.

    Raises BenchmarkError if it fails or takes longer.
    """
    with Process(command, stdout=subprocess.PIPE, **options) as process:
        try:
            out, _ = process.popen.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise BenchmarkError(f"{Path(command[0]).name} did not end within {seconds:g} s") from None
        if process.popen.returncode:
            raise BenchmarkError(f"{' '.join(command[:3])} ended with {process.popen.returncode}: {process.errors}")
    try:
        result: dict[str, Any] = json.loads(out.splitlines()[-1])
    except (ValueError, IndexError) as error:
        raise BenchmarkError(f"{' '.join(command[:3])} printed no JSON: {out[-300:]!r}") from error
    return result


def command_of(side: str, ports: Ports, others: Sequence[Ports] = (), *flags: str, build: Build = HERE) -> list[str]:
    """Returns the command that starts a node of a side, which joins through ``others``. ``build`` is what ours runs."""
    if side == IN_MEMORY:
        flags = (*flags, "--state", ":memory:")
    if side == IN_MEMORY or side in BUILDS.values():
        program = [build.python, "-m", "grape"]
    elif side == REFERENCE:
        program = ["node", str(node_packages() / "grenache-grape" / "bin" / "grape.js")]
    else:
        assert side == LIBTORRENT
        return [sys.executable, "-m", "benchmarks.libtorrentnode", str(ports.dht)]
    nodes = ",".join(other.node for other in others)
    return [*program, "-b", HOST, "--dp", str(ports.dht), "--aph", str(ports.api), "--bn", nodes, *flags]


def wait_for_api(process: Process, port: int) -> None:
    """Waits until a grape's HTTP API answers. Raises BenchmarkError if it ends, TimeoutError if it does not answer."""

    def answers() -> bool:
        process.check()
        try:
            with Client(port, seconds=2.0) as client:
                # One of the four calls, without its data: any other path could make ours load its twisted.web site.
                return client.post("/lookup", b"{}").status == 200
        except (OSError, ClientError):
            return False

    until("a grape serves", answers, START_SECONDS)


def _reaches(client: Client, index: int, others: int) -> bool:
    return bool(client.call("announce", [f"bench:ring:{index}", 1]) == others)


@contextmanager
def ring(side: str, number: int, build: Build = HERE) -> Iterator[list[tuple[Process, Ports]]]:
    """Starts grapes of one side that know each other, waits until they have joined, and ends them with the block.

    ``build`` is what ours runs.
    """
    with ExitStack() as stack:
        ports = [Ports() for _ in range(number)]
        code = {"PYTHONPATH": str(build.path)}
        commands = [command_of(side, own, [other for other in ports if other is not own], build=build) for own in ports]
        started = [stack.enter_context(Process(command, code)) for command in commands]
        for process, own in zip(started, ports, strict=True):
            wait_for_api(process, own.api)
        for index, own in enumerate(ports):
            with Client(own.api) as client:
                until("the ring is whole", partial(_reaches, client, index, number - 1), START_SECONDS)
        yield list(zip(started, ports, strict=True))
        for process in started:
            process.check()
