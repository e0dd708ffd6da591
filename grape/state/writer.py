"""Commits changes to a state file: in a thread of its own, in groups, or in the caller's thread.

A commit waits for the disk; the changes that come meanwhile form the next group. Under load groups grow by themselves,
and a lone change waits for nothing but its own commit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Protocol

from grape.state.lock import StateError
from grape.state.tables import Change

MAX_CHANGES_PER_COMMIT = 2_000

# Called with None once the changes are on the disk, else with the error.
Done = Callable[[StateError | None], object]
# Returns changes that every commit contains beside its own.
Stamp = Callable[[], Iterable[Change]]
CallFromThread = Callable[..., object]
# The generation it was queued in, the changes, and the function to call afterwards.
Job = tuple[int, Sequence[Change], Done]


class File(Protocol):
    """The file that a writer commits to: ``grape.state.sqlite.StateFile``."""

    path: str

    def commit(self, changes: Sequence[Change]) -> None:
        """Writes changes, all or none. Raises StateError."""
        ...

    def close(self) -> None:
        """Closes the file."""
        ...


class Writer(Protocol):
    """Commits changes in the order in which they come."""

    @property
    def waiting(self) -> int:
        """The number of changes that are not on the disk yet; a write without changes counts as one."""
        ...

    @property
    def committing(self) -> int:
        """The number of the commit that is under way, from 1 on; 0 while none is."""
        ...

    def write(self, changes: Sequence[Change], done: Done) -> None:
        """Commits ``changes``; calls ``done`` once these and all before them are on the disk or have failed."""
        ...

    def close(self, done: Callable[[], object]) -> None:
        """Commits what was written before, closes the file and calls ``done``."""
        ...


class DirectWriter:
    """Commits in the caller's thread: for a reactor without threads, such as the one of ``grape.testing``."""

    waiting = committing = 0

    def __init__(self, file: File, stamp: Stamp = tuple) -> None:
        self._file = file
        self._stamp = stamp

    def write(self, changes: Sequence[Change], done: Done) -> None:
        """Commits ``changes`` and calls ``done``."""
        done(_commit(self._file, changes, self._stamp))

    def close(self, done: Callable[[], object]) -> None:
        """Closes the file and calls ``done``."""
        self._file.close()
        done()


class ThreadWriter:
    """Commits in a thread of its own; ``call_from_thread(function, *arguments)`` calls back into the reactor's.

    A job that was queued before the reactor heard of a failed commit may rely on what that commit should have written:
    it fails, too. Each failure that the reactor hears of begins a new generation of jobs.
    """

    def __init__(self, file: File, call_from_thread: CallFromThread, stamp: Stamp = tuple) -> None:
        self._file = file
        self._call_from_thread = call_from_thread
        self._stamp = stamp
        # Jobs to commit; the last entry is the function to call after closing.
        self._jobs: SimpleQueue[Job | Callable[[], object]] = SimpleQueue()
        self._waiting = 0
        self._generation = 0
        self._commits = 0
        #: The number of the commit that is under way, from 1 on; 0 while none is. Set in the writer's thread.
        self.committing = 0
        # A program that ends without stopping its node must not wait for this thread; what was acknowledged is on disk.
        Thread(target=self._work, name="grape state", daemon=True).start()

    @property
    def waiting(self) -> int:
        """The number of changes that are not on the disk yet; a write without changes counts as one."""
        return self._waiting

    def write(self, changes: Sequence[Change], done: Done) -> None:
        """Queues ``changes``; ``done`` is called in the reactor's thread."""
        self._waiting += max(len(changes), 1)
        self._jobs.put((self._generation, changes, done))

    def close(self, done: Callable[[], object]) -> None:
        """Commits what is queued, closes the file, ends the thread and calls ``done`` in the reactor's thread."""
        self._jobs.put(done)

    def _work(self) -> None:
        failed, problem = -1, None
        while True:
            jobs: list[Job] = []
            number = 0
            job = self._jobs.get()
            while isinstance(job, tuple):
                jobs.append(job)
                number += len(job[1])
                if number >= MAX_CHANGES_PER_COMMIT:
                    break
                try:
                    job = self._jobs.get_nowait()
                except Empty:
                    break
            late = [job for job in jobs if job[0] <= failed]
            if late:
                self._call_from_thread(self._done, late, problem)
            jobs = jobs[len(late) :]
            if jobs:
                group = [change for _, changes, _ in jobs for change in changes]
                self._commits += 1
                self.committing = self._commits
                problem = _commit(self._file, group, self._stamp)
                self.committing = 0
                if problem is not None:
                    failed = jobs[-1][0]
                self._call_from_thread(self._done, jobs, problem)
            if not isinstance(job, tuple):
                self._file.close()
                self._call_from_thread(job)
                return

    def _done(self, jobs: list[Job], problem: StateError | None) -> None:
        if problem is not None:
            self._generation = max(self._generation, jobs[-1][0] + 1)
        for _, changes, _ in jobs:
            self._waiting -= max(len(changes), 1)
        for _, _, done in jobs:
            done(problem)


def _commit(file: File, changes: Sequence[Change], stamp: Stamp) -> StateError | None:
    try:
        file.commit([*changes, *stamp()])
    except StateError as error:
        return error
    except Exception as error:
        # An exception that ended the thread would leave every caller without an answer.
        return StateError(file.path, repr(error))
    return None
