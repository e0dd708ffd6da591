"""Writers: acknowledged changes are committed, in order and in groups, and a failure reaches every caller concerned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from queue import Queue
from threading import Event
from typing import Any

import pytest

from grape.state.lock import StateError
from grape.state.tables import Change
from grape.state.writer import DirectWriter, ThreadWriter, Writer

SECONDS = 20.0


class File:
    """A file whose commits wait for ``free`` and fail while there is a ``problem``."""

    path = "a.sqlite"

    def __init__(self) -> None:
        self.commits: list[list[Change]] = []
        self.free = Event()
        self.free.set()
        self.began = Event()
        self.problem: Exception | None = None
        self.recover_after_failure = False
        self.is_closed = False

    def commit(self, changes: Sequence[Change]) -> None:
        self.began.set()
        assert self.free.wait(SECONDS)
        if self.problem is not None:
            problem = self.problem
            if self.recover_after_failure:
                self.problem = None
            raise problem
        self.commits.append(list(changes))

    def close(self) -> None:
        self.is_closed = True


class Loop:
    """The reactor of a test: runs in the test's thread what the writer's thread calls back."""

    def __init__(self) -> None:
        self._calls: Queue[Callable[[], object]] = Queue()

    def call_from_thread(self, function: Callable[..., object], *arguments: object) -> None:
        self._calls.put(lambda: function(*arguments))

    def run_until(self, holds: Callable[[], object]) -> None:
        while not holds():
            self._calls.get(timeout=SECONDS)()


def change(n: int) -> Change:
    return Change("contact", ("10.0.0.1", n), (b"i" * 20, 1.0))


@pytest.fixture
def file() -> File:
    return File()


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture(params=["direct", "thread"])
def writer(request: pytest.FixtureRequest, file: File, loop: Loop) -> Writer:
    return DirectWriter(file) if request.param == "direct" else ThreadWriter(file, loop.call_from_thread)


def close(writer: Writer, loop: Loop) -> None:
    closed: list[None] = []
    writer.close(lambda: closed.append(None))
    loop.run_until(lambda: closed)


def test_writer_calls_back_once_changes_are_committed(writer: Writer, file: File, loop: Loop) -> None:
    told: list[tuple[int, object]] = []

    def tell(n: int) -> Callable[[object], None]:
        def done(error: object) -> None:
            assert change(n) in [c for commit in file.commits for c in commit]
            told.append((n, error))

        return done

    for n in range(100):
        writer.write([change(n)], tell(n))
    loop.run_until(lambda: len(told) == 100)
    assert told == [(n, None) for n in range(100)]
    assert [c for commit in file.commits for c in commit] == [change(n) for n in range(100)]
    assert writer.waiting == 0
    close(writer, loop)
    assert file.is_closed


@pytest.mark.parametrize("problem", [StateError("a.sqlite", "disk full"), RuntimeError("a bug")])
def test_writer_reports_a_failure_and_the_next_write_may_succeed(
    writer: Writer, file: File, loop: Loop, problem: Exception
) -> None:
    told: list[Any] = []
    file.problem = problem
    writer.write([change(1)], told.append)
    loop.run_until(lambda: told)
    assert isinstance(told[0], StateError)
    file.problem = None
    writer.write([change(2)], told.append)
    loop.run_until(lambda: len(told) == 2)
    assert told[1] is None
    close(writer, loop)


def test_changes_that_come_during_a_commit_form_the_next_group(file: File, loop: Loop) -> None:
    writer = ThreadWriter(file, loop.call_from_thread)
    told: list[object] = []
    file.free.clear()
    writer.write([change(0)], told.append)
    assert file.began.wait(SECONDS)
    for n in range(1, 50):
        writer.write([change(n)], told.append)
    assert writer.waiting == 50
    file.free.set()
    loop.run_until(lambda: len(told) == 50)
    assert [len(commit) for commit in file.commits] == [1, 49]
    close(writer, loop)


def test_closing_commits_what_was_written_before(file: File, loop: Loop) -> None:
    writer = ThreadWriter(file, loop.call_from_thread)
    told: list[object] = []
    file.free.clear()
    for n in range(5):
        writer.write([change(n)], told.append)
    file.free.set()
    close(writer, loop)
    assert told == [None] * 5
    assert file.is_closed


def test_write_queued_before_a_failure_was_reported_fails_too(file: File, loop: Loop) -> None:
    writer = ThreadWriter(file, loop.call_from_thread)
    told: list[StateError | None] = []
    file.free.clear()
    file.problem = StateError("a.sqlite", "disk full")
    writer.write([change(1)], told.append)
    assert file.began.wait(SECONDS)
    # A write without changes relies on the ones before it, which fail.
    file.recover_after_failure = True
    writer.write([], told.append)
    assert writer.waiting == 2
    file.free.set()
    loop.run_until(lambda: len(told) == 2)
    assert [error.problem if error is not None else None for error in told] == ["disk full"] * 2
    writer.write([change(1)], told.append)
    loop.run_until(lambda: len(told) == 3)
    assert told[2] is None
    assert file.commits == [[change(1)]]
    assert writer.waiting == 0
    close(writer, loop)


@pytest.mark.parametrize("kind", ["direct", "thread"])
def test_writer_adds_the_stamp_to_every_commit(file: File, loop: Loop, kind: str) -> None:
    def stamp() -> list[Change]:
        return [change(0)]

    writer = DirectWriter(file, stamp) if kind == "direct" else ThreadWriter(file, loop.call_from_thread, stamp)
    told: list[object] = []
    writer.write([change(1)], told.append)
    loop.run_until(lambda: told)
    assert file.commits == [[change(1), change(0)]]
    close(writer, loop)


@pytest.mark.parametrize("problem", [None, StateError("a.sqlite", "disk full")])
def test_commit_under_way_has_a_number_until_it_ends(file: File, loop: Loop, problem: Exception | None) -> None:
    writer = ThreadWriter(file, loop.call_from_thread)
    told: list[object] = []
    for number in (1, 2):
        told.clear()
        file.problem = problem
        file.began.clear()
        file.free.clear()
        writer.write([change(number)], told.append)
        assert file.began.wait(SECONDS)
        assert writer.committing == number
        file.free.set()
        loop.run_until(lambda: told)
        assert writer.committing == 0
    close(writer, loop)
