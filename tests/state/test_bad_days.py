"""Damaged and foreign state files, other schemas, impossible places and failing disks: what an operator sees, and that
nothing is acknowledged that is not durable."""

from __future__ import annotations

import os
import random
import re
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.logger import LogEvent, LogLevel

from grape import Config, Grape, GrapeError
from grape.daemon.service import Daemon
from grape.state.examine import GO_BACK, schema
from grape.state.lock import StateError
from grape.state.recorder import MAX_RETRY_SECONDS
from grape.state.sqlite import StateFile
from grape.testing import MemoryNetwork
from tests.simulation import Key, outcome
from tests.state.conftest import Kill, line_of

Events = list[LogEvent]
ITEMS = 60


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "grape-20001.sqlite"


def start(network: MemoryNetwork, path: Path, **keywords: Any) -> Grape:
    grape = Grape(reactor=network.reactor("10.0.0.1"), state=str(path), host="10.0.0.1", **keywords)
    grape.startService()
    return grape


def stop(network: MemoryNetwork, grape: Grape) -> None:
    network.result(grape.stopService())


@pytest.fixture
def hashes(network: MemoryNetwork, path: Path) -> list[str]:
    """The hashes of the items in a file that a stopped node left behind."""
    grape = start(network, path)
    hashes = [network.result(grape.put(f"item {n} {'x' * 500}")) for n in range(ITEMS)]
    for n in range(ITEMS):
        network.result(grape.announce(f"name {n}", 1))
    stop(network, grape)
    return hashes


def said(events: Events) -> list[str]:
    """The lines logged as errors or worse, which the test expects."""
    assert all(event["log_level"] is LogLevel.critical for event in events)
    lines = [line_of(event) for event in events]
    events.clear()
    return lines


def found(network: MemoryNetwork, grape: Grape, hashes: list[str]) -> int:
    return sum(network.result(grape.get(hash)) is not None for hash in hashes)


def aside(path: Path) -> list[Path]:
    """Files that were moved aside."""
    return [name for name in path.parent.iterdir() if re.search(r"\.damaged-\d{4}-\d\d-\d\dT\d{6}$", name.name)]


def foreign(path: Path) -> None:
    path.unlink()
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE theirs (precious)")
    db.close()


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (lambda path: path.write_bytes(b""), "empty file"),
        (lambda path: path.write_bytes(os.urandom(9_000)), "not an SQLite file"),
        (lambda path: path.write_text("node_id: 12\n"), "not an SQLite file"),
        (lambda path: path.write_bytes(path.read_bytes()[:100]), "database disk image is malformed"),
        (foreign, "written by another program"),
    ],
    ids=["zero length", "garbage", "text", "the header alone", "foreign"],
)
@pytest.mark.usefixtures("hashes")
def test_unusable_file_is_moved_aside_with_one_line_and_the_node_starts(
    network: MemoryNetwork, path: Path, logged_failures: Events, spoil: Callable[[Path], object], line: str
) -> None:
    spoil(path)
    before = path.read_bytes()
    grape = start(network, path)
    (moved,) = aside(path)
    assert said(logged_failures) == [f"state file {path} is damaged ({line}); moved to {moved}; 0 rows recovered"]
    assert moved.read_bytes() == before
    assert grape.stats().counters["state_moved_aside"] == 1
    hash = network.result(grape.put("new"))
    stop(network, grape)
    grape = start(network, path)
    assert found(network, grape, [hash]) == 1
    assert grape.stats().counters["state_moved_aside"] == 0
    stop(network, grape)


