"""grape.web.events and grape.web.feed: streams of live events, on a virtual clock."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.logger import Logger, LogLevel, globalLogPublisher

from grape import Grape
from grape.config import Config
from grape.node.status import LIMIT_COUNTERS
from grape.settings.declaration import settings_of
from grape.testing import MemoryNetwork
from grape.web.events import MAX_STREAMS, UNREAD_SECONDS
from grape.web.feed import LIMITS
from grape.web.server import HTTPServerFactory
from tests.web.helpers import LOCAL, PEER, TCPReactor, Transport, answers, connect, request

Event = tuple[str, Any]
ASK = request(b"", b"/events", method=b"GET")


class Reader:
    """A client of the events over a connection of a grape's own port."""

    def __init__(self, factory: Any) -> None:
        self.transport: Transport = connect(factory)
        self.head = b""
        self._rest = b""

    def ask(self, sent: bytes = ASK) -> Reader:
        """Sends the request."""
        self.transport.send(sent)
        return self

    def status(self) -> int:
        """Returns the status of the answer."""
        self._read()
        return int(self.head.split()[1])

    def events(self) -> list[Event]:
        """Returns the events that came since the last time."""
        body = self._read()
        blocks, _, self._rest = body.rpartition(b"\n\n")
        found = []
        for block in blocks.split(b"\n\n") if blocks else ():
            name, data = block.split(b"\n")
            found.append((name.removeprefix(b"event: ").decode(), json.loads(data.removeprefix(b"data: "))))
        return found

    def named(self, name: str) -> list[Any]:
        """Returns the values of the events of one name that came since the last time."""
        return [value for event, value in self.events() if event == name]

    @property
    def is_over(self) -> bool:
        """True once the server has ended the connection."""
        return bool(self.transport.ended)

    def stop_reading(self) -> None:
        """Has the transport see that its buffer is full."""
        self._producer.pauseProducing()

    def read_again(self) -> None:
        """Has the transport see that its buffer is empty."""
        self._producer.resumeProducing()

    @property
    def _producer(self) -> Any:
        return self.transport.producer

    def _read(self) -> bytes:
        data: bytes = self.transport.value()
        self.transport.clear()
        if not self.head:
            self.head, _, data = data.partition(b"\r\n\r\n")
        body = self._rest
        while data and b"chunked" in self.head.lower():
            size, _, data = data.partition(b"\r\n")
            length = int(size, 16)
            body, data = body + data[:length], data[length + 2 :]
        return body + data


class Watched:
    """A grape with an HTTP port, whose events are read."""

    def __init__(self, network: MemoryNetwork, **settings: Any) -> None:
        self.network = network
        self.reactor = TCPReactor(network, "10.0.0.1")
        self.grape = Grape(reactor=self.reactor, api_port=30_001, host="10.0.0.1", **settings)
        self.grape.startService()
        network.result(self.grape.when_ready())
        network.clock.advance(5)

    @property
    def factory(self) -> HTTPServerFactory:
        factory = self.reactor.factories[-1]
        assert isinstance(factory, HTTPServerFactory)
        return factory

    def reader(self) -> Reader:
        """Returns a new client that reads the events."""
        return Reader(self.factory).ask()

    def pass_time(self, seconds: float) -> None:
        self.network.clock.advance(seconds)


@pytest.fixture
def watched(network: MemoryNetwork) -> Iterator[Watched]:
    watched = Watched(network)
    yield watched
    if watched.grape.running:
        network.result(watched.grape.stopService())


def test_stream_begins_with_everything(watched: Watched) -> None:
    watched.network.result(watched.grape.announce("rest:util:net", 1337))
    events = watched.reader().events()
    assert [name for name, _ in events] == ["snapshot", "nodes", "services"]
    snapshot, nodes, services = (value for _, value in events)
    assert snapshot["status"]["node_id"] == watched.grape.stats().node_id
    assert snapshot["status"]["readiness"]["status"] == "ready"
    assert set(snapshot["counts"]) >= {"calls", "queries_in", "queries_out"}
    assert snapshot["limits"] == []
    assert nodes == {"is_whole": True, "rows": [], "gone": []}
    ((key, name, count, ((address, _),)),) = services.pop("rows")
    assert (key, name, count, address) == (b"rest:util:net".hex(), "rest:util:net", 1, "10.0.0.1:1337")
    assert services == {"is_whole": True, "gone": [], "total": 1}


