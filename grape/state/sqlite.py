"""State on disk: one SQLite file for one process. It is checked when it is opened, and never deleted.

A file that is damaged, or no state file at all, is moved aside, and what can still be read of it is taken over: every
row carries a checksum. This room knows no Twisted, and not what the rows mean.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path

from grape.state.examine import Connect, connect, examine, refuse_special_file, schema
from grape.state.lock import FileLock, StateError
from grape.state.tables import APPLICATION_ID, SCHEMA_ROW, TABLES, Change, Contents, Row, Rows, apply

# What SQLite has beside a file, by the ends of their names.
BESIDE = ("-wal", "-shm", "-journal")
MAX_LOG_BYTES = 16 * 1024 * 1024


class StateFile:
    """An open state file, held by this process alone.

    ``contents`` is what it held when it was opened. ``moved_to`` is where a bad one went, ``damage`` what was wrong
    with it; ``leftovers`` is where went what SQLite had beside a file that was gone. ``stamp()``, if set, gives the
    rows that every commit writes along.
    """

    def __init__(
        self, path: str, *, durability: str = "full", scripts: Sequence[str] | None = None, connect: Connect = connect
    ) -> None:
        self.path = os.path.realpath(path)
        self.damage: str | None = None
        self.moved_to: str | None = None
        self.backup: str | None = None
        self.leftovers: str | None = None
        self._synchronous = "FULL" if durability == "full" else "NORMAL"
        self._scripts = schema() if scripts is None else scripts
        self._connect = connect
        self._db: sqlite3.Connection | None = None
        self._is_moved = False
        # Before there is a lock beside it. What else is wrong with the path is said when it is opened.
        with suppress(OSError):
            refuse_special_file(self.path)
        self._lock = FileLock(self.path)
        self._lock.take()
        try:
            self.contents = self._open()
        except BaseException:
            self.close()
            raise

    def commit(self, changes: Iterable[Change]) -> None:
        """Write changes, all or none, and have them on the disk. Raises StateError; it may be tried again."""
        latest: dict[str, dict[Row, Row | None]] = {}
        for change in changes:
            latest.setdefault(change.table, {})[change.key] = change.row
        if not self.is_in_place():
            raise StateError(self.path, "it was moved or removed; a restart makes a new one")
        try:
            if self._db is None:
                self._db = self._connected()
            self._db.execute("BEGIN IMMEDIATE")
            for table, rows in latest.items():
                apply(self._db, table, rows)
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            # The next commit begins with a new connection: nothing of this one is left over.
            self._disconnect()
            raise StateError(self.path, str(error)) from error

    def is_in_place(self) -> bool:
        """Whether the file that is open still is the one at this path. Once it was not, it never is again."""
        try:
            self._is_moved = self._is_moved or os.stat(self.path).st_ino != self._inode
        except OSError:
            self._is_moved = True
        return not self._is_moved

    def close(self) -> None:
        """Close the file, and let others have it."""
        self._disconnect()
        self._lock.release()

    # Opening

    def _open(self) -> Contents:
        try:
            if not os.path.lexists(self.path):
                self._move_leftovers()
                # A salvage may have been cut short after the bad file went.
                if not self._is_made():
                    self._make({})
                self._put_in_place()
            os.close(os.open(self.path, os.O_RDWR))
            os.chmod(self.path, 0o600)
            contents = examine(self.path, len(self._scripts), self._connect)
            if contents.damage is not None:
                self.damage = contents.damage
                # While there is no other copy of what could be saved, the bad file stays where it is.
                self._make(contents.rows)
                self.moved_to = self._move_aside()
                self._put_in_place()
            elif contents.version < len(self._scripts):
                self._upgrade(contents.version)
                contents = examine(self.path, len(self._scripts), self._connect)
            self._inode = os.stat(self.path).st_ino
            self._db = self._connected()
            return contents
        except OSError as error:
            raise StateError(self.path, error.strerror or str(error)) from error
        except sqlite3.Error as error:
            raise StateError(self.path, str(error)) from error

    def _is_made(self) -> bool:
        """Whether a new file is whole, and has only not got its name yet."""
        new = f"{self.path}.new"
        if not os.path.isfile(new) or os.path.lexists(f"{new}-journal"):
            return False
        contents = examine(new, len(self._scripts), self._connect)
        return contents.damage is None and contents.version == len(self._scripts)

    def _make(self, rows: Rows) -> None:
        """Make a new file, and have it on the disk. It has its name only when it is whole: no kill leaves half of one.

        Raises OSError and sqlite3.Error.
        """
        new = f"{self.path}.new"
        _remove(new)
        os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        db = self._connect(new)
        try:
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            self._run_scripts(db, 0)
            for table, kept in rows.items():
                columns, keys = TABLES[table]
                whole = [row for row in kept if len(row) == len(columns) and (table, row[0]) != ("meta", SCHEMA_ROW)]
                apply(db, table, {row[:keys]: row[keys:] for row in whole})
            db.execute("COMMIT")
        finally:
            db.close()
        _sync_folder(new)

    def _put_in_place(self) -> None:
        os.rename(f"{self.path}.new", self.path)
        _sync_folder(self.path)

    def _run_scripts(self, db: sqlite3.Connection, version: int) -> None:
        """Begin a transaction, and bring the tables from a version to the newest one in it."""
        db.executescript("BEGIN IMMEDIATE;" + "".join(self._scripts[version:]))
        db.execute(f"PRAGMA user_version = {len(self._scripts)}")
        apply(db, "meta", {(SCHEMA_ROW,): (len(self._scripts),)})

    def _move_aside(self) -> str:
        to = _free_name(f"{self.path}.damaged-{_date()}")
        # What SQLite has beside it belongs to it.
        for suffix in (*BESIDE, ""):
            if os.path.lexists(self.path + suffix):
                os.rename(self.path + suffix, to + suffix)
        return to

    def _move_leftovers(self) -> None:
        """SQLite would write what the log of a file that is gone holds into the new one."""
        left = [suffix for suffix in BESIDE if os.path.lexists(self.path + suffix)]
        if left:
            self.leftovers = _free_name(f"{self.path}.leftover-{_date()}")
        for suffix in left:
            os.rename(self.path + suffix, f"{self.leftovers}{suffix}")

    def _upgrade(self, version: int) -> None:
        backup = _free_name(f"{self.path}.v{version}-backup-{_date()}")
        new = f"{self.path}.v{version}-backup.new"
        try:
            _remove(new)
            os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            with closing(self._connect(self.path)) as db:
                with closing(self._connect(new)) as copy:
                    db.backup(copy)
                self._run_scripts(db, version)
                # The checksums are over the columns, and these are others now.
                for table, (columns, keys) in TABLES.items():
                    rows = db.execute(f"SELECT {', '.join(columns)} FROM {table}").fetchall()
                    apply(db, table, {row[:keys]: row[keys:] for row in rows})
                os.rename(new, backup)
                _sync_folder(backup)
                db.execute("COMMIT")
        except BaseException:
            # The file is as it was. A full disk would be given another backup by every start.
            _remove(new)
            _remove(backup)
            raise
        self.backup = backup

    def _connected(self) -> sqlite3.Connection:
        db = self._connect(self.path)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"PRAGMA synchronous = {self._synchronous}")
        db.execute(f"PRAGMA journal_size_limit = {MAX_LOG_BYTES}")
        return db

    def _disconnect(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            # What it may have to say the commit before has said.
            with suppress(sqlite3.Error):
                db.close()


def _date() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H%M%S")


def _free_name(name: str) -> str:
    number, free = 1, name
    while any(os.path.lexists(free + suffix) for suffix in ("", *BESIDE)):
        number += 1
        free = f"{name}-{number}"
    return free


def _remove(name: str) -> None:
    for suffix in ("", *BESIDE):
        Path(name + suffix).unlink(missing_ok=True)


def _sync_folder(path: str) -> None:
    """Have a new name on the disk, too."""
    folder = os.open(os.path.dirname(path), os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
