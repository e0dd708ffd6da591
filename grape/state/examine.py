"""Reads the rows of a whole state file, changes none of them, and finds out whether the file is damaged."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import attrs

from grape.state.lock import StateError
from grape.state.tables import Contents, Newer, is_damage, read_all

GO_BACK = (
    "to go back: that version's grape state dump FILE, and on its output this version's grape state import NEWFILE"
)
FIRST_BYTES = b"SQLite format 3\0"
BUSY_SECONDS = 5.0

Connect = Callable[[str], sqlite3.Connection]


def connect(path: str) -> sqlite3.Connection:
    """Opens an existing file for reading and writing. Raises sqlite3.Error, also if there is no file."""
    # One thread at a time uses the connection: first the one that opens it, then the writer's.
    uri = f"{Path(path).absolute().as_uri()}?mode=rw"
    return sqlite3.connect(uri, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, uri=True)


def connect_unwritable(path: str) -> sqlite3.Connection:
    """Opens a file for reading where SQLite cannot make files beside it. No other process may write it meanwhile."""
    return sqlite3.connect(f"{Path(path).absolute().as_uri()}?mode=ro&immutable=1", isolation_level=None, uri=True)


def schema() -> list[str]:
    """Returns the SQL scripts that make the tables; each brings the schema from one version to the next."""
    # Not by importlib.resources, which takes 1 ms of a start.
    return [path.read_text() for path in sorted(Path(__file__).with_name("schema").glob("0*"))]


def refuse_special_file(path: str) -> None:
    """Raises StateError for a device, a pipe or a socket: a read could block forever, a rename break the machine.

    Raises OSError if there is nothing at ``path``. Lets a folder pass: the system's error says it better.
    """
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise StateError(path, "not a regular file")


def examine(path: str, newest: int, connect: Connect = connect) -> Contents:
    """Returns the contents of a file, damaged or not; its rows stay as they are.

    ``newest`` is the latest schema version that this program knows. Raises StateError if the file cannot be read, or
    if its schema is newer.
    """
    try:
        refuse_special_file(path)
        with open(path, "rb") as file:
            first = file.read(len(FIRST_BYTES))
    except OSError as error:
        raise StateError(path, error.strerror or str(error)) from error
    if first != FIRST_BYTES:
        return Contents({}, damage="not an SQLite file" if first else "empty file")
    try:
        with closing(connect(path)) as db:
            return _read(db, newest)
    except Newer as newer:
        versions = f"schema {newer.version}; this version knows {newest}"
        raise StateError(path, f"written by a newer version ({versions}); left unchanged; {GO_BACK}") from newer
    except sqlite3.Error as error:
        if is_damage(error):
            return Contents({}, damage=str(error))
        if _is_unwritable(error) and connect is not connect_unwritable:
            logs = [path + suffix for suffix in ("-wal", "-journal") if os.path.lexists(path + suffix)]
            if not logs:
                return examine(path, newest, connect_unwritable)
            raise StateError(path, f"{error}; copy it and {logs[0]} to a writable folder first") from error
        raise StateError(path, str(error)) from error


def _read(db: sqlite3.Connection, newest: int) -> Contents:
    try:
        return read_all(db, newest)
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        damage = str(error)
    # Without this SQLite reads nothing of a file that is shorter than its header says.
    db.execute("PRAGMA writable_schema = ON")
    return attrs.evolve(read_all(db, newest), damage=damage)


def _is_unwritable(error: sqlite3.Error) -> bool:
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)
