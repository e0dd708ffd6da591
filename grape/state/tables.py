"""The tables of a state file: rows read and written, each with a checksum of its own.

What the rows mean is for others to know. Nothing here opens a file.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from zlib import crc32

import attrs

# "GRAP", in the header of the file.
APPLICATION_ID = 0x47524150
SCHEMA_ROW = "schema"
# Powers of two up to this many rows go into one statement.
MAX_ROWS_PER_STATEMENT = 64

Cell = bytes | str | int | float | None
Row = tuple[Cell, ...]
Rows = dict[str, list[Row]]

# Each table's columns without the checksum, and how many of them are its key.
TABLES: Mapping[str, tuple[tuple[str, ...], int]] = {
    "meta": (("name", "value"), 1),
    "item": (("target", "raw", "key", "signature", "seq", "salt", "host", "at"), 1),
    "own_item": (("target", "raw", "key", "signature", "seq", "salt", "at", "published"), 1),
    "peer": (("key", "host", "port", "announcer_host", "announcer_port", "at"), 3),
    "own_announce": (("key", "port", "at"), 2),
    "contact": (("host", "port", "id", "at"), 2),
}

# What SQLite says of a file that is not as it should be; everything else is the disk's or the system's fault.
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_MISMATCH)
_SHORT_READ = 522


@attrs.frozen
class Change:
    """What became of a row: its cells beside the ``key``, or None when it is gone."""

    table: str
    key: Row
    row: Row | None


@attrs.frozen
class Contents:
    """What a file holds. ``damage`` says what is wrong with it; ``rows`` are those that are whole all the same."""

    rows: Rows
    version: int = 0
    damage: str | None = None


class Newer(Exception):
    """A file whose schema this program does not know."""

    def __init__(self, version: int) -> None:
        super().__init__(version)
        self.version = version


def read_all(db: sqlite3.Connection, newest: int) -> Contents:
    """Check and read a whole file. Raises Newer, and sqlite3.Error for what is not the file's fault."""
    if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        return Contents({}, damage="it is another program's")
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    rows, damage = {}, None
    try:
        said = db.execute("PRAGMA quick_check(1)").fetchone()[0]
        damage = None if said == "ok" else str(said).replace("\n", " ")
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        damage = str(error)
    # What a later schema brings is not there yet.
    there = _tables(db) if version < newest else set(TABLES)
    for table in TABLES:
        rows[table], trouble = _whole_rows(db, table) if table in there else ([], None)
        damage = damage or trouble
    noted = {row[0]: row[1] for row in rows["meta"]}.get(SCHEMA_ROW)
    if version > newest and noted in (None, version):
        raise Newer(version)
    if noted != version:
        damage = damage or f"it says that its schema is {version} and {noted!r}"
    return Contents(rows, version, damage)


def _tables(db: sqlite3.Connection) -> set[str]:
    """The tables that there are; all that there should be, if that cannot be read."""
    try:
        return {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except (sqlite3.DatabaseError, UnicodeError) as error:
        if isinstance(error, sqlite3.Error) and not is_damage(error):
            raise
        return set(TABLES)


def _whole_rows(db: sqlite3.Connection, table: str) -> tuple[list[Row], str | None]:
    """The rows that are whole, and what is wrong if there are others; a broken tree is read from both ends."""
    found: dict[Row, None] = {}
    trouble: str | None = None
    bad = 0
    keys = ", ".join(TABLES[table][0][: TABLES[table][1]])
    for way in ("NOT INDEXED", f"ORDER BY {keys}", f"ORDER BY {keys.replace(',', ' DESC,')} DESC"):
        try:
            for crc, *cells in db.execute(f"SELECT * FROM {table} {way}"):
                row = tuple(cells)
                if crc == _checksum(row):
                    found[row] = None
                else:
                    bad += 1
            break
        except (sqlite3.DatabaseError, UnicodeError) as error:
            if isinstance(error, sqlite3.Error) and not is_damage(error):
                raise
            trouble = str(error)
    return list(found), trouble or (f"{bad} rows of {table} are not as they were written" if bad else None)


def apply(db: sqlite3.Connection, table: str, rows: Mapping[Row, Row | None]) -> None:
    """Write rows and delete others, many in one statement: each of them gives up and takes Python's lock once."""
    columns, keys = TABLES[table]
    written = [(_checksum(key + row), *key, *row) for key, row in rows.items() if row is not None]
    gone = [key for key, row in rows.items() if row is None]
    names, key_names = ", ".join(("crc", *columns)), ", ".join(columns[:keys])
    for some in _portions(written):
        db.execute(f"INSERT OR REPLACE INTO {table} ({names}) VALUES {_marks(some)}", _flat(some))
    for some in _portions(gone):
        db.execute(f"DELETE FROM {table} WHERE ({key_names}) IN (VALUES {_marks(some)})", _flat(some))


def _portions(rows: Sequence[Row]) -> Iterable[Sequence[Row]]:
    """Rows in portions of a few sizes: as many different statements."""
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
    """Whether an error tells of the file, and not of the disk or the system."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return code is None or code & 0xFF in _DAMAGE or code == _SHORT_READ
