"""Records node state to disk and restores it at start.

The recorder is the journal of a node with a state file. The stores tell it which entries changed; it reads their
current values and hands these to a writer. Items are written at once, because puts are acknowledged when they are on
the disk; all else within a second. When the disk fails, the changes are remembered and retried, and puts are refused
until they are written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from grape.dht.compact import Address
from grape.logs import Counted
from grape.metrics import Counters
from grape.reactor import Clock, Timer
from grape.state import records
from grape.state.changes import ChangeCollector, ChangedKeys
from grape.state.clock import Heartbeat, Moment
from grape.state.journal import OnDurable
from grape.state.lock import StateError
from grape.state.recorded import Recorded
from grape.state.restore import restore
from grape.state.sqlite import StateFile
from grape.state.tables import Change
from grape.state.writer import DirectWriter, ThreadWriter, Writer

WRITE_SECONDS = 0.5
HEARTBEAT_SECONDS = 10.0
MAX_RETRY_SECONDS = 10.0
# With more changes than this not yet on the disk, puts are refused until the disk has caught up.
MAX_WAITING = 10_000
CLOSE_SECONDS = 5.0

log = Logger(namespace="grape.state")

OpenFile = Callable[[], StateFile]


@attrs.frozen
class Restored:
    """The node id and the contacts of the state file: None without an id; the contact heard from last comes first."""

    node_id: bytes | None
    contacts: list[Address]


class StateRecorder:
    """Writes a node's state to the file that ``open_file()`` opens; implements ``grape.state.journal.Journal``.

    ``now()`` returns what the machine's clocks say. Changes are noted from the first ``open()`` to the end of the
    process, also between ``close()`` and the next ``open()``. With ``is_optional`` a file that the process may not
    write is a warning: state is kept in memory only, and ``problem`` says so.
    """

    def __init__(
        self,
        clock: Clock,
        open_file: OpenFile,
        now: Callable[[], Moment] | None = None,
        counters: Counters | None = None,
        *,
        is_optional: bool = False,
    ) -> None:
        self.counters = counters if counters is not None else Counters()
        #: Why nothing can be written to the file at this time; None while it can.
        self.problem: str | None = None
        #: When something was last committed to the file, on the clock; None before.
        self.committed_at: float | None = None
        self._clock = clock
        self._open_file = open_file
        self._is_optional = is_optional
        self._is_in_memory = False
        self._now = now if now is not None else Moment.now
        self._changed = ChangedKeys()
        self._collector: ChangeCollector | None = None
        self._file: StateFile | None = None
        self._writer: Writer | None = None
        # Added to the clock's seconds it gives state seconds.
        self._offset = 0.0
        self._timer: Timer | None = None
        self._retry_at = 0.0
        self._retry_pause = WRITE_SECONDS
        self._heartbeat_at = 0.0

    # Opening and closing

    def open(self, recorded: Recorded) -> Restored:
        """Opens the file, restores what it holds into ``recorded`` and starts to write. Raises StateError."""
        try:
            file = self._open_file()
        except StateError as error:
            self._do_without(error)
            return Restored(None, [])
        self._is_in_memory = False
        try:
            self._log_opening(file)
            found = records.read(file.contents.rows)
            file.contents = attrs.evolve(file.contents, rows={})
            now = self._clock.seconds()
            heartbeat = found.heartbeat
            self._offset = (heartbeat.seconds_at(self._now()) if heartbeat is not None else found.latest) - now
            restore(found, recorded, self._changed, now, self._offset)
            self._writer = self._start_writer(file)
        except BaseException:
            file.close()
            raise
        self._file = file
        self._collector = ChangeCollector(recorded, self._changed, self._offset, found.contacts, found.node_id)
        self.problem = None
        self._timer = self._clock.callLater(WRITE_SECONDS, self._tick)
        _log_restored(file.path, found, recorded)
        return Restored(found.node_id, [contact.address for contact in reversed(found.contacts)])

    def keep_id(self, node_id: bytes) -> None:
        """Writes the node's id to the open file at once. Raises StateError."""
        if self._file is not None:
            self._file.commit([records.node_id_change(node_id), *self._stamp()])
            if self._collector is not None:
                self._collector.id_written(node_id)

    def close(self) -> Deferred[None]:
        """Writes the last changes and closes the file. Fires when that is done, or after CLOSE_SECONDS."""
        closed: Deferred[None] = Deferred()
        writer, self._writer = self._writer, None
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if writer is None or self._collector is None:
            closed.callback(None)
            return closed
        now = self._clock.seconds()
        self._write(writer, [*self._collector.collect_items(now), *self._collector.collect_others(now, at_end=True)])

        def done() -> None:
            if deadline.active():
                deadline.cancel()
            if not closed.called:
                closed.callback(None)

        deadline = self._clock.callLater(CLOSE_SECONDS, done)
        writer.close(done)
        return closed

    # Journal

    @property
    def refusal(self) -> str | None:
        """Why puts are refused at this time; None while they are taken."""
        if self._is_in_memory:
            return None
        if self._writer is None:
            return "the state file is closed"
        if self.problem is not None:
            return self.problem
        return "the disk is too slow" if self._writer.waiting > MAX_WAITING else None

    @property
    def committing(self) -> int:
        """The number of the commit that the disk has not finished yet, from 1 on; 0 while there is none."""
        return self._writer.committing if self._writer is not None else 0

    def when_durable(self, done: OnDurable) -> None:
        """Calls ``done(None)`` once every item stored so far is on the disk, else ``done(reason)``."""
        if self._is_in_memory or self._writer is None or self._collector is None or self.problem is not None:
            done(self.refusal)
        else:
            self._write(self._writer, self._collector.collect_items(self._clock.seconds()), done)

    def item_changed(self, target: bytes) -> None:
        """Notes that an item was stored or removed."""
        self._changed.item_changed(target)

    def own_item_changed(self, target: bytes) -> None:
        """Notes that an item put through this node was added, published or removed."""
        self._changed.own_item_changed(target)

    def peer_changed(self, key: bytes, peer: Address) -> None:
        """Notes that a peer was announced, renewed or removed."""
        self._changed.peer_changed(key, peer)

    def own_announce_changed(self, key: bytes, port: int) -> None:
        """Notes that an announce made through this node was made or has expired."""
        self._changed.own_announce_changed(key, port)

    # Writing

    def _tick(self) -> None:
        self._timer = self._clock.callLater(WRITE_SECONDS, self._tick)
        now = self._clock.seconds()
        writer, collector = self._writer, self._collector
        if writer is None or collector is None or now < self._retry_at:
            return
        try:
            is_due = self.problem is not None or now - self._heartbeat_at >= HEARTBEAT_SECONDS
            changes = [*collector.collect_items(now), *collector.collect_others(now)]
            if changes or is_due:
                self._heartbeat_at = now
                self._write(writer, changes)
        except Exception:
            log.failure("state file: changes could not be collected")

    def _write(self, writer: Writer, changes: list[Change], done: OnDurable | None = None) -> None:
        def written(error: StateError | None) -> None:
            if error is None:
                self._written()
            else:
                self._not_written(changes, error)
            if done is not None:
                try:
                    done(error.problem if error is not None else None)
                except Exception:
                    log.failure("state file: a caller could not be told that its item is durable")

        writer.write(changes, written)

    def _written(self) -> None:
        self.counters.state_commits += 1
        self.committed_at = self._clock.seconds()
        if self.problem is not None and self._file is not None:
            log.info("state file {path} can be written again", path=self._file.path)
            self.problem = None
            self._retry_at, self._retry_pause = 0.0, WRITE_SECONDS

    def _not_written(self, changes: list[Change], error: StateError) -> None:
        self.counters.state_failures += 1
        if self.problem is None:
            log.critical("state file {path} cannot be written ({problem}); puts are refused until it can",
                         path=error.path, problem=error.problem)  # fmt: skip
        self.problem = error.problem
        self._retry_at = self._clock.seconds() + self._retry_pause
        self._retry_pause = min(self._retry_pause * 2, MAX_RETRY_SECONDS)
        if self._collector is not None:
            self._collector.collect_again(changes)

    def _stamp(self) -> Iterable[Change]:
        """Returns the heartbeat, which every commit contains. Called in the writer's thread."""
        return [records.heartbeat_change(Heartbeat(self._clock.seconds() + self._offset, self._now()))]

    def _start_writer(self, file: StateFile) -> Writer:
        call_from_thread: Any = getattr(self._clock, "callFromThread", None)
        if call_from_thread is None:
            return DirectWriter(file, self._stamp)
        try:
            return ThreadWriter(file, call_from_thread, self._stamp)
        except RuntimeError as error:
            problem = f"{error} to write it; raise the limit of processes (ulimit -u, TasksMax=)"
            raise StateError(file.path, problem) from error

    def _do_without(self, error: StateError) -> None:
        """Goes on in memory if the file is optional and may not be written; raises ``error`` otherwise."""
        if not self._is_optional or not error.is_unwritable:
            raise error
        self._is_in_memory = True
        self.problem = f"state is kept in memory only: {error}"
        log.warn(
            "state file {path} cannot be written ({problem}): state is kept in memory only and lost at the end; "
            "--state FILE names another file, --state :memory: keeps none",
            path=error.path,
            problem=error.problem,
        )

    def _log_opening(self, file: StateFile) -> None:
        if file.moved_to is not None:
            self.counters.state_moved_aside += 1
            saved = sum(map(len, file.contents.rows.values()))
            log.critical("state file {path} is damaged ({damage}); moved to {to}; {saved} rows recovered",
                         path=file.path, damage=file.damage, to=file.moved_to, saved=saved)  # fmt: skip
        if file.backup is not None:
            log.info("state file {path} upgraded; backup of the older version: {backup}",
                     path=file.path, backup=file.backup)  # fmt: skip
        if file.leftovers is not None:
            log.warn("state file {path} is missing, but not its SQLite logs; moved these to {to}-*; created a new file",
                     path=file.path, to=file.leftovers)  # fmt: skip


def _log_restored(path: str, found: records.Records, recorded: Recorded) -> None:
    """Logs what a state file gave back, unless it is new."""
    if found.node_id is None and not found.latest:
        return
    log.info(
        "restored from {path}: node id {node_id}, {contacts}, {services}, {items}",
        path=path,
        node_id=found.node_id.hex() if found.node_id is not None else "none",
        contacts=Counted(len(found.contacts), "contact"),
        services=Counted(len(recorded.peers), "service"),
        items=Counted(len(recorded.items), "item"),
    )


def recorder_of(
    path: str | None, durability: str, clock: Clock, counters: Counters, *, is_optional: bool = False
) -> StateRecorder | None:
    """Returns a recorder for the state file at ``path``; None without a path."""
    if path is None:
        return None
    return StateRecorder(
        clock, lambda: StateFile(path, durability=durability), counters=counters, is_optional=is_optional
    )
