"""The contract of the stores: what is stored is served, and survives a restart, in memory and with a state file alike.

A restart in memory is a pause: nothing is lost, time goes on. A restart with a file is a kill, and new stores are
restored from the file. One model describes both.
"""

from __future__ import annotations

import random
import tempfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from grape.dht.items import Item, immutable
from grape.dht.routing import RoutingTable
from grape.dht.tokens import Tokens
from grape.dht.withdrawals import OWN, Withdrawals
from grape.fairshare import EvictionOrder
from grape.node.reannounce import Reannouncer
from grape.node.republish import OwnItems
from grape.state.clock import Moment
from grape.state.examine import examine
from grape.state.journal import Journal, NullJournal
from grape.state.recorded import Recorded
from grape.state.recorder import StateRecorder
from grape.state.sqlite import StateFile
from grape.store import MemoryItems, MemoryPeers
from grape.testing import MemoryNetwork

MAX_AGE = 10.0
MAX_ITEMS = 5
HOST = "10.0.0.1"


def not_running() -> Any:
    raise AssertionError("nothing is sent here")


class Stores:
    """The stores of a node, with the journal that they tell of changes."""

    def __init__(self) -> None:
        self.network = MemoryNetwork()
        self.clock = self.network.clock
        self.journal = self.make_journal()
        self.make_stores()

    def make_journal(self) -> Journal:
        return NullJournal()

    def make_stores(self) -> None:
        journal = self.journal
        self.peers = MemoryPeers(
            MAX_AGE, max_keys=4, max_peers_per_key=5, max_peers_per_announcer=3, changed=journal.peer_changed
        )
        self.withdrawals = Withdrawals(MAX_AGE, self.peers, EvictionOrder(), changed=journal.peer_changed)
        self.items = MemoryItems(MAX_ITEMS, changed=journal.item_changed)
        self.own_items = OwnItems(self.clock, not_running, lambda: 0.5, journal.own_item_changed)
        self.replicas = Reannouncer(self.clock, MAX_AGE, not_running, changed=journal.own_announce_changed)
        self.tokens = Tokens(random.Random(1).randbytes, self.clock.seconds())

    def restart(self) -> None:
        """Ends the node and starts it again."""

    def close(self) -> None:
        """Ends the node for good."""

    def keep(self) -> None:
        """Waits until everything stored so far is durable."""
        problems: list[str | None] = []
        self.journal.when_durable(problems.append)
        assert problems == [None]
        # Peers and announces are written within a second.
        self.clock.advance(1.0)


class FileStores(Stores):
    """Stores with a state file at ``path``."""

    recorder: StateRecorder

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self.path = str(Path(self._folder.name) / "grape.sqlite")
        self._file: StateFile | None = None
        super().__init__()
        self.open()

    def make_journal(self) -> Journal:
        def open_file() -> StateFile:
            self._file = StateFile(self.path)
            return self._file

        def now() -> Moment:
            return Moment(0.0, "this boot", self.clock.seconds())

        self.recorder = StateRecorder(self.network.reactor(HOST), open_file, now)
        return self.recorder

    def open(self) -> None:
        self.recorder.open(
            Recorded(
                RoutingTable(bytes(20)),
                self.tokens,
                self.items,
                self.own_items,
                self.peers,
                self.replicas,
                self.withdrawals,
            )
        )
        assert self._file is not None
        assert self._file.moved_to is None

    def kill(self) -> None:
        """Ends the node as kill -9 does: nothing more is written."""
        self.network.kill(HOST)
        assert self._file is not None
        self._file.close()

    def restart(self) -> None:
        self.kill()
        self.journal = self.make_journal()
        self.make_stores()
        self.open()

    def close(self) -> None:
        self.kill()
        self._folder.cleanup()


STORES = {"memory": Stores, "sqlite": FileStores}


@pytest.fixture(params=STORES)
def stores(request: pytest.FixtureRequest) -> Any:
    stores = STORES[request.param]()
    yield stores
    stores.close()


def mutable(seq: int) -> Item:
    raw = b"%d:%b" % (len(b"v%d" % seq), b"v%d" % seq)
    return Item(raw, b"k" * 32, b"s" * 64, seq, b"salt")


def peer(n: int) -> tuple[str, int]:
    return (f"10.0.0.{n + 1}", 1_000 + n)


