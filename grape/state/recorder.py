"""Records node state to disk and restores it at start.

The stores say what changed; the recorder reads the current values from them and hands these to the writer. Items are
written at once, so that puts can be acknowledged when they are on the disk; all else within a second. When the disk
fails, the changes are remembered and retried, and puts are refused until they are written.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from grape.dht.compact import Address
from grape.dht.items import Item
from grape.dht.routing import RoutingTable
from grape.dht.tokens import Secrets, Tokens
from grape.reactor import Clock, Timer
from grape.state import records
from grape.state.clock import Heartbeat, Moment
from grape.state.journal import OnDurable
from grape.state.lock import StateError
from grape.state.records import ContactRecord, ItemRecord, OwnItemRecord, PeerRecord
from grape.state.sqlite import StateFile
from grape.state.tables import Change
from grape.state.writer import DirectWriter, ThreadWriter, Writer
from grape.store import MemoryItems, MemoryPeers

WRITE_SECONDS = 0.5
HEARTBEAT_SECONDS = 10.0
CONTACTS_SECONDS = 60.0
# After one came or went.
CONTACTS_PAUSE_SECONDS = 2.0
MAX_CONTACTS = 256
MAX_RETRY_SECONDS = 10.0
# A disk that is slower than this many changes has to catch up before more puts are taken.
MAX_WAITING = 10_000
# While nothing can be written no more changed peers are remembered: then all are written.
MAX_CHANGED_PEERS = 100_000
CLOSE_SECONDS = 5.0

log = Logger(namespace="grape")

OpenFile = Callable[[], StateFile]


class OwnItem(Protocol):
    """An item put through this grape: when, and when other nodes took it last (None: not yet)."""

    item: Item
    at: float
    published: float | None


class OwnItems(Protocol):
    """The items put through this grape."""

    def get(self, target: bytes) -> OwnItem | None: ...

    def restore(self, item: Item, at: float, published: float | None) -> None: ...


class OwnAnnounces(Protocol):
    """The announces made through this grape."""

    def made_at(self, key: bytes, port: int) -> float | None: ...

    def restore(self, key: bytes, port: int, at: float) -> None: ...


@attrs.frozen
class Recorded:
    """The parts of a node that are recorded."""

    table: RoutingTable
    tokens: Tokens
    items: MemoryItems
    own_items: OwnItems
    peers: MemoryPeers
    own_announces: OwnAnnounces


@attrs.frozen
class Restored:
    """What a start goes on with: the id from before, and the contacts, the latest first."""

    node_id: bytes | None
    contacts: list[Address]


@attrs.define(slots=True)
class StateCounters:
    """What happened to the state file since the start."""

    state_commits: int = 0
    state_failures: int = 0
    state_moved_aside: int = 0


class StateRecorder:
    """The journal of a node that has a state file, which ``open_file()`` opens.

    Changes are noted between ``open`` and the end of the process; what ``open`` itself restores is no change.
    """

    _recorded: Recorded

    def __init__(self, clock: Clock, open_file: OpenFile, now: Callable[[], Moment] | None = None) -> None:
        self.counters = StateCounters()
        #: Why the file cannot be written now.
        self.problem: str | None = None
        self._clock = clock
        self._open_file = open_file
        self._now = now if now is not None else Moment.now
        self._file: StateFile | None = None
        self._writer: Writer | None = None
        # State seconds are the clock's and this.
        self._offset = 0.0
        self._timer: Timer | None = None
        self._retry_at = 0.0
        self._retry_pause = WRITE_SECONDS
        self._beat_at = 0.0
        self._secrets: Secrets | None = None
        self._contacts: dict[Address, ContactRecord] = {}
        self._contacts_at = 0.0
        self._table_version = -1
        self._is_recording = False
        # What changed since it was given to the writer.
        self._items: dict[bytes, None] = {}
        self._own_items: dict[bytes, None] = {}
        self._peers: dict[tuple[bytes, Address], None] = {}
        self._all_peers = False
        self._announces: dict[tuple[bytes, int], None] = {}

    # Opening and closing

    def open(self, recorded: Recorded) -> Restored:
        """Opens the file and restores what it holds into ``recorded``. Raises StateError."""
        self._recorded = recorded
        self._is_recording = False
        file = self._file = self._open_file()
        try:
            return self._opened(file)
        except BaseException:
            file.close()
            raise

    def _opened(self, file: StateFile) -> Restored:
        if file.moved_to is not None:
            self.counters.state_moved_aside += 1
            saved = sum(map(len, file.contents.rows.values()))
            log.critical("state file {path} is damaged ({damage}): moved to {to}, {saved} rows of it could be saved",
                         path=file.path, damage=file.damage, to=file.moved_to, saved=saved)  # fmt: skip
        if file.backup is not None:
            log.info("state file {path} is upgraded; as it was it is {backup}", path=file.path, backup=file.backup)
        if file.leftovers is not None:
            log.warn("state file {path} was gone: a new one is made, and what SQLite had beside it is {to}-*",
                     path=file.path, to=file.leftovers)  # fmt: skip
        found = records.read(file.contents.rows)
        file.contents = attrs.evolve(file.contents, rows={})
        beat = found.heartbeat
        seconds = beat.seconds_at(self._now()) if beat is not None else found.latest
        self._offset = seconds - self._clock.seconds()
        self._restore(found)
        file.stamp = lambda: [records.heartbeat_change(self._heartbeat())]
        call_from_thread: Any = getattr(self._clock, "callFromThread", None)
        self._writer = ThreadWriter(file, call_from_thread) if call_from_thread is not None else DirectWriter(file)
        self.problem = None
        self._timer = self._clock.callLater(WRITE_SECONDS, self._tick)
        contacts = [contact.address for contact in reversed(found.contacts)]
        return Restored(found.node_id, contacts)

    def keep_id(self, node_id: bytes) -> None:
        """Keep the node's id. Raises StateError."""
        if self._file is not None:
            self._file.commit([records.node_id_change(node_id)])

    def close(self) -> Deferred[None]:
        """Write what is left, and close the file. Fires when that is done, after some seconds in any case."""
        closed: Deferred[None] = Deferred()
        writer, self._writer = self._writer, None
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if writer is None:
            closed.callback(None)
            return closed
        self._write(writer, [*self._urgent(), *self._others(self._clock.seconds(), at_end=True)])

        def done() -> None:
            if patience.active():
                patience.cancel()
            if not closed.called:
                closed.callback(None)

        patience = self._clock.callLater(CLOSE_SECONDS, done)
        writer.close(done)
        return closed

    # Journal

    @property
    def refusal(self) -> str | None:
        if self._writer is None:
            return "the state file is closed"
        if self.problem is not None:
            return self.problem
        return "the disk is too slow" if self._writer.waiting > MAX_WAITING else None

    def when_durable(self, done: OnDurable) -> None:
        if self._writer is None or self.problem is not None:
            done(self.refusal)
        else:
            self._write(self._writer, self._urgent(), done)

    def item_changed(self, target: bytes) -> None:
        if not self._is_recording:
            return
        self._items[target] = None

    def own_item_changed(self, target: bytes) -> None:
        if not self._is_recording:
            return
        self._own_items[target] = None
        # Whether the row of its own stands for the held one, too, is decided anew.
        self._items[target] = None

    def peer_changed(self, key: bytes, peer: Address) -> None:
        if self._all_peers or not self._is_recording:
            return
        self._peers[key, peer] = None
        if len(self._peers) > MAX_CHANGED_PEERS:
            # Those that went stay in the file, where their age ends them.
            self._all_peers = True
            self._peers.clear()

    def own_announce_changed(self, key: bytes, port: int) -> None:
        if not self._is_recording:
            return
        self._announces[key, port] = None

    # Writing

    def _tick(self) -> None:
        self._timer = self._clock.callLater(WRITE_SECONDS, self._tick)
        now = self._clock.seconds()
        writer = self._writer
        if writer is None or now < self._retry_at:
            return
        try:
            is_due = self.problem is not None or now - self._beat_at >= HEARTBEAT_SECONDS
            changes = [*self._urgent(), *self._others(now)]
            if changes or is_due:
                self._beat_at = now
                self._write(writer, changes)
        except Exception:
            log.failure("what changed could not be written")

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
                    log.failure("an acknowledgement could not be given")

        writer.write(changes, written)

    def _written(self) -> None:
        self.counters.state_commits += 1
        if self.problem is not None:
            log.info("the state file can be written again")
            self.problem = None
            self._retry_at, self._retry_pause = 0.0, WRITE_SECONDS

    def _not_written(self, changes: list[Change], error: StateError) -> None:
        self.counters.state_failures += 1
        if self.problem is None:
            log.critical("state file {path} cannot be written ({problem}): puts are refused until it can",
                         path=error.path, problem=error.problem)  # fmt: skip
        self.problem = error.problem
        self._retry_at = self._clock.seconds() + self._retry_pause
        self._retry_pause = min(self._retry_pause * 2, MAX_RETRY_SECONDS)
        for change in changes:
            self._changed_again(change)

    def _changed_again(self, change: Change) -> None:
        match change.table, change.key:
            case "item", (bytes() as target,):
                self._items[target] = None
            case "own_item", (bytes() as target,):
                self._own_items[target] = None
            case "peer", (bytes() as key, str() as host, int() as port):
                self.peer_changed(key, (host, port))
            case "own_announce", (bytes() as key, int() as port):
                self._announces[key, port] = None
            case "contact", _:
                self._table_version, self._contacts = -1, {}
            case "meta", _:
                self._secrets = None

    def _heartbeat(self) -> Heartbeat:
        return Heartbeat(self._clock.seconds() + self._offset, self._now())

    # What there is now

    def _urgent(self) -> list[Change]:
        items, self._items = self._items, {}
        own_items, self._own_items = self._own_items, {}
        changes = []
        at = self._clock.seconds() + self._offset
        for target in items:
            there = self._recorded.items.peek(target)
            own = self._recorded.own_items.get(target)
            if there is not None and own is not None and own.item == there[0] and own.item.key is None:
                # It is written once, as its own. A mutable one is not always served for being one's own.
                continue
            changes.append(records.item_change(target, ItemRecord(*there, at) if there is not None else None))
        for target in own_items:
            own = self._recorded.own_items.get(target)
            changes.append(records.own_item_change(target, self._own_record(own) if own is not None else None))
        return changes

    def _own_record(self, own: OwnItem) -> OwnItemRecord:
        published = own.published + self._offset if own.published is not None else None
        return OwnItemRecord(own.item, own.at + self._offset, published)

    def _others(self, now: float, *, at_end: bool = False) -> list[Change]:
        peers = dict.fromkeys(self._recorded.peers.all()) if self._all_peers else self._peers
        self._peers, self._all_peers = {}, False
        announces, self._announces = self._announces, {}
        changes = []
        for key, peer in peers:
            there = self._recorded.peers.known(key, peer)
            now_kept = PeerRecord(key, peer, there[1], there[0] + self._offset) if there is not None else None
            changes.append(records.peer_change(key, peer, now_kept))
        for key, port in announces:
            at = self._recorded.own_announces.made_at(key, port)
            changes.append(records.own_announce_change(key, port, at + self._offset if at is not None else None))
        secrets = self._recorded.tokens.secrets(now)
        if secrets != self._secrets:
            self._secrets = secrets
            changes.append(records.secrets_change(attrs.evolve(secrets, rotated_at=secrets.rotated_at + self._offset)))
        return changes + self._contact_changes(now, at_end=at_end)

    def _contact_changes(self, now: float, *, at_end: bool) -> list[Change]:
        table = self._recorded.table
        pause = CONTACTS_SECONDS if table.version == self._table_version else CONTACTS_PAUSE_SECONDS
        # Without contacts those from before are the best there is.
        if not len(table) or (now - self._contacts_at < pause and not at_end):
            return []
        latest = sorted(table, key=lambda contact: -contact.heard_at)[:MAX_CONTACTS]
        contacts = {c.address: ContactRecord(c.id, c.address, c.heard_at + self._offset) for c in latest}
        gone = [address for address in self._contacts if address not in contacts]
        came = [contact for contact in contacts.values() if self._contacts.get(contact.address) != contact]
        self._contacts, self._contacts_at, self._table_version = contacts, now, table.version
        return [records.contact_change(address, None) for address in gone] + [
            records.contact_change(contact.address, contact) for contact in came
        ]

    # What there was

    def _restore(self, found: records.Records) -> None:
        recorded, offset, now = self._recorded, self._offset, self._clock.seconds()
        if found.secrets is not None:
            recorded.tokens.restore(attrs.evolve(found.secrets, rotated_at=found.secrets.rotated_at - offset), now)
        for own in found.own_items:
            if own.item.target in self._own_items or recorded.own_items.get(own.item.target) is not None:
                # A grape that was only stopped knows better.
                continue
            published = own.published - offset if own.published is not None else None
            recorded.own_items.restore(own.item, own.at - offset, published)
            if own.item.key is None or published is None:
                recorded.items.put(own.item)
        for one in found.items:
            there = recorded.items.peek(one.item.target)
            if there is None or there[0].seq < one.item.seq:
                recorded.items.put(one.item, one.host)
        for peer in found.peers:
            recorded.peers.announce(peer.key, peer.peer, now, peer.announcer, max(now - (peer.at - offset), 0.0))
        for announce in found.own_announces:
            recorded.own_announces.restore(announce.key, announce.port, announce.at - offset)
        self._contacts = {contact.address: contact for contact in found.contacts}
        self._is_recording = True
        # Rows that are too old or above a limit are deleted from the file; changes that a failing disk did not take
        # are written.
        items = {one.item.target: one.item for one in found.items}
        peers = {(peer.key, peer.peer) for peer in found.peers}
        for target in {*items, *recorded.items}:
            there = recorded.items.peek(target)
            if there is None or there[0] != items.get(target):
                self._items[target] = None
        for key, address in peers.symmetric_difference(recorded.peers.all()):
            self.peer_changed(key, address)
        for announce in found.own_announces:
            if recorded.own_announces.made_at(announce.key, announce.port) is None:
                self._announces[announce.key, announce.port] = None


def recorder_of(path: str | None, durability: str, clock: Clock) -> StateRecorder | None:
    """Returns a recorder for the state file at ``path``; None without a path."""
    return None if path is None else StateRecorder(clock, lambda: StateFile(path, durability=durability))
