"""One process for a state file: a lock that the system takes back when the process ends, however it ends."""

from __future__ import annotations

import fcntl
import os
from datetime import UTC, datetime

MAX_NOTE_BYTES = 200


class StateError(Exception):
    """A state file that cannot be used: ``problem`` says why."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem


class StateInUse(StateError):
    """Another process has the file."""


class FileLock:
    """The lock of a file, in a small file beside it that says who has it.

    Not on the file itself: closing any descriptor of an SQLite file drops the locks that SQLite has there. The small
    file stays behind: to remove it would let two processes lock two files of one name.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor: int | None = None

    def take(self) -> None:
        """Take it. Raises StateInUse if another process has it, StateError if it cannot be made."""
        name = f"{self._path}.lock"
        try:
            descriptor = os.open(name, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            reason = error.strerror or str(error)
            # It may be another user's, beside a file that is ours.
            raise StateError(self._path, f"{name}: {reason}" if os.path.lexists(name) else reason) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(descriptor, MAX_NOTE_BYTES).decode("utf-8", "replace").strip() or "another process"
            os.close(descriptor)
            raise StateInUse(self._path, f"{holder} has it") from error
        except OSError as error:
            os.close(descriptor)
            raise StateError(self._path, f"it cannot be locked: {error.strerror or error}") from error
        self._descriptor = descriptor
        try:
            os.ftruncate(descriptor, 0)
            since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
            os.write(descriptor, f"process {os.getpid()}, since {since} UTC,\n".encode())
        except OSError:
            # A full disk: the lock holds all the same, only its holder is not told.
            pass

    def release(self) -> None:
        """Let others have it."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)
