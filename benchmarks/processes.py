"""The processes that are measured: ours and the peers', each in a directory of its own and ended by its own id."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import attrs

from benchmarks.figures import IN_MEMORY, LIBTORRENT, OURS, REFERENCE, BenchmarkError
from benchmarks.tools import ROOT, node_packages
from gauntlet.client import Client, ClientError
from gauntlet.processes import HOST, free_port

START_SECONDS = 20.0
END_SECONDS = 5.0
POLL_SECONDS = 0.01


def until(what: str, holds: Callable[[], bool], seconds: float = START_SECONDS) -> None:
    """Wait until something holds. Raises BenchmarkError."""
    ends = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > ends:
            raise BenchmarkError(f"not within {seconds:g} s: {what}")
        time.sleep(POLL_SECONDS)


def environment(**more: str) -> dict[str, str]:
    """What a measured process gets: this checkout first, nothing that makes it talk."""
    kept = {name: value for name, value in os.environ.items() if name not in ("DEBUG", "NODE_OPTIONS")}
    return kept | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"} | more


class Process:
    """A process that runs until the ``with`` block ends. Its errors go to a file; ``options`` are Popen's."""

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
        self.popen.terminate()
        try:
            self.popen.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()
        self._directory.cleanup()

    @property
    def errors(self) -> str:
        """The end of what it wrote to stderr."""
        return self._errors.read_text(errors="replace")[-800:] if self._errors.exists() else ""

    def check(self) -> None:
        """Raises BenchmarkError if it has ended."""
        if self.popen.poll() is not None:
            raise BenchmarkError(f"a process ended with {self.popen.returncode}: {self.errors}")

    def resident_megabytes(self) -> float:
        """Its resident memory."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        raise BenchmarkError("the process has no memory any more")

    def user_and_system_seconds(self) -> tuple[float, float]:
        """The processor time so far, by the kernel's accounting: in the program, and in the system for it."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        ticks = os.sysconf("SC_CLK_TCK")
        return int(fields[11]) / ticks, int(fields[12]) / ticks

    def cpu_seconds(self) -> float:
        """The processor time of all its threads so far, from the scheduler's nanoseconds."""
        total = 0
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            with suppress(OSError):
                total += int((task / "schedstat").read_text().split()[0])
        return total / 1e9


def run_json(command: Sequence[str], seconds: float, **options: Any) -> dict[str, Any]:
    """What a program prints, one line of JSON, when it has ended well. Raises BenchmarkError."""
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


@attrs.frozen
class Ports:
    """Where a grape listens."""

    dht: int = attrs.field(factory=free_port)
    api: int = attrs.field(factory=free_port)


def command_of(side: str, ports: Ports, others: Sequence[Ports] = (), *flags: str) -> list[str]:
    """How a side's grape is started."""
    if side == IN_MEMORY:
        return [*command_of(OURS, ports, others, *flags), "--state", ":memory:"]
    if side == OURS:
        program = [sys.executable, "-m", "grape"]
    elif side == REFERENCE:
        program = ["node", str(node_packages() / "grenache-grape" / "bin" / "grape.js")]
    else:
        assert side == LIBTORRENT
        return [sys.executable, "-m", "benchmarks.libtorrentnode", str(ports.dht)]
    nodes = ",".join(f"{HOST}:{other.dht}" for other in others)
    return [*program, "-b", HOST, "--dp", str(ports.dht), "--aph", str(ports.api), "--bn", nodes, *flags]


def wait_for_api(process: Process, port: int) -> None:
    """Until a grape's HTTP API answers. Raises BenchmarkError."""

    def answers() -> bool:
        process.check()
        try:
            with Client(port, seconds=2.0) as client:
                # One of the four calls, if without its data: anything else would have ours load its twisted.web site.
                return client.post("/lookup", b"{}").status == 200
        except (OSError, ClientError):
            return False

    until("a grape serves", answers)


@contextmanager
def ring(side: str, number: int, checkout: Path = ROOT) -> Iterator[list[tuple[Process, Ports]]]:
    """Grapes of one side, each in a process of its own, that know each other; ready. ``checkout``: whose code runs."""
    with ExitStack() as stack:
        ports = [Ports() for _ in range(number)]
        code = {"PYTHONPATH": str(checkout)}
        started = [
            stack.enter_context(Process(command_of(side, own, [other for other in ports if other is not own]), code))
            for own in ports
        ]
        for process, own in zip(started, ports, strict=True):
            wait_for_api(process, own.api)
        for index, own in enumerate(ports):
            with Client(own.api) as client:
                until(
                    "the ring is whole",
                    lambda c=client, n=index: c.call("announce", [f"bench:ring:{n}", 1]) == number - 1,  # type: ignore[misc]
                )
        yield list(zip(started, ports, strict=True))
        for process in started:
            process.check()