def test_items_return_with_all_their_parts(stores: Stores) -> None:
    items = [immutable(b"a"), immutable(7), immutable([b"x", {b"y": -1}]), mutable(-5), mutable(2**63 - 1)]
    for item in items:
        stores.items.put(item)
    stores.keep()
    stores.restart()
    for item in [*items[:3], items[4]]:
        assert stores.items.get(item.target) == item


def test_evicted_items_stay_away(stores: Stores) -> None:
    items = [immutable(n) for n in range(MAX_ITEMS + 2)]
    for item in items:
        stores.items.put(item)
        stores.keep()
    stores.restart()
    assert [stores.items.get(item.target) for item in items] == [None, None, *items[2:]]


def test_eviction_takes_the_oldest_item_first_after_a_restart(stores: Stores) -> None:
    for n in range(MAX_ITEMS):
        stores.items.put(immutable(n))
        stores.keep()
    stores.restart()
    stores.items.put(immutable(99))
    assert stores.items.get(immutable(0).target) is None
    assert stores.items.get(immutable(1).target) is not None


def test_peer_expires_at_its_age_across_a_restart(stores: Stores) -> None:
    start = stores.clock.seconds()
    stores.peers.announce(b"name", peer(1), start, peer(2))
    stores.keep()
    stores.restart()
    assert stores.peers.peers(b"name", stores.clock.seconds()) == [peer(1)]
    known = stores.peers.known(b"name", peer(1))
    assert known is not None
    assert known[1] == peer(2)
    assert stores.peers.peers(b"name", start + MAX_AGE - 0.001) == [peer(1)]
    assert stores.peers.peers(b"name", start + MAX_AGE) == []


def test_own_items_and_announces_return(stores: Stores) -> None:
    stores.own_items.add(immutable(1))
    stores.own_items.add(mutable(1))
    before = stores.own_items.add(mutable(2))
    stores.own_items.add(mutable(3))
    stores.own_items.take_back(mutable(3), before)
    own = stores.own_items.get(mutable(1).target)
    assert own is not None
    stores.own_items.taken(own.item)
    stores.replicas.announced(b"name", 1_337)
    stores.keep()
    stores.restart()
    assert [own.item for own in map(stores.own_items.get, stores.own_items.targets()) if own is not None] == [
        immutable(1),
        own.item,
    ]
    first, second = map(stores.own_items.get, stores.own_items.targets())
    assert first is not None
    assert second is not None
    assert first.published is None
    assert second.published is not None
    assert stores.replicas.announces() == [(b"name", 1_337)]


def test_item_that_is_no_longer_an_own_one_is_still_held(stores: Stores) -> None:
    item = immutable(1)
    stores.items.put(item)
    stores.own_items.add(item)
    stores.keep()
    stores.items.put(immutable(1), HOST)
    stores.own_items.take_back(item, None)
    stores.keep()
    stores.restart()
    assert stores.items.get(item.target) == item
    assert stores.own_items.get(item.target) is None


def test_mutable_item_put_while_alone_is_served_after_others_took_it(stores: Stores) -> None:
    item = mutable(5)
    stores.own_items.add(item)
    stores.items.put(item)
    stores.own_items.not_taken(item)
    stores.keep()
    stores.own_items.taken(item)
    stores.keep()
    stores.restart()
    assert stores.items.get(item.target) == item


def test_own_announce_that_is_too_old_is_deleted_at_a_restart() -> None:
    stores = FileStores()
    stores.replicas.announced(b"name", 1)
    stores.keep()
    stores.clock.advance(MAX_AGE)
    stores.restart()
    assert stores.replicas.announces() == []
    stores.keep()
    stores.kill()
    assert examine(stores.path, 1).rows["own_announce"] == []
    stores.close()


def test_peers_above_the_limit_of_changes_are_all_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grape.state.changes.MAX_CHANGED_PEERS", 2)
    stores = FileStores()
    for n in range(5):
        stores.peers.announce(b"name", peer(n), stores.clock.seconds())
    stores.keep()
    stores.restart()
    assert len(stores.peers.peers(b"name", stores.clock.seconds())) == 5
    stores.close()


def test_failed_start_releases_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    stores = FileStores()
    stores.kill()

    def fail(*_: object) -> None:
        raise ValueError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr("grape.state.records.read", fail)
        with pytest.raises(ValueError, match="a bug"):
            stores.open()
    StateFile(stores.path).close()
    stores.restart()
    stores.close()


