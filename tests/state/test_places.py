"""Pipes and devices at a state file's path, and logs and another user's lock beside it."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest
from twisted.logger import LogLevel

from grape import Grape
from grape.cli import state as state_cli
from grape.state.examine import examine, refuse_special_file
from grape.state.lock import FileLock, StateError
from grape.state.sqlite import StateFile
from grape.state.tables import Change
from grape.testing import MemoryNetwork

PATIENCE_SECONDS = 10.0


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    path = tmp_path / "grape.sqlite"
    os.mkfifo(path, 0o640)
    return path


def contact(n: int) -> Change:
    return Change("contact", (f"10.0.0.{n}", n), (b"i" * 20, 1.0))


def problem(path: Path, use: Callable[[str], object]) -> str:
    """The problem that a use of a pipe raises; "it waits" if the use waits for somebody to write into the pipe."""
    problems: list[str] = []

    def run() -> None:
        try:
            use(str(path))
        except StateError as error:
            problems.append(error.problem)

    thread = Thread(target=run)
    thread.start()
    thread.join(PATIENCE_SECONDS)
    if thread.is_alive():
        # The waiting thread gets a writer that writes nothing.
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
        thread.join()
        return "it waits"
    return problems[0] if problems else ""


@pytest.mark.parametrize("use", [StateFile, lambda path: examine(path, 1)], ids=["a node", "grape state"])
def test_pipe_is_refused_and_left_unchanged(pipe: Path, use: Callable[[str], object]) -> None:
    assert problem(pipe, use) == "not a regular file"
    assert stat.S_IMODE(pipe.stat().st_mode) == 0o640
    assert list(pipe.parent.iterdir()) == [pipe]


@pytest.mark.parametrize("command", ["check", "dump", "import"])
def test_command_refuses_a_pipe(pipe: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    statuses: list[int] = []
    assert problem(pipe, lambda path: statuses.append(state_cli.main([command, path]))) == ""
    assert statuses == [74]
    assert capsys.readouterr().err == f"grape: {pipe}: not a regular file\n"


@pytest.mark.parametrize("path", ["/dev/null", "/dev/zero"])
def test_device_is_refused(path: str) -> None:
    # Only the check is called: no test may come near to renaming a device.
    with pytest.raises(StateError, match=f"^{path}: not a regular file$"):
        refuse_special_file(path)


def test_log_of_a_missing_file_is_not_replayed_into_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "grape.sqlite"
    file = StateFile(str(path))
    file.commit([contact(1)])
    logs = {suffix: Path(f"{path}{suffix}").read_bytes() for suffix in ("-wal", "-shm")}
    file.close()
    # As after kill -9 and rm.
    path.unlink()
    for suffix, octets in logs.items():
        Path(f"{path}{suffix}").write_bytes(octets)
    file = StateFile(str(path))
    file.commit([contact(2)])
    assert file.leftovers is not None
    assert (file.moved_to, file.contents.rows["contact"]) == (None, [])
    assert {suffix: Path(f"{file.leftovers}{suffix}").read_bytes() for suffix in logs} == logs
    file.close()
    file = StateFile(str(path))
    assert file.leftovers is None
    assert file.contents.rows["contact"] == [contact(2).key + (contact(2).row or ())]
    file.close()


def test_log_without_its_file_is_named_in_one_warning(
    network: MemoryNetwork, tmp_path: Path, logged: list[tuple[LogLevel, str]]
) -> None:
    path = tmp_path / "grape.sqlite"
    Path(f"{path}-wal").write_bytes(b"old")
    grape = Grape(reactor=network.reactor("10.0.0.1"), state=str(path), host="10.0.0.1")
    grape.startService()
    network.result(grape.stopService())
    (left,) = tmp_path.glob("grape.sqlite.leftover-20*-wal")
    line = (
        f"state file {path} is missing, but not its SQLite logs; moved these to {str(left)[:-4]}-*; created a new file"
    )
    assert logged == [(LogLevel.warn, line)]


def test_lock_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    path = tmp_path / "grape.sqlite"
    lock = tmp_path / "grape.sqlite.lock"
    # Root, too, cannot open a folder for writing.
    lock.mkdir()
    with pytest.raises(StateError) as raised:
        FileLock(str(path)).take()
    assert str(raised.value) == f"{path}: {lock}: Is a directory"


def test_error_of_a_path_with_a_line_end_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(StateError, match=r"^[^\n]+a\\nb: No such file or directory$"):
        examine(str(tmp_path / "a\nb"), 1)
