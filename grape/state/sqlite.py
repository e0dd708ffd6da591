"""Opens and writes the state file: one SQLite file for one process, checked when it is opened and never deleted.

A damaged file, or a file of another kind, is moved aside; its intact rows, told by their checksums, go into the new
file. The meaning of the rows is in ``grape.state.records``.
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

# The endings of the files that SQLite makes beside a file.
BESIDE = ("-wal", "-shm", "-journal")
MAX_LOG_BYTES = 16 * 1024 * 1024


class StateFile:
    """An open state file, locked by this process.

    Opening creates a missing file, upgrades one of an older schema after a backup, and replaces a damaged one by its
    intact rows. ``durability`` "full" makes each commit survive a power cut, "normal" a killed process; ``scripts``
    are those of ``grape.state.examine.schema``, ``connect`` opens SQLite's connections. Raises StateInUse if another
    process has the file, StateError if it cannot be used.
    """

    def __init__(
        self, path: str, *, durability: str = "full", scripts: Sequence[str] | None = None, connect: Connect = connect
    ) -> None:
        try:
            self.path = os.path.realpath(path)
        except FileNotFoundError as error:
            raise StateError(path, "the working directory was removed") from error
        #: What was wrong with the file found at ``path``, and the name that it was given; None if it was intact.
        self.damage: str | None = None
        self.moved_to: str | None = None
        #: The backup made before an upgrade; None without one.
        self.backup: str | None = None
        #: The name, without SQLite's endings, of log files that were found without their file; None without any.
        self.leftovers: str | None = None
        self._synchronous = "FULL" if durability == "full" else "NORMAL"
        self._scripts = schema() if scripts is None else scripts
        self._connect = connect
        self._db: sqlite3.Connection | None = None
        self._is_moved = False
        # Before a lock file is made beside it. Other errors of the path are raised when it is opened.
        with suppress(OSError):
            refuse_special_file(self.path)
        self._lock = FileLock(self.path)
        self._lock.take()
        try:
            #: The rows that the file held when it was opened.
            self.contents = self._open()
        except BaseException:
            self.close()
            raise

    def commit(self, changes: Iterable[Change]) -> None:
        """Writes changes to the disk, all or none; the last change of a row counts.

        Raises StateError; the same changes may be committed again.
        """
        latest: dict[str, dict[Row, Row | None]] = {}
        for change in changes:
            latest.setdefault(change.table, {})[change.key] = change.row
        if not self.is_in_place():
            raise StateError(self.path, "moved or removed while in use; restart to create a new file")
        try:
            if self._db is None:
                self._db = self._connected()
            self._db.execute("BEGIN IMMEDIATE")
            for table, rows in latest.items():
                apply(self._db, table, rows)
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            # The next commit opens a new connection, without the remains of this transaction.
            self._disconnect()
            raise StateError(self.path, str(error)) from error

    def is_in_place(self) -> bool:
        """Returns True while the open file is the one at ``path``; once False, it stays False.

        A file that comes back may have been written by another process meanwhile.
        """
        try:
            self._is_moved = self._is_moved or os.stat(self.path).st_ino != self._inode
        except OSError:
            self._is_moved = True
        return not self._is_moved

    def close(self) -> None:
        """Closes the file and releases its lock."""
        self._disconnect()
        self._lock.release()

    # Opening

    def _open(self) -> Contents:
        try:
            if not os.path.lexists(self.path):
                self._move_leftovers()
                # A process may have ended after it moved a damaged file aside, with the new one already made.
                if not self._is_made():
                    self._make({})
                self._put_in_place()
            os.close(os.open(self.path, os.O_RDWR))
            os.chmod(self.path, 0o600)
            contents = examine(self.path, len(self._scripts), self._connect)
            if contents.damage is not None:
                self.damage = contents.damage
                # The damaged file keeps its name until its intact rows are on the disk a second time.
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
        """Returns True if there is a complete new file that only has not been renamed yet."""
        new = f"{self.path}.new"
        if not os.path.isfile(new) or os.path.lexists(f"{new}-journal"):
            return False
        contents = examine(new, len(self._scripts), self._connect)
        return contents.damage is None and contents.version == len(self._scripts)

    def _make(self, rows: Rows) -> None:
        """Makes a new file with these rows and syncs it; ``_put_in_place`` gives it its name.

        So a process that is killed never leaves an incomplete file under that name. Raises OSError and sqlite3.Error.
        """
        new = f"{self.path}.new"
        _remove(new)
        os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        db = self._connect(new)
        try:
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            self._run_scripts(db, 0)
            for table, some in rows.items():
                columns, keys = TABLES[table]
                valid = [row for row in some if len(row) == len(columns) and (table, row[0]) != ("meta", SCHEMA_ROW)]
                apply(db, table, {row[:keys]: row[keys:] for row in valid})
            db.execute("COMMIT")
        finally:
            db.close()
        _sync_folder(new)

    def _put_in_place(self) -> None:
        os.rename(f"{self.path}.new", self.path)
        _sync_folder(self.path)

    def _run_scripts(self, db: sqlite3.Connection, version: int) -> None:
        """Begins a transaction and brings the tables from ``version`` to the newest one in it."""
        db.executescript("BEGIN IMMEDIATE;" + "".join(self._scripts[version:]))
        db.execute(f"PRAGMA user_version = {len(self._scripts)}")
        apply(db, "meta", {(SCHEMA_ROW,): (len(self._scripts),)})

    def _move_aside(self) -> str:
        to = _free_name(f"{self.path}.damaged-{_date()}")
        # SQLite's files beside it belong to it.
        for suffix in (*BESIDE, ""):
            if os.path.lexists(self.path + suffix):
                os.rename(self.path + suffix, to + suffix)
        return to

    def _move_leftovers(self) -> None:
        """Moves aside log files without their file: SQLite would replay them into the new file."""
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
                # The checksum of a row covers all columns, and the scripts may have added some.
                for table, (columns, keys) in TABLES.items():
                    rows = db.execute(f"SELECT {', '.join(columns)} FROM {table}").fetchall()
                    apply(db, table, {row[:keys]: row[keys:] for row in rows})
                os.rename(new, backup)
                _sync_folder(backup)
                db.execute("COMMIT")
        except BaseException:
            # The transaction is rolled back. A backup that stayed would fill the disk a bit more at every start.
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
            # An error of the disk was already raised by the commit.
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
    """Syncs the folder of ``path``, so that a new name is on the disk."""
    folder = os.open(os.path.dirname(path), os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
