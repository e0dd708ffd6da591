"""Grapes as real processes: how they are started, watched and ended, each by its own id."""

from __future__ import annotations

import os
import random
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import attrs

from gauntlet.client import Client, ClientError

HOST = "127.0.0.1"
START_SECONDS = 20.0
END_SECONDS = 5.0
# Below Linux's ephemeral ports, which the gauntlet's own connections use up by the thousand.
PORTS = range(12_000, 32_000)
MODULE = ("-m", "grape")
ROOT = Path(__file__).resolve().parent.parent

_BAD = re.compile(r"Traceback|critical|\berror\b|\bUnhandled\b|Unexpected exception", re.IGNORECASE)
_given: set[int] = set()


class NotInTime(Exception):
    """What was waited for did not come."""


def until(what: str, holds: Callable[[], bool], seconds: float) -> float:
    """The seconds until something holds. Raises NotInTime."""
    began = time.monotonic()
    while not holds():
        if time.monotonic() - began > seconds:
            raise NotInTime(f"not within {seconds:g} s: {what}")
        time.sleep(0.005)
    return time.monotonic() - began


def free_port() -> int:
    """A port of loopback that is free for UDP and TCP, given once."""
    while True:
        port = random.choice(PORTS)
        if port in _given:
            continue
        with socket.socket(type=socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
            try:
                udp.bind((HOST, port))
                tcp.bind((HOST, port))
            except OSError:
                continue
        _given.add(port)
        return port


@attrs.define
class Ports:
    """Where a grape listens."""

    dht: int = attrs.field(factory=free_port)
    api: int = attrs.field(factory=free_port)

    @property
    def node(self) -> str:
        """What others bootstrap from."""
        return f"{HOST}:{self.dht}"


class GrapeProcess:
    """A grape in a directory of its own, which is its temporary directory too. ``runner`` comes after ``python``."""

    def __init__(
        self,
        ports: Ports,
        flags: Sequence[str] = (),
        *,
        directory: Path,
        runner: Sequence[str] = MODULE,
        open_files: int | None = None,
    ) -> None:
        self.ports = ports
        self.directory = directory
        self._log = directory / f"{ports.dht}.{time.monotonic_ns()}.log"
        command = [sys.executable, *runner, "-b", HOST, "--dp", str(ports.dht), "--aph", str(ports.api), *flags]
        environment = {name: value for name, value in os.environ.items() if name != "DEBUG"}
        environment |= {"TMPDIR": str(directory), "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT)}
        limit = None if open_files is None else (lambda: _limit_open_files(open_files))
        with self._log.open("wb") as log:
            self._popen = subprocess.Popen(
                command, cwd=directory, env=environment, stdout=log, stderr=log, preexec_fn=limit
            )
        self.pid = self._popen.pid

    @property
    def alive(self) -> bool:
        return self._popen.poll() is None

    def ended(self) -> int:
        """The status with which it ended."""
        return self._popen.wait(END_SECONDS)

    @property
    def log(self) -> str:
        """All that it wrote."""
        return self._log.read_text(errors="replace")

    def complaints(self) -> list[str]:
        """What its log tells of errors, each with the line that ends its traceback: it should write none."""
        found: list[str] = []
        in_traceback = False
        for line in self.log.splitlines():
            if in_traceback and not line.startswith((" ", "\t")):
                found[-1] += f" {line}"
                in_traceback = False
            elif _BAD.search(line) and not in_traceback:
                found.append(line.strip())
                in_traceback = "Traceback" in line
        return found

    def wait(self) -> None:
        """Until it serves. Raises NotInTime."""

        def serves() -> bool:
            if not self.alive:
                raise NotInTime(f"the grape ended: {self.log[-2000:]}")
            try:
                with Client(self.ports.api, seconds=2.0) as client:
                    return client.post("/", b"{}").status == 200
            except (OSError, ClientError):
                return False

        until("the grape serves", serves, START_SECONDS)

    def signal(self, number: signal.Signals) -> None:
        self._popen.send_signal(number)

    def kill(self) -> None:
        """kill -9."""
        self._popen.kill()
        self._popen.wait()

    def terminate(self) -> None:
        """Ask it to end."""
        if self.alive:
            self._popen.terminate()

    def close(self) -> None:
        """End it, however it takes that."""
        if not self.alive:
            return
        self._popen.terminate()
        try:
            self._popen.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def rss(self) -> int:
        """Bytes of resident memory."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise NotInTime("the grape has no memory any more")

    def cpu(self) -> float:
        """Seconds of processor time so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def deleted_files(self) -> int:
        """Open files that have no name any more: where a server hides big bodies."""
        count = 0
        for link in Path(f"/proc/{self.pid}/fd").iterdir():
            try:
                count += os.readlink(link).endswith(" (deleted)")
            except OSError:
                continue
        return count

    def open_files(self) -> int:
        """How many file descriptors it has open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def dropped(self) -> int:
        """Datagrams that the kernel threw away because the grape's socket was full."""
        for line in Path("/proc/net/udp").read_text().splitlines()[1:]:
            fields = line.split()
            if int(fields[1].partition(":")[2], 16) == self.ports.dht:
                return int(fields[-1])
        return 0


@contextmanager
def ring(
    number: int, *, runners: Sequence[Sequence[str]] = (), flags: Sequence[str] = ()
) -> Iterator[list[GrapeProcess]]:
    """Grapes that each know all others, as the README of the Node grape has them; ready, and ended afterwards."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gauntlet-")))
        ports = [Ports() for _ in range(number)]
        grapes: list[GrapeProcess] = []
        for index, own in enumerate(ports):
            place = directory / str(index)
            place.mkdir()
            runner = runners[index] if index < len(runners) else MODULE
            grape = GrapeProcess(own, [*others(ports, own), *flags], directory=place, runner=runner)
            grapes.append(grape)
            stack.callback(grape.close)
        # All at once; then each is waited for.
        stack.callback(_terminate, grapes)
        for grape in grapes:
            grape.wait()
        for grape in grapes:
            with Client(grape.ports.api) as client:
                until("the ring is whole", lambda c=client: _is_known(c, number - 1), START_SECONDS)  # type: ignore[misc]
        yield grapes


@contextmanager
def lone_grape(flags: Sequence[str] = (), *, open_files: int | None = None) -> Iterator[GrapeProcess]:
    """A grape that knows nobody; ready, and ended afterwards."""
    with tempfile.TemporaryDirectory(prefix="gauntlet-") as directory:
        grape = GrapeProcess(Ports(), flags, directory=Path(directory), open_files=open_files)
        try:
            grape.wait()
            yield grape
        finally:
            grape.close()


def others(ports: Sequence[Ports], own: Ports) -> list[str]:
    """The flags by which a grape knows all others."""
    nodes = ",".join(each.node for each in ports if each is not own)
    return ["--bn", nodes] if nodes else []


def complaints(grapes: Sequence[GrapeProcess]) -> list[str]:
    """What all of them complained about."""
    return [line for grape in grapes for line in grape.complaints()]


def _terminate(grapes: Sequence[GrapeProcess]) -> None:
    for grape in grapes:
        grape.terminate()


def _is_known(client: Client, number: int) -> bool:
    if number == 0:
        return True
    return bool(client.call("announce", ["gauntlet:ring", 1]) == number)


def _limit_open_files(number: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (number, number))
