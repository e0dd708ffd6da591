"""Takes systemd's part for a process: receives its messages, and hands sockets over to it."""

from __future__ import annotations

import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Self

# Puts the sockets where sd_listen_fds(3) has them; LISTEN_PID is known only in the process itself.
_LAUNCH = """
import fcntl, os, sys

sockets, command = sys.argv[1].split(","), sys.argv[2:]
held = [fcntl.fcntl(int(one), fcntl.F_DUPFD, 100) for one in sockets]
for at, one in enumerate(held, 3):
    os.dup2(one, at)
    os.close(one)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(held))}
os.execv(command[0], command)
"""


class NotifySocket:
    """Receives what a process tells systemd: ``messages``, each a list of lines, without WATCHDOG=1 and STATUS= alone.

    ``statuses`` are the texts of STATUS=, ``pings`` is the number of messages to the watchdog.
    """

    def __init__(self, directory: Path) -> None:
        self.path = str(directory / "notify")
        self.messages: list[list[str]] = []
        self.statuses: list[str] = []
        self.pings = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self._thread = Thread(target=self._receive, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending:
            sending.sendto(b"", self.path)
        self._thread.join()
        self._socket.close()

    @property
    def first_lines(self) -> list[str]:
        """The first lines of the messages."""
        return [message[0] for message in self.messages]

    def _receive(self) -> None:
        while message := self._socket.recv(65_536).decode():
            lines = message.split("\n")
            self.statuses += [line.partition("=")[2] for line in lines if line.startswith("STATUS=")]
            if lines == ["WATCHDOG=1"]:
                self.pings += 1
            elif not all(line.startswith("STATUS=") for line in lines):
                self.messages.append(lines)


def with_sockets(command: Sequence[str], *sockets: socket.socket) -> tuple[list[str], tuple[int, ...]]:
    """Returns the command that hands sockets over to ``command``, and the descriptors that it has to inherit."""
    descriptors = tuple(one.fileno() for one in sockets)
    return [sys.executable, "-c", _LAUNCH, ",".join(map(str, descriptors)), *command], descriptors