def test_snapshot_tells_how_long_lookups_of_services_took(watched: Watched) -> None:
    other = Grape(reactor=watched.network.reactor("10.0.0.2"), dht_bootstrap=["10.0.0.1:20001"])
    other.startService()
    watched.network.result(other.when_ready())
    reader = watched.reader()
    (before,) = [snapshot["lookup_times"] for snapshot in reader.named("snapshot")]
    watched.network.result(watched.grape.lookup("rest:util:net"))
    watched.pass_time(1)
    (after,) = [snapshot["lookup_times"] for snapshot in reader.named("snapshot")]
    assert after["count"] == before["count"] + 1
    assert after["sum"] >= before["sum"]
    assert len(after["bounds"]) == len(after["cumulative"])
    assert after["cumulative"][-1] == after["count"]
    watched.network.result(other.stopService())


def test_stream_is_typed_and_not_stored(watched: Watched) -> None:
    reader = watched.reader()
    assert reader.status() == 200
    head = reader.head.lower()
    assert b"content-type: text/event-stream" in head
    assert b"cache-control: no-store" in head
    assert b"content-length" not in head


def test_stream_has_a_snapshot_each_second_and_goes_on_for_hours(watched: Watched) -> None:
    reader = watched.reader()
    assert len(reader.named("snapshot")) == 1
    for _ in range(100):
        watched.pass_time(60)
        assert len(reader.named("snapshot")) == 60
    assert not reader.transport.ended


def test_service_appears_within_a_second_and_leaves_as_it_expires(watched: Watched) -> None:
    reader = watched.reader()
    reader.events()
    watched.network.result(watched.grape.announce("rest:util:net", 1337))
    watched.pass_time(1)
    (changed,) = reader.named("services")
    assert ([row[1] for row in changed["rows"]], changed["gone"], changed["total"]) == (["rest:util:net"], [], 1)
    for _ in range(400):
        watched.pass_time(1)
        told = [value for value in reader.named("services") if value["gone"]]
        if told:
            break
    assert told[0]["gone"] == [b"rest:util:net".hex()]
    assert told[0]["total"] == 0


def test_unchanged_lists_are_not_sent_again(watched: Watched) -> None:
    watched.network.result(watched.grape.announce("rest:util:net", 1337))
    reader = watched.reader()
    reader.events()
    watched.pass_time(3)
    assert [name for name, _ in reader.events()] == ["snapshot"] * 3


def test_contact_appears_and_leaves(watched: Watched) -> None:
    reader = watched.reader()
    reader.events()
    other = Grape(reactor=watched.network.reactor("10.0.0.2"), dht_bootstrap=["10.0.0.1:20001"])
    other.startService()
    watched.pass_time(5)
    changed = [value for value in reader.named("nodes") if value["rows"]]
    node_id, address, *_ = changed[0]["rows"][0]
    assert (node_id, address) == (other.stats().node_id, "10.0.0.2:20001")
    watched.network.result(other.stopService())
    for _ in range(3_600):
        watched.pass_time(1)
        gone = [value["gone"] for value in reader.named("nodes") if value["gone"]]
        if gone:
            break
    assert gone == [[node_id]]


def test_second_stream_begins_with_what_the_first_has(watched: Watched) -> None:
    first = watched.reader()
    watched.network.result(watched.grape.announce("rest:util:net", 1337))
    second = watched.reader()
    watched.pass_time(1)
    names = [{row[1] for value in reader.named("services") for row in value["rows"]} for reader in (first, second)]
    assert names == [{"rest:util:net"}] * 2


# Limits


def test_too_many_streams_are_refused_and_one_that_ends_makes_room(watched: Watched) -> None:
    readers = [watched.reader() for _ in range(MAX_STREAMS)]
    refused = watched.reader()
    ((status, body),) = answers(refused.transport.value())
    assert (status, body) == (503, b'"ERR_GRAPE_STREAMS: 16 are open"')
    readers[3].transport.end("closed")
    assert watched.reader().status() == 200


def test_head_opens_no_stream(watched: Watched) -> None:
    before = len(watched.network.clock.getDelayedCalls())
    reader = Reader(watched.factory).ask(request(b"", b"/events", method=b"HEAD"))
    assert reader.status() == 200
    reader.transport.end("closed")
    assert len(watched.network.clock.getDelayedCalls()) == before


def test_nobody_looking_costs_no_timer_and_no_observer(watched: Watched) -> None:
    reader = watched.reader()
    reader.transport.end("closed")
    before = len(watched.network.clock.getDelayedCalls())
    observers = len(globalLogPublisher._observers)
    readers = [watched.reader() for _ in range(3)]
    assert len(globalLogPublisher._observers) == observers + 1
    for reader in readers:
        reader.transport.end("closed")
    assert len(watched.network.clock.getDelayedCalls()) == before
    assert len(globalLogPublisher._observers) == observers


