"""Runs grapes as processes: starts them, watches them, and ends each by its own id."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from gauntlet.client import Client, ClientError
from gauntlet.machine import END_SECONDS, HOST, ROOT, Ports, end_process, resident_bytes, until, user_and_system_seconds

START_SECONDS = 20.0
MODULE = ("-m", "grape")

_BAD = re.compile(r"Traceback|critical|\berror\b|\bUnhandled\b|Unexpected exception", re.IGNORECASE)


class GrapeProcess:
    """Starts a grape as a process and watches it; it is ended with ``close``.

    ``flags`` are more flags of the command, ``directory`` its working and temporary directory, ``runner`` what follows
    ``python`` on the command line, and ``open_files`` the limit of its file descriptors (None: as this process).
    """

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
        environment = {name: value for name, value in os.environ.items() if name != "DEBUG" and name[:6] != "GRAPE_"}
        environment |= {"TMPDIR": str(directory), "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT)}
        # What it writes is read as text.
        environment["GRAPE_LOG_FORMAT"] = "text"
        limit = None if open_files is None else (lambda: _limit_open_files(open_files))
        with self._log.open("wb") as log:
            self._popen = subprocess.Popen(
                command, cwd=directory, env=environment, stdout=log, stderr=log, preexec_fn=limit
            )
        self.pid = self._popen.pid

    @property
    def alive(self) -> bool:
        """True while the process runs."""
        return self._popen.poll() is None

    def ended(self) -> int:
        """Waits for its end, and returns the exit status."""
        return self._popen.wait(END_SECONDS)

    @property
    def log(self) -> str:
        """All that it wrote to stdout and stderr."""
        return self._log.read_text(errors="replace")

    def complaints(self) -> list[str]:
        """Returns the errors in its log, each with the last line of its traceback. There should be none."""
        return complaints_in(self.log)

    def wait(self) -> None:
        """Waits until its HTTP API answers. Raises TimeoutError, and RuntimeError if the process ends before."""

        def serves() -> bool:
            if not self.alive:
                raise RuntimeError(f"the grape ended: {self.log[-2000:]}")
            try:
                with Client(self.ports.api, seconds=2.0) as client:
                    return client.post("/", b"{}").status == 200
            except (OSError, ClientError):
                return False

        until("the grape serves", serves, START_SECONDS)

    def signal(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        self._popen.send_signal(number)

    def kill(self) -> None:
        """Kills it with SIGKILL, and reaps it."""
        self._popen.kill()
        self._popen.wait()

    def terminate(self) -> None:
        """Sends it SIGTERM, if it still runs."""
        if self.alive:
            self._popen.terminate()

    def close(self) -> None:
        """Ends it, if it still runs."""
        if self.alive:
            end_process(self._popen)

    def rss(self) -> int:
        """Returns its resident memory in bytes."""
        return resident_bytes(self.pid)

    def cpu(self) -> float:
        """Returns its processor time so far, in seconds."""
        return sum(user_and_system_seconds(self.pid))

    def deleted_files(self) -> int:
        """Counts its open files that are deleted, as a server's temporary files for large bodies are."""
        count = 0
        for link in Path(f"/proc/{self.pid}/fd").iterdir():
            try:
                count += os.readlink(link).endswith(" (deleted)")
            except OSError:
                continue
        return count

    def open_files(self) -> int:
        """Counts its open file descriptors."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def dropped(self) -> int:
        """Returns how many datagrams the kernel dropped because the buffer of its UDP socket was full."""
        for line in Path("/proc/net/udp").read_text().splitlines()[1:]:
            fields = line.split()
            if int(fields[1].partition(":")[2], 16) == self.ports.dht:
                return int(fields[-1])
        return 0


@contextmanager
def ring(
    number: int, *, runners: Sequence[Sequence[str]] = (), flags: Sequence[str] = ()
) -> Iterator[list[GrapeProcess]]:
    """Starts grapes that each know all others, waits until they have joined, and ends them with the block.

    ``runners[n]`` is the runner of grape n, if there is one; ``flags`` are for all of them.
    """
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
        # All get SIGTERM at once; then each is waited for.
        stack.callback(_terminate, grapes)
        for grape in grapes:
            grape.wait()
        for grape in grapes:
            with Client(grape.ports.api) as client:
                until("the ring is whole", partial(_is_known, client, number - 1), START_SECONDS)
        yield grapes


@contextmanager
def lone_grape(flags: Sequence[str] = (), *, open_files: int | None = None) -> Iterator[GrapeProcess]:
    """Starts one grape without contacts, waits until it serves, and ends it with the block."""
    with tempfile.TemporaryDirectory(prefix="gauntlet-") as directory:
        grape = GrapeProcess(Ports(), flags, directory=Path(directory), open_files=open_files)
        try:
            grape.wait()
            yield grape
        finally:
            grape.close()


def others(ports: Sequence[Ports], own: Ports) -> list[str]:
    """Returns the flags that make a grape join through all others."""
    nodes = ",".join(each.node for each in ports if each is not own)
    return ["--bn", nodes] if nodes else []


def complaints_in(log: str) -> list[str]:
    """Returns the errors in a log, each with the last line of its traceback."""
    found: list[str] = []
    in_traceback = False
    for line in log.splitlines():
        if in_traceback and not line.startswith((" ", "\t")):
            found[-1] += f" {line}"
            in_traceback = False
        elif _BAD.search(line) and not in_traceback:
            found.append(line.strip())
            in_traceback = "Traceback" in line
    return found


def complaints(grapes: Sequence[GrapeProcess]) -> list[str]:
    """Returns the errors in the logs of all grapes."""
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
