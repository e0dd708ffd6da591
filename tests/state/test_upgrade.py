"""State files of an older schema: what an operator sees, and that a backup is complete or does not exist."""

from __future__ import annotations

import errno
import os
import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from twisted.logger import LogLevel

from grape import Grape
from grape.state.examine import connect, schema
from grape.state.lock import StateError
from grape.state.sqlite import StateFile
from grape.state.tables import TABLES, Change
from grape.testing import MemoryNetwork

# A table and a column that a later schema may add.
SECOND = "CREATE TABLE later (crc INTEGER NOT NULL, name TEXT PRIMARY KEY, value); ALTER TABLE contact ADD COLUMN more;"
CONTACT = Change("contact", ("10.0.0.1", 1), (b"i" * 20, 1.0))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of the first schema with one contact."""
    path = tmp_path / "grape.sqlite"
    file = StateFile(str(path))
    file.commit([CONTACT])
    file.close()
    return path


def use_schema(monkeypatch: pytest.MonkeyPatch, script: str, **tables: tuple[tuple[str, ...], int]) -> None:
    """Turns this program into a later version of itself, with one more script and other tables."""
    scripts = [*schema(), script]
    for module in ("tables", "sqlite"):
        monkeypatch.setattr(f"grape.state.{module}.TABLES", {**TABLES, **tables})
    monkeypatch.setattr("grape.state.sqlite.schema", lambda: scripts)


@pytest.fixture
def later_version(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later version of this program, for a file that this one has written."""
    columns, keys = TABLES["contact"]
    use_schema(monkeypatch, SECOND, later=(("name", "value"), 1), contact=((*columns, "more"), keys))


def backups(path: Path) -> list[str]:
    return sorted(name.name for name in path.parent.iterdir() if "backup" in name.name)


@pytest.mark.usefixtures("later_version")
def test_new_tables_and_columns_are_no_damage(path: Path) -> None:
    file = StateFile(str(path))
    assert (file.damage, file.moved_to, file.contents.version) == (None, None, 2)
    assert file.contents.rows["contact"] == [("10.0.0.1", 1, b"i" * 20, 1.0, None)]
    assert file.contents.rows["later"] == []
    file.commit([Change("later", ("a",), (1,))])
    file.close()
    again = StateFile(str(path))
    again.close()
    assert again.contents.rows["later"] == [("a", 1)]
    assert (again.backup, len(backups(path))) == (None, 1)


def test_missing_table_of_the_files_own_schema_is_damage(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("DROP TABLE peer")
    db.close()
    file = StateFile(str(path))
    file.close()
    assert file.damage == "no such table: peer"
    assert file.contents.rows["contact"] == [CONTACT.key + (CONTACT.row or ())]


def test_upgrade_and_its_backup_are_named_in_one_line(
    network: MemoryNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: list[tuple[LogLevel, str]]
) -> None:
    path = tmp_path / "grape.sqlite"

    def start() -> Grape:
        grape = Grape(reactor=network.reactor("10.0.0.1"), state=str(path), host="10.0.0.1")
        grape.startService()
        return grape

    grape = start()
    hash = network.result(grape.put("kept"))
    network.result(grape.stopService())
    assert logged == []
    use_schema(
        monkeypatch,
        "CREATE TABLE later (crc INTEGER NOT NULL, name TEXT PRIMARY KEY, value);",
        later=(("name", "value"), 1),
    )
    grape = start()
    (backup,) = backups(path)
    assert re.fullmatch(r"grape\.sqlite\.v1-backup-20\d\d-\d\d-\d\dT\d{6}", backup)
    line = f"state file {path} upgraded; backup of the older version: {tmp_path / backup}"
    assert logged == [(LogLevel.info, line)]
    assert network.result(grape.get(hash)) is not None
    assert grape.stats().counters["state_moved_aside"] == 0
    network.result(grape.stopService())


class FullDisk(sqlite3.Connection):
    """A connection on a disk that is full from the step ``full_at`` on."""

    full_at = ""

    def backup(self, target: sqlite3.Connection, **keywords: Any) -> None:
        if self.full_at == "backup":
            target.execute("CREATE TABLE half (x)")
            raise sqlite3.OperationalError("database or disk is full")
        super().backup(target, **keywords)

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        if self.full_at and sql.startswith(self.full_at):
            raise sqlite3.OperationalError("database or disk is full")
        return super().execute(sql, *parameters)


@pytest.mark.usefixtures("later_version")
@pytest.mark.parametrize("step", ["backup", "INSERT", "COMMIT"])
def test_upgrade_on_a_full_disk_leaves_no_backup_and_the_file_unchanged(path: Path, step: str) -> None:
    disk = type("Disk", (FullDisk,), {"full_at": step})

    def full(path: str) -> sqlite3.Connection:
        return sqlite3.connect(path, isolation_level=None, factory=disk)

    for _ in range(3):
        with pytest.raises(StateError, match="database or disk is full"):
            StateFile(str(path), connect=full)
        assert backups(path) == []
    file = StateFile(str(path))
    file.close()
    assert file.contents.rows["contact"] == [("10.0.0.1", 1, b"i" * 20, 1.0, None)]
    assert len(backups(path)) == 1


@pytest.mark.usefixtures("later_version")
def test_backup_that_cannot_be_renamed_is_removed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", fails)
        with pytest.raises(StateError, match="No space left on device"):
            StateFile(str(path))
    assert backups(path) == []
    # A kill leaves an incomplete copy, which the next start replaces.
    Path(f"{path}.v1-backup.new").write_bytes(b"half")
    file = StateFile(str(path))
    file.close()
    (backup,) = backups(path)
    assert file.backup == str(path.parent / backup)
    db = connect(file.backup)
    assert db.execute("SELECT host FROM contact").fetchall() == [("10.0.0.1",)]
    db.close()
