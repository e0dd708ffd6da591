"""A grape of a later time, whose state file has one table more: ``python -m gauntlet.next FLAGS...``."""

from __future__ import annotations

import sys

from grape.cli import main as grape
from grape.state import sqlite as store_sqlite
from grape.state import tables as statetables
from grape.state.examine import schema

SCRIPT = "CREATE TABLE later (crc INTEGER NOT NULL, name TEXT PRIMARY KEY, value);"


def main() -> None:
    """Run a grape."""
    scripts = [*schema(), SCRIPT]
    tables = {**statetables.TABLES, "later": (("name", "value"), 1)}
    for room, name, value in (
        (statetables, "TABLES", tables),
        (store_sqlite, "TABLES", tables),
        (store_sqlite, "schema", lambda: scripts),
    ):
        setattr(room, name, value)
    grape(sys.argv[1:])


if __name__ == "__main__":
    main()
