"""The state file: committed rows are read again, one process uses the file, and no failure loses intact rows."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
from pathlib import Path

import pytest

from grape.state.examine import connect, schema
from grape.state.lock import StateError, StateInUse
from grape.state.sqlite import StateFile
from grape.state.tables import MAX_ROWS_PER_STATEMENT, TABLES, Change, Row


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "grape.sqlite")


def contact(n: int, at: float = 1.0) -> Change:
    return Change("contact", (f"10.0.{n >> 8}.{n & 255}", 1 + n), (b"i" * 20, at))


def gone(change: Change) -> Change:
    return Change(change.table, change.key, None)


def held(path: str) -> dict[str, list[Row]]:
    """The rows of a file by table, without the row of the schema version."""
    file = StateFile(path)
    file.close()
    return {table: [row for row in rows if row[0] != "schema"] for table, rows in file.contents.rows.items()}


def rows(*changes: Change) -> list[Row]:
    return [change.key + change.row for change in changes if change.row is not None]


def test_committed_rows_are_read_again(path: str) -> None:
    file = StateFile(path)
    written = [
        contact(1),
        Change("meta", ("node id",), (b"n" * 20,)),
        Change("item", (b"t" * 20,), (b"1:a", None, b"", 0, b"", "", 0.5)),
        Change("own_item", (b"t" * 20,), (b"1:a", b"k" * 32, b"s" * 64, -(2**63) + 1, b"salt", 1e9, None)),
        Change("peer", (b"\xff\0name", "10.0.0.1", 1), ("10.0.0.2", 2, 0.1)),
        Change("own_announce", (b"name", 0), (3.25,)),
    ]
    file.commit(written)
    file.close()
    assert held(path) == {table: rows(*(c for c in written if c.table == table)) for table in TABLES}


@pytest.mark.parametrize("number", [0, 1, 2, 63, 64, 65, 200, 3 * MAX_ROWS_PER_STATEMENT + 7])
def test_any_number_of_rows_is_written_and_deleted(path: str, number: int) -> None:
    file = StateFile(path)
    changes = [contact(n) for n in range(number)]
    file.commit(changes)
    file.commit([gone(change) for change in changes[::2]])
    file.close()
    assert sorted(held(path)["contact"]) == sorted(rows(*changes[1::2]))


def test_last_of_several_changes_of_a_row_counts(path: str) -> None:
    file = StateFile(path)
    file.commit([contact(1, 1.0), gone(contact(1)), contact(1, 2.0), contact(2), gone(contact(2))])
    file.close()
    assert held(path)["contact"] == rows(contact(1, 2.0))


def test_failed_commit_writes_nothing_and_may_be_repeated(path: str) -> None:
    file = StateFile(path)
    bad = Change("contact", ("10.0.0.9", 9), (None, 1.0))
    with pytest.raises(StateError, match="NOT NULL"):
        file.commit([contact(1), bad])
    file.commit([contact(2)])
    file.close()
    assert held(path)["contact"] == rows(contact(2))


def test_files_are_for_their_owner_alone_whatever_the_umask(path: str) -> None:
    before = os.umask(0)
    try:
        file = StateFile(path)
        file.commit([contact(1)])
        modes = {name.name: stat.S_IMODE(name.stat().st_mode) for name in Path(path).parent.iterdir()}
        file.close()
    finally:
        os.umask(before)
    names = ("grape.sqlite", "grape.sqlite-shm", "grape.sqlite-wal", "grape.sqlite.lock")
    assert modes == dict.fromkeys(names, 0o600)


def test_file_that_others_could_read_is_closed_to_them(path: str) -> None:
    StateFile(path).close()
    os.chmod(path, 0o644)
    StateFile(path).close()
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def test_file_is_used_by_one_process_under_any_of_its_names(path: str, tmp_path: Path) -> None:
    other = tmp_path / "other.sqlite"
    other.symlink_to(path)
    file = StateFile(path)
    for name in (path, str(other)):
        with pytest.raises(
            StateInUse, match=rf"grape.sqlite: in use by process {os.getpid()} since [-0-9]+ [:0-9]+ UTC$"
        ):
            StateFile(name)
    file.close()
    StateFile(str(other)).close()


@pytest.mark.parametrize(("durability", "synchronous"), [("full", 2), ("normal", 1)])
def test_durability_sets_when_a_commit_waits_for_the_disk(
    path: str, durability: str, synchronous: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[sqlite3.Connection] = []

    def remember(path: str) -> sqlite3.Connection:
        opened.append(connect(path))
        return opened[-1]

    file = StateFile(path, durability=durability, connect=remember)
    assert opened[-1].execute("PRAGMA synchronous").fetchone() == (synchronous,)
    assert opened[-1].execute("PRAGMA journal_mode").fetchone() == ("wal",)
    file.close()


def test_unfinished_new_file_is_replaced(path: str) -> None:
    Path(f"{path}.new").write_bytes(b"half")
    file = StateFile(path)
    assert file.moved_to is None
    file.close()
    assert not os.path.exists(f"{path}.new")


def test_file_knows_that_it_was_moved(path: str) -> None:
    file = StateFile(path)
    assert file.is_in_place()
    os.rename(path, f"{path}.elsewhere")
    assert not file.is_in_place()
    file.close()


def test_moved_file_takes_no_commit_and_no_other_is_made(path: str) -> None:
    file = StateFile(path)
    os.rename(path, f"{path}.elsewhere")
    with pytest.raises(StateError, match="moved or removed while in use; restart to create a new file"):
        file.commit([contact(1)])
    # A file that comes back may have been written by others: it is used again only after a restart.
    os.rename(f"{path}.elsewhere", path)
    with pytest.raises(StateError, match="moved or removed while in use; restart to create a new file"):
        file.commit([contact(1)])
    file.close()
    assert held(path)["contact"] == []
    with pytest.raises(sqlite3.OperationalError):
        connect(f"{path}.none")
    assert not os.path.exists(f"{path}.none")


def test_scripts_make_the_declared_tables(path: str) -> None:
    StateFile(path).close()
    db = sqlite3.connect(path)
    for table, (columns, keys) in TABLES.items():
        info = db.execute(f"PRAGMA table_info({table})").fetchall()
        assert [row[1] for row in info] == ["crc", *columns]
        assert [row[1] for row in sorted(info, key=lambda row: row[5]) if row[5]] == list(columns[:keys])
    db.close()


SECOND = "CREATE TABLE later (crc INTEGER NOT NULL, name TEXT PRIMARY KEY);"


def test_older_schema_is_backed_up_and_upgraded(path: str) -> None:
    file = StateFile(path)
    file.commit([contact(1)])
    file.close()
    assert file.backup is None
    file = StateFile(path, scripts=[*schema(), SECOND])
    assert (file.moved_to, file.contents.version) == (None, 2)
    assert file.contents.rows["contact"] == rows(contact(1))
    assert file.backup is not None
    assert file.backup.startswith(f"{os.path.realpath(path)}.v1-backup-20")
    assert stat.S_IMODE(os.stat(file.backup).st_mode) == 0o600
    file.close()
    # The backup has the older schema: the older version of the program can use it.
    assert held(file.backup)["contact"] == rows(contact(1))
    # The next start makes no other backup.
    again = StateFile(path, scripts=[*schema(), SECOND])
    assert again.backup is None
    again.close()


def test_failed_upgrade_changes_nothing(path: str) -> None:
    file = StateFile(path)
    file.commit([contact(1)])
    file.close()
    with pytest.raises(StateError, match="nonsense"):
        StateFile(path, scripts=[*schema(), "nonsense;"])
    assert held(path)["contact"] == rows(contact(1))


def test_newer_schema_is_refused_and_left_unchanged(path: str) -> None:
    StateFile(path, scripts=[*schema(), SECOND]).close()
    before = Path(path).read_bytes()
    with pytest.raises(
        StateError, match=r"written by a newer version \(schema 2; this version knows 1\); left unchanged"
    ):
        StateFile(path)
    assert Path(path).read_bytes() == before


def test_damaged_file_is_replaced_by_its_intact_rows(path: str) -> None:
    file = StateFile(path)
    file.commit([contact(n) for n in range(2_000)])
    file.close()
    octets = bytearray(Path(path).read_bytes())
    middle = len(octets) // 2
    octets[middle : middle + 16] = bytes(16)
    Path(path).write_bytes(octets)
    file = StateFile(path)
    assert file.damage is not None
    assert file.moved_to is not None
    assert Path(file.moved_to).read_bytes() == octets
    file.close()
    saved = held(path)["contact"]
    assert 1_500 < len(saved) < 2_000
    assert set(saved) <= set(rows(*(contact(n) for n in range(2_000))))


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_truncated_file_is_replaced_by_its_intact_rows(path: str, share: float) -> None:
    file = StateFile(path)
    written = [contact(n) for n in range(2_000)]
    file.commit(written)
    file.close()
    os.truncate(path, int(os.path.getsize(path) * share))
    file = StateFile(path)
    file.close()
    assert file.damage is not None
    saved = held(path)["contact"]
    assert share * 1_000 < len(saved) < 2_000
    assert set(saved) <= set(rows(*written))


def test_log_of_a_damaged_file_is_moved_with_it(path: str) -> None:
    file = StateFile(path)
    file.commit([contact(1)])
    log = Path(f"{path}-wal").read_bytes()
    file.close()
    Path(path).write_bytes(b"")
    Path(f"{path}-wal").write_bytes(log)
    file = StateFile(path)
    assert file.moved_to is not None
    assert Path(f"{file.moved_to}-wal").read_bytes() == log
    assert file.contents.rows == {}
    file.close()


@pytest.mark.parametrize("step", ["make the new file", "rename the new file"])
def test_recovery_that_was_interrupted_is_completed_by_the_next_start(
    path: str, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = StateFile(path)
    file.commit([contact(n) for n in range(2_000)])
    file.close()
    octets = bytearray(Path(path).read_bytes())
    middle = len(octets) // 2
    octets[middle : middle + 16] = bytes(16)
    Path(path).write_bytes(octets)
    rename = os.rename

    def connect_unless_full(name: str) -> sqlite3.Connection:
        if name.endswith(".new"):
            raise sqlite3.OperationalError("database or disk is full")
        return connect(name)

    def rename_unless_full(old: str, new: str) -> None:
        if old.endswith(".new"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        rename(old, new)

    with monkeypatch.context() as patch:
        if step == "make the new file":
            with pytest.raises(StateError, match="database or disk is full"):
                StateFile(path, connect=connect_unless_full)
        else:
            patch.setattr(os, "rename", rename_unless_full)
            with pytest.raises(StateError, match="No space left on device"):
                StateFile(path)
    # The damaged file is moved aside only when its intact rows are on the disk a second time.
    assert os.path.exists(path) == (step == "make the new file")
    assert len(held(path)["contact"]) > 1_500
    assert not os.path.exists(f"{path}.new")
