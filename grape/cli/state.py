"""``grape state check|dump|import FILE``: look at a state file, and repair one.

``check`` and ``dump`` read, also while a grape has the file. ``dump`` writes what is whole as lines of JSON; ``import``
reads such lines into a file that no grape has, a new one as a rule: together they repair.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from io import TextIOWrapper
from math import isfinite
from typing import TextIO, TypeAlias

from grape.state import records
from grape.state.examine import examine, schema
from grape.state.lock import StateError, StateInUse
from grape.state.sqlite import StateFile
from grape.state.tables import SCHEMA_ROW, TABLES, Cell, Change, Contents, Row

USAGE = "usage: grape state check|dump|import FILE"
EXIT_DAMAGED = 1
EXIT_USAGE = 2
EXIT_IN_USE = 69
EXIT_FILE = 74
CHANGES_PER_COMMIT = 1_000
# SQLite's have 64 bits.
MAX_INTEGER = 2**63

# What is in the columns that hold no bytes.
_TYPES: Mapping[str, tuple[type, ...]] = {
    "name": (str,),
    "value": (str, bytes, int, float),
    "host": (str,),
    "announcer_host": (str,),
    "port": (int,),
    "announcer_port": (int,),
    "seq": (int,),
    "at": (float,),
    "published": (float,),
}

Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"


def main(words: Sequence[str]) -> int:
    """Do what the words after ``grape state`` say. The exit status."""
    commands = {"check": check, "dump": dump, "import": load}
    if len(words) != 2 or words[0] not in commands:
        sys.stderr.write(f"{USAGE}\n")
        return EXIT_USAGE
    for stream in (sys.stdin, sys.stdout):
        # Names of files and lines that are no text are told, or refused, like others.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="surrogateescape")
    try:
        status = commands[words[0]](words[1])
        sys.stdout.flush()
    except StateError as error:
        sys.stderr.write(f"grape: {error}\n")
        return EXIT_IN_USE if isinstance(error, StateInUse) else EXIT_FILE
    except OSError as error:
        sys.stderr.write(f"grape: input or output: {error.strerror or error}\n")
        _drop_output()
        return EXIT_FILE
    return status


def _drop_output() -> None:
    """What could not be written Python would try again at its end."""
    with suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def check(path: str) -> int:
    """Say what a file holds, and whether it is well. Raises StateError."""
    contents = examine(path, len(schema()))
    found = records.read(contents.rows)
    lines = [f"{path}: {_health(contents)}"]
    if found.node_id is not None:
        lines.append(f"node id {found.node_id.hex()}")
    lines.append(
        f"{len(found.items)} items, {len(found.own_items)} own items, {len(found.peers)} peers, "
        f"{len(found.own_announces)} own announces, {len(found.contacts)} contacts"
    )
    if found.heartbeat is not None:
        written = datetime.fromtimestamp(found.heartbeat.moment.wall, UTC)
        lines.append(f"last written {written:%Y-%m-%d %H:%M:%S} UTC")
    sys.stdout.write("\n".join(lines) + "\n")
    return EXIT_DAMAGED if contents.damage is not None else 0


def dump(path: str) -> int:
    """Write each row that is whole as a line of JSON. Raises StateError."""
    contents = examine(path, len(schema()))
    for table, rows in contents.rows.items():
        for row in rows:
            sys.stdout.write(json.dumps({"table": table, **_named(table, row)}) + "\n")
    if contents.damage is not None:
        sys.stderr.write(f"grape: {path}: {_health(contents)}\n")
        return EXIT_DAMAGED
    return 0


def load(path: str, lines: TextIO | None = None) -> int:
    """Write the rows of a dump, by default on stdin, into a file. Raises StateError, with the rows before kept."""
    file = StateFile(path)
    rows = bad = 0
    try:
        for line in _news(file):
            sys.stderr.write(f"grape: {line}\n")
        for changes in _portions(_changes(sys.stdin if lines is None else lines)):
            written = _commit(file, [change for change in changes if change is not None])
            rows += written
            bad += len(changes) - written
    finally:
        file.close()
    sys.stdout.write(f"{path}: {rows} rows written\n")
    if bad:
        sys.stderr.write(f"grape: {bad} lines are no rows of a dump\n")
    return EXIT_DAMAGED if bad else 0


def _news(file: StateFile) -> Iterator[str]:
    """What became of the file when it was opened."""
    if file.moved_to is not None:
        saved = sum(map(len, file.contents.rows.values()))
        yield f"{file.path}: damaged ({file.damage}): moved to {file.moved_to}, {saved} rows of it could be saved"
    if file.backup is not None:
        yield f"{file.path}: upgraded; as it was it is {file.backup}"
    if file.leftovers is not None:
        yield f"{file.path}: it was gone; what SQLite had beside it is {file.leftovers}-*"


def _commit(file: StateFile, changes: Sequence[Change]) -> int:
    """How many of the changes are written: one that the tables do not take holds back no other. Raises StateError."""
    try:
        file.commit(changes)
        return len(changes)
    except StateError as error:
        if not isinstance(error.__cause__, (sqlite3.IntegrityError, sqlite3.DataError)):
            raise
    if len(changes) == 1:
        return 0
    half = len(changes) // 2
    return _commit(file, changes[:half]) + _commit(file, changes[half:])


def _health(contents: Contents) -> str:
    if contents.damage is None:
        return f"schema {contents.version}, well"
    return f"damaged ({contents.damage}); {sum(map(len, contents.rows.values()))} rows are whole"


def _named(table: str, row: Row) -> dict[str, Json]:
    columns = TABLES[table][0]
    return {
        name: {"hex": cell.hex()} if isinstance(cell, bytes) else cell for name, cell in zip(columns, row, strict=True)
    }


def _changes(lines: Iterable[str]) -> Iterator[Change | None]:
    """The rows of a dump; None for a line that is none."""
    for line in lines:
        try:
            named = json.loads(line)
            table = named["table"]
            columns, keys = TABLES[table]
            row = tuple(_cell(name, named[name]) for name in columns)
            if None in row[:keys]:
                raise ValueError(row)
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            yield None
            continue
        # The new file has its own schema.
        if (table, row[0]) != ("meta", SCHEMA_ROW):
            yield Change(table, row[:keys], row[keys:])


def _cell(name: str, value: object) -> Cell:
    """A cell as SQLite gives it back: what it would change would not have its checksum any more."""
    cell = bytes.fromhex(value["hex"]) if isinstance(value, dict) else value
    types = _TYPES.get(name, (bytes,))
    if float in types and isinstance(cell, int) and int not in types and not isinstance(cell, bool):
        # Some programs that write JSON leave out what is zero behind the point.
        return float(cell)
    match cell:
        case None:
            return None
        case bytes() if bytes in types:
            return cell
        case str() if str in types:
            # Raises ValueError for half a surrogate pair, which is no text.
            cell.encode()
            return cell
        case int() if int in types and not isinstance(cell, bool) and -MAX_INTEGER <= cell < MAX_INTEGER:
            return cell
        case float() if float in types and isfinite(cell):
            return cell
    raise ValueError(value)


def _portions(changes: Iterator[Change | None]) -> Iterator[list[Change | None]]:
    portion: list[Change | None] = []
    for change in changes:
        portion.append(change)
        if len(portion) == CHANGES_PER_COMMIT:
            yield portion
            portion = []
    yield portion
