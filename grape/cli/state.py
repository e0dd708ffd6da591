"""Implements ``grape state check|dump|import|new-id FILE``: reports on a state file, writes it out, reads it in.

``check`` and ``dump`` only read, also while a node uses the file. ``dump`` writes each intact row as a line of JSON;
``import`` writes such lines into a file that no node uses, as a rule a new one: together they repair a damaged file.
``new-id`` is for a copy of a file whose original another node uses.
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

from grape.dht.nodeid import ID_BYTES
from grape.dht.withdrawals import OWN
from grape.state import records
from grape.state.examine import examine, schema
from grape.state.lock import StateError, StateInUse
from grape.state.sqlite import StateFile
from grape.state.tables import SCHEMA_ROW, TABLES, Cell, Change, Contents, Row

USAGE = "usage: grape state check|dump|import|new-id FILE"
HELP = """\
usage: grape state COMMAND FILE

  check FILE   report whether a state file is intact, and what it holds
  dump FILE    write each intact row of a state file to stdout, as JSON lines
  import FILE  add the rows of a dump on stdin to a state file, old or new
  new-id FILE  give the node another id, as another node uses a copy of the file

check and dump also work while a node uses the file. check --json FILE prints
the report as JSON.
Status: 0 done; 1 the file is damaged, or lines of the dump are invalid;
2 usage error; 69 a node uses the file; 74 the file, stdin or stdout cannot be
read or written.
"""
EXIT_DAMAGED = 1
EXIT_USAGE = 2
EXIT_IN_USE = 69
EXIT_FILE = 74
CHANGES_PER_COMMIT = 1_000
# SQLite's integers have 64 bits.
MAX_INTEGER = 2**63

# The types of the columns that hold anything but bytes.
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
    """Runs the command in ``words``, those after ``grape state``; returns the exit status."""
    for stream in (sys.stdin, sys.stdout):
        # File names and lines that are not UTF-8 are printed, or refused, like others.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="surrogateescape")
    try:
        status = _run(words)
        sys.stdout.flush()
    except StateError as error:
        sys.stderr.write(f"grape: {error}\n")
        return EXIT_IN_USE if isinstance(error, StateInUse) else EXIT_FILE
    except OSError as error:
        sys.stderr.write(f"grape: input or output: {error.strerror or error}\n")
        _drop_output()
        return EXIT_FILE
    return status


def _run(words: Sequence[str]) -> int:
    commands = {"check": check, "dump": dump, "import": load, "new-id": renew_id}
    if not words or "-h" in words or "--help" in words:
        sys.stdout.write(HELP)
        return 0
    command, *names = words
    if command == "check" and "--json" in names:
        commands["check"] = check_as_json
        names.remove("--json")
    if command not in commands:
        problem = f"unknown command {command!r}"
    elif len(names) != 1:
        problem = f"{command} takes one file, not {len(names)}"
    elif names[0].startswith("-"):
        problem = f"unknown option {names[0]!r}"
    else:
        return commands[command](names[0])
    sys.stderr.write(f"grape: {problem}; {USAGE}\n")
    return EXIT_USAGE


def _drop_output() -> None:
    """Redirects stdout to /dev/null: at its end Python would try once more to write what is left."""
    with suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def check(path: str) -> int:
    """Prints whether a file is intact and what it holds; returns the exit status. Raises StateError."""
    contents = examine(path, len(schema()))
    found = records.read(contents.rows)
    lines = [f"{path}: {_health(contents)}"]
    if found.node_id is not None:
        lines.append(f"node id {found.node_id.hex()}")
    numbers = [(name, number) for name, number in _numbers(found).items() if number or name != "withdrawals"]
    lines.append(", ".join(f"{number} {name.replace('_', ' ')}" for name, number in numbers))
    written = _last_written(found)
    if written is not None:
        lines.append(f"last written {written:%Y-%m-%d %H:%M:%S} UTC")
    sys.stdout.write("\n".join(lines) + "\n")
    return EXIT_DAMAGED if contents.damage is not None else 0


def check_as_json(path: str) -> int:
    """Prints what ``check`` does as one JSON object; returns the exit status. Raises StateError."""
    contents = examine(path, len(schema()))
    found = records.read(contents.rows)
    written = _last_written(found)
    document = {
        "file": path,
        "is_intact": contents.damage is None,
        "damage": contents.damage,
        "schema": contents.version,
        "node_id": found.node_id.hex() if found.node_id is not None else None,
        **_numbers(found),
        "last_written": f"{written:%Y-%m-%dT%H:%M:%SZ}" if written is not None else None,
    }
    sys.stdout.write(json.dumps(document, indent=1) + "\n")
    return EXIT_DAMAGED if contents.damage is not None else 0


def dump(path: str) -> int:
    """Writes each intact row to stdout as a line of JSON; returns the exit status. Raises StateError."""
    contents = examine(path, len(schema()))
    for table, rows in contents.rows.items():
        for row in rows:
            sys.stdout.write(json.dumps({"table": table, **_named(table, row)}) + "\n")
    if contents.damage is not None:
        sys.stderr.write(f"grape: {path}: {_health(contents)}\n")
        return EXIT_DAMAGED
    return 0


def load(path: str, lines: TextIO | None = None) -> int:
    """Writes the rows of a dump, by default on stdin, into a file; returns the exit status.

    Raises StateError; rows that were committed before stay in the file.
    """
    file = StateFile(path)
    rows = bad = 0
    try:
        for line in _opening_lines(file):
            sys.stderr.write(f"grape: {line}\n")
        for changes in _portions(_changes(sys.stdin if lines is None else lines)):
            written = _commit(file, [change for change in changes if change is not None])
            rows += written
            bad += len(changes) - written
    finally:
        file.close()
    sys.stdout.write(f"{path}: {rows} rows written\n")
    if bad:
        sys.stderr.write(f"grape: {bad} invalid lines skipped\n")
    return EXIT_DAMAGED if bad else 0


def renew_id(path: str) -> int:
    """Writes a new random node id into a file and drops the own announces; returns the exit status.

    Raises StateError, for a file that is missing, too.
    """
    examine(path, len(schema()))
    node_id = os.urandom(ID_BYTES)
    file = StateFile(path)
    try:
        for line in _opening_lines(file):
            sys.stderr.write(f"grape: {line}\n")
        found = records.read(file.contents.rows)
        announces = found.own_announces
        own = [(record.key, record.peer) for record in found.withdrawals if record.peer[0] == OWN]
        file.commit(
            [
                records.node_id_change(node_id),
                *(records.own_announce_change(announce.key, announce.port, None) for announce in announces),
                *(records.peer_change(key, peer, None) for key, peer in own),
            ]
        )
    finally:
        file.close()
    sys.stdout.write(f"{path}: node id {node_id.hex()}, {len(announces)} own announces dropped\n")
    return 0


def _opening_lines(file: StateFile) -> Iterator[str]:
    """Yields a line for each thing that happened to the file when it was opened."""
    if file.moved_to is not None:
        saved = sum(map(len, file.contents.rows.values()))
        yield f"{file.path}: damaged ({file.damage}); moved to {file.moved_to}; {saved} rows recovered"
    if file.backup is not None:
        yield f"{file.path}: upgraded; backup of the older version: {file.backup}"
    if file.leftovers is not None:
        yield f"{file.path}: missing, but not its SQLite logs; moved these to {file.leftovers}-*; created a new file"


def _commit(file: StateFile, changes: Sequence[Change]) -> int:
    """Writes the changes, except those that the tables refuse; returns how many were written. Raises StateError."""
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


def _numbers(found: records.Records) -> dict[str, int]:
    return {
        "items": len(found.items),
        "own_items": len(found.own_items),
        "peers": len(found.peers),
        "own_announces": len(found.own_announces),
        "contacts": len(found.contacts),
        "withdrawals": len(found.withdrawals),
    }


def _last_written(found: records.Records) -> datetime | None:
    return None if found.heartbeat is None else datetime.fromtimestamp(found.heartbeat.moment.wall, UTC)


def _health(contents: Contents) -> str:
    if contents.damage is None:
        return f"intact, schema {contents.version}"
    return f"damaged ({contents.damage}); {sum(map(len, contents.rows.values()))} rows intact"


def _named(table: str, row: Row) -> dict[str, Json]:
    columns = TABLES[table][0]
    return {
        name: {"hex": cell.hex()} if isinstance(cell, bytes) else cell for name, cell in zip(columns, row, strict=True)
    }


def _changes(lines: Iterable[str]) -> Iterator[Change | None]:
    """Yields a change for each row of a dump; None for an invalid line."""
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
        # The file has a row of its own for its schema version.
        if (table, row[0]) != ("meta", SCHEMA_ROW):
            yield Change(table, row[:keys], row[keys:])


def _cell(name: str, value: object) -> Cell:
    """Converts a value of a dump to a cell.

    Raises ValueError for a value that SQLite would change when it stores it: the row would lose its checksum.
    """
    cell = bytes.fromhex(value["hex"]) if isinstance(value, dict) else value
    types = _TYPES.get(name, (bytes,))
    if float in types and isinstance(cell, int) and int not in types and not isinstance(cell, bool):
        # Some JSON tools write 7.0 as 7.
        return float(cell)
    match cell:
        case None:
            return None
        case bytes() if bytes in types:
            return cell
        case str() if str in types:
            # Raises ValueError for half of a surrogate pair.
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
