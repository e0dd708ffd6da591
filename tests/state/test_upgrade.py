"""State files of an older schema: what the operator sees, and that a backup is a whole one or none at all."""

from __future__ import annotations

import errno
import os
import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from twisted.logger import ILogObserver, LogEvent, eventAsText, globalLogPublisher
from zope.interface import implementer

from grape import Grape
from grape.state import sqlite as store_sqlite
from grape.state import tables as statetables
from grape.state.examine import connect, schema
from grape.state.lock import StateError
from grape.state.sqlite import StateFile
from grape.state.tables import TABLES, Change
from grape.testing import MemoryNetwork

# A table and a column that a later schema may bring.
SECOND = "CREATE TABLE later (crc INTEGER NOT NULL, name TEXT PRIMARY KEY, value); ALTER TABLE contact ADD COLUMN more;"
CONTACT = Change("contact", ("10.0.0.1", 1), (b"i" * 20, 1.0))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of the first schema, which holds something."""
    path = tmp_path / "grape.sqlite"
    file = StateFile(str(path))
    file.commit([CONTACT])
    file.close()
    return path


@pytest.fixture
def scripts(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next grape's scripts; its tables are in place of this one's."""
    columns, keys = TABLES["contact"]
    tables = {**TABLES, "later": (("name", "value"), 1), "contact": ((*columns, "more"), keys)}
    scripts = [*schema(), SECOND]
    for room in (statetables, store_sqlite):
        monkeypatch.setattr(room, "TABLES", tables)
    monkeypatch.setattr(store_sqlite, "schema", lambda: scripts)


def backups(path: Path) -> list[str]:
    return sorted(name.name for name in path.parent.iterdir() if "backup" in name.name)


@pytest.mark.usefixtures("scripts")
def test_tables_and_columns_that_are_new_are_no_damage(path: Path) -> None:
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


def test_a_table_that_the_files_own_schema_has_is_missed(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("DROP TABLE peer")
    db.close()
    file = StateFile(str(path))
    file.close()
    assert file.damage == "no such table: peer"
    assert file.contents.rows["contact"] == [CONTACT.key + (CONTACT.row or ())]


def test_the_operator_is_told_of_the_upgrade_and_its_backup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "grape.sqlite"
    network = MemoryNetwork(seed=1)
    events: list[LogEvent] = []
    observer = implementer(ILogObserver)(type("Observer", (), {"__call__": lambda _, event: events.append(event)}))()

    def start() -> Grape:
        grape = Grape(reactor=network.reactor("10.0.0.1"), state=str(path), host="10.0.0.1")
        grape.startService()
        return grape

    grape = start()
    hash = network.result(grape.put("kept"))
    network.result(grape.stopService())
    scripts = [*schema(), "CREATE TABLE later (crc INTEGER NOT NULL, name TEXT PRIMARY KEY, value);"]
    monkeypatch.setattr(statetables, "TABLES", {**TABLES, "later": (("name", "value"), 1)})
    monkeypatch.setattr(store_sqlite, "TABLES", statetables.TABLES)
    monkeypatch.setattr(store_sqlite, "schema", lambda: scripts)
    globalLogPublisher.addObserver(observer)
    try:
        grape = start()
    finally:
        globalLogPublisher.removeObserver(observer)
    (line,) = [re.sub(r"^\S+ ", "", eventAsText(event)) for event in events if "state file" in eventAsText(event)]
    (backup,) = backups(path)
    assert re.fullmatch(r"grape\.sqlite\.v1-backup-20\d\d-\d\d-\d\dT\d{6}", backup)
    assert line == f"[grape#info] state file {path} is upgraded; as it was it is {tmp_path / backup}"
    assert network.result(grape.get(hash)) is not None
    assert grape.stats().counters["state_moved_aside"] == 0
    network.result(grape.stopService())


class FullDisk(sqlite3.Connection):
    """Has room for the copy, or not even for that."""

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


@pytest.mark.usefixtures("scripts")
@pytest.mark.parametrize("step", ["backup", "INSERT", "COMMIT"])
def test_an_upgrade_for_which_there_is_no_room_leaves_no_backup_and_the_file_as_it_was(path: Path, step: str) -> None:
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


@pytest.mark.usefixtures("scripts")
def test_a_backup_without_a_name_is_none(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", fails)
        with pytest.raises(StateError, match="No space left on device"):
            StateFile(str(path))
    assert backups(path) == []
    # A kill leaves half of one, which the next start replaces.
    Path(f"{path}.v1-backup.new").write_bytes(b"half")
    file = StateFile(str(path))
    file.close()
    (backup,) = backups(path)
    assert file.backup == str(path.parent / backup)
    db = connect(file.backup)
    assert db.execute("SELECT host FROM contact").fetchall() == [("10.0.0.1",)]
    db.close()
