"""Reads and writes the rows of a state file's tables; each row carries a checksum.

The meaning of the rows is in ``grape.state.records``; files are opened by the callers.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from zlib import crc32

import attrs

# "GRAP", in the header of the file.
APPLICATION_ID = 0x47524150
SCHEMA_ROW = "schema"
# A statement writes as many rows as a power of two, up to this one.
MAX_ROWS_PER_STATEMENT = 64

Cell = bytes | str | int | float | None
Row = tuple[Cell, ...]
Rows = dict[str, list[Row]]

# For each table its columns without the checksum, and how many of these form the key.
TABLES: Mapping[str, tuple[tuple[str, ...], int]] = {
    "meta": (("name", "value"), 1),
    "item": (("target", "raw", "key", "signature", "seq", "salt", "host", "at"), 1),
    "own_item": (("target", "raw", "key", "signature", "seq", "salt", "at", "published"), 1),
    "peer": (("key", "host", "port", "announcer_host", "announcer_port", "at"), 3),
    "own_announce": (("key", "port", "at"), 2),
    "contact": (("host", "port", "id", "at"), 2),
}

# The errors of SQLite that mean a damaged file; any other comes from the disk or the system.
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_MISMATCH)
_SHORT_READ = 522


@attrs.frozen
class Change:
    """A row to write to ``table``: the cells after ``key``, or None to delete the row."""

    table: str
    key: Row
    row: Row | None


@attrs.frozen
class Contents:
    """The contents of a file: its intact rows by table, its schema version, and what is damaged (None: nothing)."""

    rows: Rows
    version: int = 0
    damage: str | None = None


class Newer(Exception):
    """Raised for a file whose schema is newer than this program knows."""

    def __init__(self, version: int) -> None:
        super().__init__(version)
        self.version = version


def read_all(db: sqlite3.Connection, newest: int) -> Contents:
    """Checks and reads a whole file. Raises Newer, and sqlite3.Error for an error of the disk or the system."""
    if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        return Contents({}, damage="written by another program")
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    rows, damage = {}, None
    try:
        said = db.execute("PRAGMA quick_check(1)").fetchone()[0]
        damage = None if said == "ok" else str(said).replace("\n", " ")
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        damage = str(error)
    # An older file lacks the tables that a later schema adds.
    present = _tables(db) if version < newest else set(TABLES)
    for table in TABLES:
        rows[table], problem = _intact_rows(db, table) if table in present else ([], None)
        damage = damage or problem
    noted = {row[0]: row[1] for row in rows["meta"]}.get(SCHEMA_ROW)
    if version > newest and noted in (None, version):
        raise Newer(version)
    if noted != version:
        damage = damage or f"two schema versions: {version} in the header, {noted!r} in the table"
    return Contents(rows, version, damage)


def _tables(db: sqlite3.Connection) -> set[str]:
    """Returns the names of the tables in the file; if these cannot be read, those that should be there."""
    try:
        return {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except (sqlite3.DatabaseError, UnicodeError) as error:
        if isinstance(error, sqlite3.Error) and not is_damage(error):
            raise
        return set(TABLES)


def _intact_rows(db: sqlite3.Connection, table: str) -> tuple[list[Row], str | None]:
    """Returns the rows with the right checksum, and what is wrong with the table if it has others.

    A table whose B-tree is broken in the middle is read from both ends.
    """
    found: dict[Row, None] = {}
    problem: str | None = None
    bad = 0
    keys = ", ".join(TABLES[table][0][: TABLES[table][1]])
    for order in ("NOT INDEXED", f"ORDER BY {keys}", f"ORDER BY {keys.replace(',', ' DESC,')} DESC"):
        try:
            for crc, *cells in db.execute(f"SELECT * FROM {table} {order}"):
                row = tuple(cells)
                if crc == _checksum(row):
                    found[row] = None
                else:
                    bad += 1
            break
        except (sqlite3.DatabaseError, UnicodeError) as error:
            if isinstance(error, sqlite3.Error) and not is_damage(error):
                raise
            problem = str(error)
    return list(found), problem or (f"{bad} rows of {table} have a wrong checksum" if bad else None)


def apply(db: sqlite3.Connection, table: str, rows: Mapping[Row, Row | None]) -> None:
    """Writes the rows in ``rows`` and deletes those that are None there. Raises sqlite3.Error.

    One statement handles many rows: each statement releases and takes Python's global lock once.
    """
    columns, keys = TABLES[table]
    written = [(_checksum(key + row), *key, *row) for key, row in rows.items() if row is not None]
    deleted = [key for key, row in rows.items() if row is None]
    names, key_names = ", ".join(("crc", *columns)), ", ".join(columns[:keys])
    for some in _portions(written):
        db.execute(f"INSERT OR REPLACE INTO {table} ({names}) VALUES {_marks(some)}", _flat(some))
    for some in _portions(deleted):
        db.execute(f"DELETE FROM {table} WHERE ({key_names}) IN (VALUES {_marks(some)})", _flat(some))


def _portions(rows: Sequence[Row]) -> Iterable[Sequence[Row]]:
    """Splits rows into portions of few different sizes, so that SQLite caches a statement for each size."""
    start, size = 0, MAX_ROWS_PER_STATEMENT
    while start < len(rows):
        while size > len(rows) - start:
            size //= 2
        yield rows[start : start + size]
        start += size


def _marks(rows: Sequence[Row]) -> str:
    return ", ".join([f"({', '.join('?' * len(rows[0]))})"] * len(rows))


def _flat(rows: Sequence[Row]) -> list[Cell]:
    return [cell for row in rows for cell in row]


def _checksum(row: Row) -> int:
    return crc32(repr(row).encode("utf-8", "surrogatepass"))


def is_damage(error: sqlite3.Error) -> bool:
    """Returns True for an error that means a damaged file, not a failing disk or system."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return code is None or code & 0xFF in _DAMAGE or code == _SHORT_READ
