"""Gives a state file to one process at a time, by a lock that the system releases however the process ends."""

from __future__ import annotations

import fcntl
import os
from datetime import UTC, datetime

MAX_NOTE_BYTES = 200


class StateError(Exception):
    """Raised for a state file that cannot be used; the text is ``PATH: PROBLEM``."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem


class StateInUse(StateError):
    """Raised for a state file that another process has open."""


class FileLock:
    """Locks ``path`` by means of ``path.lock``, which also names the process that holds the lock.

    The state file itself is not locked: SQLite's locks on it are lost when any of its descriptors is closed in this
    process. The lock file stays behind: if it were removed, two processes could lock two files of the same name.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor: int | None = None

    def take(self) -> None:
        """Takes the lock. Raises StateInUse if another process holds it, StateError if it cannot be made."""
        name = f"{self._path}.lock"
        try:
            descriptor = os.open(name, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            reason = error.strerror or str(error)
            # The lock file may belong to another user although the state file is ours.
            raise StateError(self._path, f"{name}: {reason}" if os.path.lexists(name) else reason) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(descriptor, MAX_NOTE_BYTES).decode("utf-8", "replace").strip() or "another process"
            os.close(descriptor)
            raise StateInUse(self._path, f"in use by {holder}") from error
        except OSError as error:
            os.close(descriptor)
            raise StateError(self._path, f"cannot be locked: {error.strerror or error}") from error
        self._descriptor = descriptor
        try:
            os.ftruncate(descriptor, 0)
            since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
            os.write(descriptor, f"process {os.getpid()} since {since} UTC\n".encode())
        except OSError:
            # On a full disk the lock holds all the same; only the note is missing.
            pass

    def release(self) -> None:
        """Releases the lock, if it is held."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)
