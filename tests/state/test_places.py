"""What may be at a state file's path, or beside it, that is not ours: pipes, devices, logs, another user's lock."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest
from twisted.logger import ILogObserver, LogEvent, eventAsText, globalLogPublisher
from zope.interface import implementer

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
    """What a use of a pipe raises, which must not wait for somebody to write into it."""
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
        # Whoever waits for a writer gets one that writes nothing.
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
        thread.join()
        return "it waits"
    return problems[0] if problems else ""


@pytest.mark.parametrize("use", [StateFile, lambda path: examine(path, 1)], ids=["a grape", "a look"])
def test_a_pipe_is_refused_and_left_as_it_is(pipe: Path, use: Callable[[str], object]) -> None:
    assert problem(pipe, use) == "it is no regular file"
    assert stat.S_IMODE(pipe.stat().st_mode) == 0o640
    assert list(pipe.parent.iterdir()) == [pipe]


@pytest.mark.parametrize("command", ["check", "dump", "import"])
def test_the_command_refuses_a_pipe(pipe: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    statuses: list[int] = []
    assert problem(pipe, lambda path: statuses.append(state_cli.main([command, path]))) == ""
    assert statuses == [74]
    assert capsys.readouterr().err == f"grape: {pipe}: it is no regular file\n"


@pytest.mark.parametrize("path", ["/dev/null", "/dev/zero"])
def test_a_device_is_refused(path: str) -> None:
    # The check alone: no test may come near to moving one.
    with pytest.raises(StateError, match=f"^{path}: it is no regular file$"):
        refuse_special_file(path)


def test_the_log_of_a_file_that_is_gone_does_not_get_into_the_new_one(tmp_path: Path) -> None:
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


def test_the_operator_is_told_of_a_log_without_its_file(tmp_path: Path) -> None:
    path = tmp_path / "grape.sqlite"
    Path(f"{path}-wal").write_bytes(b"old")
    network = MemoryNetwork(seed=1)
    events: list[LogEvent] = []
    observer = implementer(ILogObserver)(type("Observer", (), {"__call__": lambda _, event: events.append(event)}))()
    globalLogPublisher.addObserver(observer)
    try:
        grape = Grape(reactor=network.reactor("10.0.0.1"), state=str(path), host="10.0.0.1")
        grape.startService()
        network.result(grape.stopService())
    finally:
        globalLogPublisher.removeObserver(observer)
    (left,) = tmp_path.glob("grape.sqlite.leftover-20*-wal")
    line = f"state file {path} was gone: a new one is made, and what SQLite had beside it is {str(left)[:-4]}-*"
    assert [text for text in map(eventAsText, events) if text.endswith(f"[grape#warn] {line}")]


def test_a_lock_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    path = tmp_path / "grape.sqlite"
    lock = tmp_path / "grape.sqlite.lock"
    # Root, too, is refused this one.
    lock.mkdir()
    with pytest.raises(StateError) as raised:
        FileLock(str(path)).take()
    assert str(raised.value) == f"{path}: {lock}: Is a directory"
