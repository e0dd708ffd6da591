"""grape.daemon.state_file: which state file a process has, waits for, or goes without."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from grape import Config, Grape
from grape.daemon.state_file import wait_for, with_state_file
from grape.state.lock import FileLock, StateError, StateInUse, holder_of
from grape.state.sqlite import StateFile
from grape.testing import MemoryNetwork

HOLD = """
import sqlite3, sys

db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA locking_mode = EXCLUSIVE")
db.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Returns the path of a state file that exists."""
    path = str(tmp_path.resolve() / "a.sqlite")
    StateFile(path).close()
    return path


@pytest.fixture
def holder(path: str) -> Iterator[subprocess.Popen[str]]:
    """Runs another program that has the file locked by SQLite's own means, until its stdin is closed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.communicate(timeout=10)


@pytest.mark.parametrize(
    ("settings", "folder", "file", "is_optional"),
    [
        ({}, None, "grape-20001.sqlite", True),
        ({"dht_port": 20_007}, "", "grape-20007.sqlite", True),
        ({}, "/var/lib/grape", "/var/lib/grape/grape-20001.sqlite", False),
        ({}, ":/var/lib/grape:/elsewhere", "/var/lib/grape/grape-20001.sqlite", False),
        ({"state": "a.sqlite"}, None, "a.sqlite", False),
        ({"state": "grape-20001.sqlite"}, None, "grape-20001.sqlite", False),
        ({"state": ":memory:"}, None, None, False),
        ({"dht_port": 0}, "/var/lib/grape", None, False),
    ],
)
def test_state_file_is_optional_only_where_nobody_asked_for_it(
    settings: dict[str, object], folder: str | None, file: str | None, is_optional: bool
) -> None:
    environment = {} if folder is None else {"STATE_DIRECTORY": folder}
    config, optional = with_state_file(Config(**settings), environment)  # type: ignore[arg-type]
    assert (config.state_file, optional) == (file, is_optional)


def test_holder_is_nobody_for_a_file_that_is_free_or_missing(path: str, tmp_path: Path) -> None:
    assert holder_of(path) is None
    before = sorted(tmp_path.iterdir())
    assert holder_of(str(tmp_path / "missing.sqlite")) is None
    assert holder_of(str(tmp_path / "no folder" / "missing.sqlite")) is None
    assert sorted(tmp_path.iterdir()) == before


def test_holder_does_not_wait_for_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert holder_of(str(tmp_path / "pipe")) is None


def test_holder_is_the_process_in_the_lock_file(path: str) -> None:
    lock = FileLock(path)
    lock.take()
    holder = holder_of(path)
    assert holder is not None
    assert holder.startswith(f"process {os.getpid()} since ")
    lock.release()
    assert holder_of(path) is None


@pytest.mark.skipif(sys.platform != "linux", reason="other systems lay out struct flock differently")
def test_holder_may_be_another_program(path: str, holder: subprocess.Popen[str]) -> None:
    assert holder_of(path) == f"process {holder.pid}"


def test_wait_for_a_free_file_says_nothing(path: str) -> None:
    lines: list[str] = []
    wait_for(path, lines.append)
    assert lines == []


def test_wait_says_at_once_who_has_the_file_and_when_it_is_free(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lock, lines = FileLock(path), []
    lock.take()

    def say(line: str) -> None:
        lines.append(line)
        lock.release()

    wait_for(path, say)
    assert [line.partition(" since ")[0] for line in lines] == [
        f"state file {path} is in use by process {os.getpid()}",
        f"state file {path} is free; starting",
    ]
    assert lines[0].endswith("; waiting up to 5 s for it")


@pytest.mark.parametrize(("seconds", "said"), [(0.0, 0), (0.01, 1)])
def test_wait_ends_with_the_name_of_the_holder(path: str, seconds: float, said: int) -> None:
    lock, lines = FileLock(path), []  # type: ignore[var-annotated]
    lock.take()
    with pytest.raises(StateInUse, match=f"{path}: in use by process {os.getpid()} since "):
        wait_for(path, lines.append, seconds)
    assert len(lines) == said
    lock.release()


# Without a file


def unwritable(path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Refuses to open what lies beside ``path``, as the system does for other users than root."""
    opened: Callable[..., int] = os.open

    def refuse(name: str, *arguments: int) -> int:
        if os.fspath(name).startswith(str(path)):
            raise PermissionError(13, "Permission denied")
        return opened(name, *arguments)

    monkeypatch.setattr(os, "open", refuse)
    return str(path)


def test_optional_file_that_may_not_be_written_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = MemoryNetwork()
    path = tmp_path.resolve() / "a.sqlite"
    with monkeypatch.context() as patched:
        config = Config(api_port=None, state=unwritable(path, patched))
        grape = Grape.from_config(config, network.reactor("10.0.0.1"), is_state_optional=True)
        grape.startService()
    assert grape.stats().degraded == f"state is kept in memory only: {path}: Permission denied"
    hash = network.result(grape.put("in memory"))
    got = network.result(grape.get(hash))
    assert got is not None
    assert got.item.value == b"in memory"
    network.result(grape.stopService())
    # It may be written at a second start.
    grape.startService()
    assert grape.stats().degraded is None
    network.result(grape.stopService())


def test_file_that_was_asked_for_and_may_not_be_written_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config(api_port=None, state=unwritable(tmp_path.resolve() / "a.sqlite", monkeypatch))
    grape = Grape.from_config(config, MemoryNetwork().reactor("10.0.0.1"))
    with pytest.raises(StateError, match=r"a\.sqlite: Permission denied"):
        grape.startService()


def test_optional_file_that_another_process_has_is_an_error(path: str) -> None:
    lock = FileLock(path)
    lock.take()
    config = Config(api_port=None, state=path)
    grape = Grape.from_config(config, MemoryNetwork().reactor("10.0.0.1"), is_state_optional=True)
    with pytest.raises(StateInUse):
        grape.startService()
    lock.release()


def test_optional_file_in_a_removed_folder_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "removed"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    network = MemoryNetwork()
    config = Config(api_port=None, state="a.sqlite")
    grape = Grape.from_config(config, network.reactor("10.0.0.1"), is_state_optional=True)
    grape.startService()
    degraded = "state is kept in memory only: a.sqlite: the working directory was removed"
    assert grape.stats().degraded == degraded
    network.result(grape.stopService())
    with pytest.raises(StateError, match=r"^a\.sqlite: the working directory was removed$"):
        StateFile("a.sqlite")
    assert holder_of("a.sqlite") is None
