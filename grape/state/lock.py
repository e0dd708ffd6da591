"""Gives a state file to one process at a time, by a lock that the system releases however the process ends."""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import struct
import sys
import time
from datetime import UTC, datetime

from grape.settings.texts import in_one_line

MAX_NOTE_BYTES = 200
# ``holder_of`` takes a free lock for some microseconds: whoever comes at that moment tries again.
TRIES = 3
TRY_SECONDS = 0.01

_NOT_WRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT}
_NOT_WRITABLE_SQLITE = {sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN}
# The bytes of a database file that SQLite locks: its PENDING_BYTE and those after it.
_SQLITE_LOCKS = 0x40000000, 512
# ``struct flock`` of 64-bit Linux: type, whence, start, length, process id.
_FLOCK = struct.Struct("hhqqi")


class StateError(Exception):
    """Raised for a state file that cannot be used; the text is ``PATH: PROBLEM``, in one line."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(in_one_line(f"{path}: {problem}"))
        self.path = path
        self.problem = problem

    @property
    def is_unwritable(self) -> bool:
        """True if the process may not write there: no right to it, a read-only filesystem, or a removed folder."""
        cause = self.__cause__
        if isinstance(cause, sqlite3.Error):
            return getattr(cause, "sqlite_errorcode", 0) & 0xFF in _NOT_WRITABLE_SQLITE
        return isinstance(cause, OSError) and cause.errno in _NOT_WRITABLE


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
            if not _locks(descriptor, TRIES):
                holder = _note(descriptor)
                os.close(descriptor)
                raise StateInUse(self._path, f"in use by {holder}")
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


def holder_of(path: str) -> str | None:
    """Returns the process that has a state file, as "process 123 since ..."; None if nobody has it.

    Makes and changes no file. Another program than a grape may have the file, too: one that locks it against SQLite's
    readers is found on 64-bit Linux. Not for a process that has the file open itself, whose own SQLite locks on it
    would be lost.
    """
    try:
        path = os.path.realpath(path)
        descriptor = os.open(f"{path}.lock", os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return _sqlite_holder(path)
    try:
        return _sqlite_holder(path) if _locks(descriptor, 1) else _note(descriptor)
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _locks(descriptor: int, tries: int) -> bool:
    """Takes the lock of an open lock file; returns False if another process has it. Raises OSError."""
    for number in range(tries):
        if number:
            time.sleep(TRY_SECONDS)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        return True
    return False


def _note(descriptor: int) -> str:
    return os.pread(descriptor, MAX_NOTE_BYTES, 0).decode("utf-8", "replace").strip() or "another process"


def _sqlite_holder(path: str) -> str | None:
    """Returns the process whose SQLite locks keep others from reading the file at ``path``; None without one."""
    if sys.platform != "linux" or struct.calcsize("P") != 8:
        return None
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        asked = _FLOCK.pack(fcntl.F_RDLCK, os.SEEK_SET, *_SQLITE_LOCKS, 0)
        kind, _, _, _, process = _FLOCK.unpack(fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))
    except OSError:
        return None
    finally:
        os.close(descriptor)
    if kind == fcntl.F_UNLCK:
        return None
    # The system gives no number for a process of another namespace.
    return f"process {process}" if process > 0 else "another process"
