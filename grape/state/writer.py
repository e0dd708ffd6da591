"""What brings changes to a state file: a thread that commits what has come in together, or the caller itself.

A commit waits for the disk, so that what comes meanwhile forms the next group: under load the groups grow, and alone a
change waits for nothing but its own commit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Protocol

from grape.state.lock import StateError
from grape.state.tables import Change

MAX_CHANGES_PER_COMMIT = 2_000

# Told None when it is on the disk, or why not.
Done = Callable[[StateError | None], object]
CallFromThread = Callable[..., object]
# The generation it was queued in, what to write, and whom to tell.
Job = tuple[int, Sequence[Change], Done]


class File(Protocol):
    """What a writer writes to: store_sqlite.StateFile."""

    path: str

    def commit(self, changes: Sequence[Change]) -> None: ...

    def close(self) -> None: ...


class Writer(Protocol):
    """Takes changes; each ``done`` is called once they, and all before them, are on the disk or have failed."""

    @property
    def waiting(self) -> int:
        """How many changes are not on the disk yet; a write without any counts as one."""
        ...

    def write(self, changes: Sequence[Change], done: Done) -> None: ...

    def close(self, done: Callable[[], object]) -> None: ...


class DirectWriter:
    """Commits at once: for a reactor without threads, as tests have."""

    waiting = 0

    def __init__(self, file: File) -> None:
        self._file = file

    def write(self, changes: Sequence[Change], done: Done) -> None:
        done(_commit(self._file, changes))

    def close(self, done: Callable[[], object]) -> None:
        """Close the file."""
        self._file.close()
        done()


class ThreadWriter:
    """Commits in a thread of its own; ``call_from_thread(function, *arguments)`` brings the news back.

    A job that was queued before the reactor heard of a failed commit may rely on what that should have written: it
    fails, too. Each such failure that is heard begins a new generation of jobs.
    """

    def __init__(self, file: File, call_from_thread: CallFromThread) -> None:
        self._file = file
        self._call_from_thread = call_from_thread
        # What is to be written, and at the end what to call after it.
        self._jobs: SimpleQueue[Job | Callable[[], object]] = SimpleQueue()
        self._waiting = 0
        self._generation = 0
        # A program that ends without stopping its grape must not wait for it; what was acknowledged is on the disk.
        Thread(target=self._work, name="grape state", daemon=True).start()

    @property
    def waiting(self) -> int:
        return self._waiting

    def write(self, changes: Sequence[Change], done: Done) -> None:
        self._waiting += max(len(changes), 1)
        self._jobs.put((self._generation, changes, done))

    def close(self, done: Callable[[], object]) -> None:
        """Write what came before, close the file and end the thread."""
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
                problem = _commit(self._file, [change for _, changes, _ in jobs for change in changes])
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


def _commit(file: File, changes: Sequence[Change]) -> StateError | None:
    try:
        file.commit(changes)
    except StateError as error:
        return error
    except Exception as error:
        # A thread that ends by an exception would leave everybody waiting for ever.
        return StateError(file.path, repr(error))
    return None
