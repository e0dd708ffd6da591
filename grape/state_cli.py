"""``grape state check|dump|import FILE``: look at a state file, and repair one.

``check`` and ``dump`` read, also while a grape has the file. ``dump`` writes what is whole as lines of JSON; ``import``
reads such lines into a file that no grape has, a new one as a rule: together they repair.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TextIO, TypeAlias

from grape import kept
from grape.filelock import StateError, StateInUse
from grape.statetables import SCHEMA_ROW, TABLES, Cell, Change, Contents, Row
from grape.store_sqlite import StateFile, examine, schema

USAGE = "usage: grape state check|dump|import FILE"
EXIT_DAMAGED = 1
EXIT_USAGE = 2
EXIT_IN_USE = 69
EXIT_FILE = 74
CHANGES_PER_COMMIT = 1_000

Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"


def main(words: Sequence[str]) -> int:
    """Do what the words after ``grape state`` say. The exit status."""
    commands = {"check": check, "dump": dump, "import": load}
    if len(words) != 2 or words[0] not in commands:
        sys.stderr.write(f"{USAGE}\n")
        return EXIT_USAGE
    try:
        return commands[words[0]](words[1])
    except StateError as error:
        sys.stderr.write(f"grape: {error}\n")
        return EXIT_IN_USE if isinstance(error, StateInUse) else EXIT_FILE


def check(path: str) -> int:
    """Say what a file holds, and whether it is well. Raises StateError."""
    contents = examine(path, len(schema()))
    found = kept.read(contents.rows)
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
        for changes in _portions(_changes(sys.stdin if lines is None else lines)):
            good = [change for change in changes if change is not None]
            file.commit(good)
            rows += len(good)
            bad += len(changes) - len(good)
    finally:
        file.close()
    sys.stdout.write(f"{path}: {rows} rows written\n")
    if bad:
        sys.stderr.write(f"grape: {bad} lines are no rows of a dump\n")
    return EXIT_DAMAGED if bad else 0


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
            row = tuple(_cell(named[name]) for name in columns)
        except (ValueError, KeyError, TypeError):
            yield None
            continue
        # The new file has its own schema.
        if (table, row[0]) != ("meta", SCHEMA_ROW):
            yield Change(table, row[:keys], row[keys:])


def _cell(value: object) -> Cell:
    if isinstance(value, dict):
        return bytes.fromhex(value["hex"])
    if value is None or (isinstance(value, (str, int, float)) and not isinstance(value, bool)):
        return value
    raise ValueError(value)


def _portions(changes: Iterator[Change | None]) -> Iterator[list[Change | None]]:
    portion: list[Change | None] = []
    for change in changes:
        portion.append(change)
        if len(portion) == CHANGES_PER_COMMIT:
            yield portion
            portion = []
    yield portion
