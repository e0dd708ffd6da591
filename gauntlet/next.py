"""Runs a later version of this program, whose state file has one table more: ``python -m gauntlet.next FLAGS...``."""

from __future__ import annotations

import sys

from grape.cli import main as grape
from grape.state import sqlite, tables
from grape.state.examine import schema

SCRIPT = "CREATE TABLE later (crc INTEGER NOT NULL, name TEXT PRIMARY KEY, value);"


def main() -> None:
    """Adds the table, then runs a node with the flags of the command line."""
    scripts = [*schema(), SCRIPT]
    later_tables = {**tables.TABLES, "later": (("name", "value"), 1)}
    for module, name, value in (
        (tables, "TABLES", later_tables),
        (sqlite, "TABLES", later_tables),
        (sqlite, "schema", lambda: scripts),
    ):
        setattr(module, name, value)
    grape(sys.argv[1:])


if __name__ == "__main__":
    main()
