"""Helps with ports, processes and waiting on this machine, for the gauntlet, the benchmarks and the live tests."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import attrs

T = TypeVar("T")

HOST = "127.0.0.1"
ROOT = Path(__file__).resolve().parent.parent
END_SECONDS = 5.0
POLL_SECONDS = 0.005
# Below Linux's ephemeral ports, of which the gauntlet's own connections take thousands.
PORTS = range(12_000, 32_000)

_given: set[int] = set()


def until(what: str, holds: Callable[[], T], seconds: float) -> T:
    """Waits until ``holds()`` returns something true, and returns that.

    Raises TimeoutError, with ``what`` was waited for, after so many seconds.
    """
    end = time.monotonic() + seconds
    while not (result := holds()):
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds:g} s: {what}")
        time.sleep(POLL_SECONDS)
    return result


def free_port() -> int:
    """Returns a port that is free for UDP and TCP on all addresses, and that this process was not given before."""
    while True:
        port = random.choice(PORTS)
        if port in _given:
            continue
        with socket.socket(type=socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
            try:
                udp.bind(("", port))
                tcp.bind(("", port))
            except OSError:
                continue
        _given.add(port)
        return port


@attrs.define
class Ports:
    """Holds the two ports of a grape, free ones unless they are named."""

    dht: int = attrs.field(factory=free_port)
    api: int = attrs.field(factory=free_port)

    @property
    def node(self) -> str:
        """The grape's address for ``--bn``: "host:port"."""
        return f"{HOST}:{self.dht}"


def end_process(process: subprocess.Popen[bytes], seconds: float = END_SECONDS) -> None:
    """Ends a process by its own id, with SIGTERM and after so many seconds with SIGKILL, and reaps it."""
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def resident_bytes(pid: int) -> int:
    """Returns the resident memory of a process. Raises ProcessLookupError if it has ended."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(f"process {pid} has ended")


def user_and_system_seconds(pid: int) -> tuple[float, float]:
    """Returns the processor time of a process so far: in the program, and in the kernel for it."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = os.sysconf("SC_CLK_TCK")
    return int(fields[11]) / ticks, int(fields[12]) / ticks