def test_slow_reader_misses_snapshots_and_is_told_everything_again(watched: Watched) -> None:
    reader = watched.reader()
    reader.events()
    reader.stop_reading()
    watched.network.result(watched.grape.announce("rest:util:net", 1337))
    watched.pass_time(UNREAD_SECONDS - 2)
    assert reader.events() == []
    reader.read_again()
    watched.pass_time(1)
    events = dict(reader.events())
    assert events["services"]["is_whole"]
    assert events["services"]["rows"][0][1] == "rest:util:net"
    watched.pass_time(1)
    assert [name for name, _ in reader.events()] == ["snapshot"]


def test_reader_that_reads_nothing_is_cut_off(watched: Watched) -> None:
    reader = watched.reader()
    reader.stop_reading()
    watched.pass_time(UNREAD_SECONDS - 1)
    assert not reader.is_over
    watched.pass_time(2)
    assert reader.is_over


def test_stream_is_closed_first_when_connections_run_out(network: MemoryNetwork) -> None:
    watched = Watched(network, max_connections=3)
    idle = connect(watched.factory)
    idle.send(request(b'{"data":"a"}'))
    reader, other = watched.reader(), connect(watched.factory)
    watched.pass_time(1)
    newcomer = connect(watched.factory)
    assert reader.transport.ended == "aborted"
    assert not idle.ended
    assert not other.ended
    assert not newcomer.ended
    network.result(watched.grape.stopService())


def test_lowered_limit_of_connections_ends_streams_with_the_reason(watched: Watched) -> None:
    reader = watched.reader()
    idle = connect(watched.factory)
    idle.send(request(b'{"data":"a"}'))
    watched.factory.set_limits(8_192, 1, 1)
    assert reader.named("end") == [{"reason": "connections"}]
    assert reader.transport.ended == "closed"
    assert not idle.ended


# The end


def test_stop_ends_streams_at_once_with_the_reason(watched: Watched) -> None:
    reader = watched.reader()
    stopped = watched.grape.stopService()
    assert reader.named("end") == [{"reason": "stopping"}]
    assert reader.transport.ended == "closed"
    watched.network.result(stopped)


def test_stop_ends_the_streams_of_a_mounted_resource(network: MemoryNetwork) -> None:
    from grape.web.site import GrapeSite
    from tests.web.helpers import SiteClient

    grape = Grape(reactor=network.reactor("10.0.0.1"))
    grape.startService()
    network.result(grape.when_ready())
    client = SiteClient(GrapeSite(grape.resource(), 8_192, TCPReactor(network)), PEER, LOCAL)
    client.send(ASK)
    assert b"event: snapshot" in client.received()
    network.result(grape.stopService())
    assert b'event: end\ndata: {"reason":"stopping"}' in client.received()
    client.send(ASK)
    assert client.answers() == [(503, b'"ERR_GRAPE_NOT_RUNNING"')]


def test_stream_shows_that_the_grape_drains(network: MemoryNetwork) -> None:
    watched = Watched(network, drain=10)
    reader = watched.reader()
    stopped = watched.grape.stopService()
    watched.pass_time(2)
    assert reader.named("snapshot")[-1]["status"]["readiness"]["status"] == "stopping"
    assert not reader.transport.ended
    network.result(stopped)


# Limits hit and the log


def test_every_limit_that_a_grape_counts_has_the_flag_that_raises_it() -> None:
    assert set(LIMITS) == set(LIMIT_COUNTERS)
    flags = {spelling for setting in settings_of(Config) for spelling in setting.spellings}
    assert {flag for flag in LIMITS.values() if flag} <= flags


def test_limits_that_were_hit_are_told_with_their_flags(watched: Watched) -> None:
    watched.grape.node.counters.overloads += 2
    reader = watched.reader()
    (limit,) = reader.named("snapshot")[0]["limits"]
    assert (limit["name"], limit["count"], limit["flag"]) == ("overloads", 2, "--max-calls")


def test_warnings_of_the_grape_are_told_and_no_other_lines(watched: Watched) -> None:
    reader = watched.reader()
    reader.events()
    Logger(namespace="grape.krpc").warn("lost {thing}", thing="<b>bold</b>")
    Logger(namespace="grape.krpc").info("fine")
    Logger(namespace="app.secrets").warn("hidden")
    watched.pass_time(1)
    ((line,),) = [value["lines"] for value in reader.named("log")]
    assert line[2:] == [LogLevel.warn.name, "grape.krpc", "lost <b>bold</b>"]
    later = watched.reader()
    assert [value["lines"] for value in later.named("log")] == [[line]]