def test_token_survives_a_restart(stores: Stores) -> None:
    token = stores.tokens.issue(HOST, stores.clock.seconds())
    stores.clock.advance(1.0)
    stores.restart()
    now = stores.clock.seconds()
    assert stores.tokens.accepts(token, HOST, now + 299)
    assert not stores.tokens.accepts(token, HOST, now + 601)


class Machine(RuleBasedStateMachine):
    """Compares the stores with a model of them after any sequence of changes and restarts."""

    kind: str

    @initialize()
    def begin(self) -> None:
        self.stores = STORES[self.kind]()
        self.items: OrderedDict[bytes, Item] = OrderedDict()
        self.own: dict[bytes, Item] = {}
        self.peers: dict[tuple[bytes, tuple[str, int]], float] = {}
        self.withdrawn: dict[tuple[bytes, tuple[str, int]], float] = {}

    @rule(n=st.integers(0, 9))
    def put(self, n: int) -> None:
        item = immutable(n)
        self.stores.items.put(item)
        self.items[item.target] = item
        self.items.move_to_end(item.target)
        if len(self.items) > MAX_ITEMS:
            self.items.popitem(last=False)

    @rule(n=st.integers(0, 9))
    def put_own(self, n: int) -> None:
        item = mutable(n)
        self.stores.own_items.add(item)
        # An own item that no node has taken is also among the held ones, which this model leaves out.
        self.stores.own_items.taken(item)
        self.own[item.target] = item

    @rule(n=st.integers(0, 9))
    def put_own_in_vain(self, n: int) -> None:
        item = mutable(n)
        self.stores.own_items.take_back(item, self.stores.own_items.add(item))

    @rule(key=st.sampled_from([b"a", b"b"]), n=st.integers(0, 2))
    def announce(self, key: bytes, n: int) -> None:
        now = self.stores.clock.seconds()
        assert not self.stores.withdrawals.refuses(key, peer(n), now, 0.0)
        self.stores.peers.announce(key, peer(n), now)
        self.withdrawn.pop((key, peer(n)), None)
        self.peers[key, peer(n)] = now

    @rule(key=st.sampled_from([b"a", b"b"]), withdrawn=st.sampled_from([peer(0), peer(1), (OWN, 1_337)]))
    def withdraw(self, key: bytes, withdrawn: tuple[str, int]) -> None:
        now = self.stores.clock.seconds()
        self.stores.withdrawals.withdraw(key, withdrawn, now)
        self.peers.pop((key, withdrawn), None)
        self.withdrawn[key, withdrawn] = now

    @rule(seconds=st.integers(1, 8))
    def wait(self, seconds: int) -> None:
        self.stores.clock.advance(seconds)

    @rule()
    def expire(self) -> None:
        self.stores.peers.expire(self.stores.clock.seconds())
        self.stores.withdrawals.expire(self.stores.clock.seconds())

    @rule()
    def restart(self) -> None:
        self.stores.keep()
        self.stores.restart()
        # The order of eviction follows the time of writing: an item put again without a change keeps its place.
        self.items = OrderedDict((target, self.items[target]) for target in self.stores.items)

    @invariant()
    def serves_what_the_model_holds(self) -> None:
        if not hasattr(self, "stores"):
            return
        stores = self.stores
        assert set(stores.items) == set(self.items)
        for target, item in self.items.items():
            there = stores.items.peek(target)
            assert there is not None
            assert there[0] == item
        assert {target: own.item for target in stores.own_items.targets() if (own := stores.own_items.get(target))} == (
            self.own
        )
        now = stores.clock.seconds()
        for key in (b"a", b"b"):
            live = {p for (k, p), at in self.peers.items() if k == key and now - at < MAX_AGE}
            assert set(stores.peers.peers(key, now)) == live
            withdrawn = {p for (k, p), at in self.withdrawn.items() if k == key and now - at < MAX_AGE}
            assert set(stores.withdrawals.hidden(key, [peer(0), peer(1), peer(2), (OWN, 1_337)], now)) == withdrawn

    def teardown(self) -> None:
        if hasattr(self, "stores"):
            self.stores.close()


class MemoryMachine(Machine):
    kind = "memory"


class FileMachine(Machine):
    kind = "sqlite"


SETTINGS = settings(max_examples=40, stateful_step_count=25)
TestMemory = MemoryMachine.TestCase
TestMemory.settings = SETTINGS
TestFile = FileMachine.TestCase
TestFile.settings = SETTINGS