@pytest.mark.parametrize(("share", "least"), [(0.25, 0), (0.5, 0), (0.9, ITEMS // 2)])
def test_truncated_file_is_replaced_by_its_intact_rows(
    network: MemoryNetwork, path: Path, hashes: list[str], logged_failures: Events, share: float, least: int
) -> None:
    os.truncate(path, int(path.stat().st_size * share))
    grape = start(network, path)
    (line,) = said(logged_failures)
    assert re.fullmatch(rf"state file {path} is damaged \(.+\); moved to {path}\.damaged-\S+; \d+ rows recovered", line)
    assert least <= found(network, grape, hashes) < ITEMS
    stop(network, grape)


@pytest.mark.parametrize("place", range(10))
def test_flipped_byte_leaves_a_node_that_starts_and_serves_nothing_wrong(
    network: MemoryNetwork, path: Path, hashes: list[str], logged_failures: Events, place: int
) -> None:
    octets = bytearray(path.read_bytes())
    # The header's first bytes, its version and ours, and places in all tenths of the file.
    at = [3, 62, 70, *(int(len(octets) * n / 10) + random.Random(n).randrange(400) for n in range(3, 10))][place]
    octets[at] ^= 0xFF
    path.write_bytes(octets)
    grape = start(network, path)
    lines = said(logged_failures)
    # A byte in a free place changes nothing; any other is noticed.
    assert len(lines) == len(aside(path)) <= 1
    for line in lines:
        assert line.startswith(f"state file {path} is damaged (")
    for n, hash in enumerate(hashes):
        got = network.result(grape.get(hash))
        assert got is None or got.item.value == f"item {n} {'x' * 500}".encode()
    assert place < 3 or found(network, grape, hashes) >= ITEMS // 2
    network.result(grape.put("works"))
    stop(network, grape)


def refusal(network: MemoryNetwork, state: str, capsys: pytest.CaptureFixture[str]) -> tuple[str, object]:
    """The line and the status with which a process ends that cannot use its file."""
    daemon = Daemon(Config(api_port=None, state=state), network.reactor("10.0.0.1"), patience=0)

    def start() -> None:
        daemon.privilegedStartService()
        daemon.startService()

    with pytest.raises(SystemExit) as raised:
        start()
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert network.ports == {}
    return line.rstrip("\n"), raised.value.code


@pytest.mark.parametrize("place", ["no such folder", "a file", "a folder", "a system's folder"])
def test_unwritable_place_ends_the_process_with_a_line_that_names_the_flag(
    network: MemoryNetwork, tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    (tmp_path / "file").touch()
    state, reason = {
        "no such folder": (f"{tmp_path}/none/a.sqlite", "No such file or directory"),
        "a file": (f"{tmp_path}/file/a.sqlite", "Not a directory"),
        "a folder": (f"{tmp_path}", "Is a directory"),
        "a system's folder": ("/proc/a.sqlite", "No such file or directory"),
    }[place]
    assert refusal(network, state, capsys) == (f"grape: --state {state}: {reason}", 74)


def test_newer_schema_ends_the_process_and_is_left_unchanged(
    network: MemoryNetwork, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    StateFile(str(path), scripts=[*schema(), "CREATE TABLE later (x);", "CREATE TABLE last (x);"]).close()
    before = path.read_bytes()
    problem = f"written by a newer version (schema 3; this version knows 1); left unchanged; {GO_BACK}"
    assert refusal(network, str(path), capsys) == (f"grape: --state {path}: {problem}", 74)
    assert path.read_bytes() == before


def test_second_process_is_told_which_process_uses_the_file(
    network: MemoryNetwork, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = StateFile(str(path))
    line, status = refusal(network, str(path), capsys)
    assert re.fullmatch(rf"grape: --state {path}: in use by process {os.getpid()} since [-0-9]+ [:0-9]+ UTC", line)
    assert status == 69
    file.close()


def test_node_that_cannot_use_its_file_leaves_nothing_open(network: MemoryNetwork, tmp_path: Path) -> None:
    grape = Grape(reactor=network.reactor("10.0.0.1"), state=str(tmp_path))
    with pytest.raises(StateError, match="Is a directory"):
        grape.startService()
    assert network.ports == {}
    assert not grape.running
    assert not grape.node.running


# Failing disks


class Disk:
    """Connections whose commits fail as long as there is a ``problem``."""

    def __init__(self) -> None:
        self.problem: str | None = None

    def connect(self, path: str) -> sqlite3.Connection:
        disk = self

        class Connection(sqlite3.Connection):
            def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
                if disk.problem is not None and sql.startswith(("COMMIT", "INSERT", "PRAGMA journal_mode")):
                    raise sqlite3.OperationalError(disk.problem)
                return super().execute(sql, *parameters)

        return sqlite3.connect(path, isolation_level=None, factory=Connection)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()
    original = StateFile.__init__

    def init(self: StateFile, path: str, **keywords: Any) -> None:
        original(self, path, **{**keywords, "connect": disk.connect})

    monkeypatch.setattr(StateFile, "__init__", init)
    return disk


@pytest.mark.parametrize("problem", ["database or disk is full", "disk I/O error"])
def test_failing_disk_refuses_puts_and_memory_is_served(
    network: MemoryNetwork,
    path: Path,
    disk: Disk,
    kill: Kill,
    logged_failures: Events,
    logged: list[tuple[LogLevel, str]],
    problem: str,
) -> None:
    grape = start(network, path)
    kept = network.result(grape.put("kept"))
    assert grape.stats().degraded is None
    disk.problem = problem
    for value in ("a", "b"):
        (error,) = outcome(grape.put(value))
        assert isinstance(error, GrapeError)
        assert (error.code, error.status) == ("ERR_GRAPE_STATE: the item cannot be kept", 503)
    assert said(logged_failures) == [f"state file {path} cannot be written ({problem}); puts are refused until it can"]
    assert grape.stats().degraded == problem
    assert found(network, grape, [kept]) == 1
    assert network.result(grape.announce("name", 1)) == 1
    assert network.result(grape.lookup("name")) == ["10.0.0.1:1"]
    network.clock.advance(60)
    assert grape.stats().degraded == problem
    # Writing resumes by itself, with the changes made meanwhile.
    disk.problem = None
    network.clock.advance(MAX_RETRY_SECONDS + 1)
    assert grape.stats().degraded is None
    assert logged[1:] == [(LogLevel.info, f"state file {path} can be written again")]
    after = network.result(grape.put("after"))
    kill(network, "10.0.0.1", str(path))
    grape = start(network, path)
    assert found(network, grape, [kept, after]) == 2
    assert network.result(grape.lookup("name")) == ["10.0.0.1:1"]
    stop(network, grape)


def test_changes_that_a_failing_disk_refused_are_written_after_a_stop_and_a_start(
    network: MemoryNetwork, path: Path, disk: Disk, kill: Kill, logged_failures: Events
) -> None:
    grape = start(network, path)
    key = Key()
    mutable = network.result(key.put(grape, "old", 1))
    network.clock.advance(1)
    disk.problem = "database or disk is full"
    network.result(grape.announce("name", 1))
    outcome(key.put(grape, "new", 2))
    outcome(grape.put("lost"))
    stop(network, grape)
    assert said(logged_failures)
    disk.problem = None
    grape.startService()
    network.clock.advance(2)
    hash = network.result(grape.put("lost"))
    kill(network, "10.0.0.1", str(path))
    grape = start(network, path)
    assert found(network, grape, [hash]) == 1
    assert network.result(grape.lookup("name")) == ["10.0.0.1:1"]
    got = network.result(grape.get(mutable))
    assert got is not None
    assert got.item.seq == 2
    stop(network, grape)


def test_failing_disk_is_retried_less_and_less_often(
    network: MemoryNetwork, path: Path, disk: Disk, logged_failures: Events
) -> None:
    grape = start(network, path)
    disk.problem = "disk I/O error"
    outcome(grape.put("a"))
    before = grape.stats().counters["state_failures"]
    network.clock.advance(100)
    assert 10 <= grape.stats().counters["state_failures"] - before <= 20
    assert len(said(logged_failures)) == 1
    disk.problem = None
    stop(network, grape)


def test_removed_file_is_noticed(network: MemoryNetwork, path: Path, logged_failures: Events) -> None:
    grape = start(network, path)
    network.result(grape.put("a"))
    for name in list(path.parent.iterdir()):
        if not name.name.endswith(".lock"):
            name.unlink()
    network.clock.advance(11)
    problem = "moved or removed while in use; restart to create a new file"
    assert said(logged_failures) == [f"state file {path} cannot be written ({problem}); puts are refused until it can"]
    assert grape.stats().degraded == problem
    network.clock.advance(60)
    assert grape.stats().degraded == problem
    stop(network, grape)
    assert not path.exists()


def test_copy_of_a_file_in_use_is_complete(network: MemoryNetwork, path: Path) -> None:
    grape = start(network, path)
    hash = network.result(grape.put("a"))
    for suffix in ("", "-wal"):
        shutil.copy(f"{path}{suffix}", f"{path}.copy{suffix}")
    stop(network, grape)
    grape = start(network, Path(f"{path}.copy"))
    assert found(network, grape, [hash]) == 1
    stop(network, grape)
