"""grape.node.node and grape.service: start, stop, events and stats, over a network in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import CancelledError
from twisted.internet.error import CannotListenError
from twisted.logger import LogEvent, eventAsText

from grape import Grape, GrapeError
from grape.testing import MemoryNetwork, make_grapes
from tests.simulation import Remote, lone_grape, outcome, silent

FIRST = "10.0.0.1:20001"


class Heard:
    """Records the events of a grape with their arguments."""

    def __init__(self, grape: Grape, *events: str) -> None:
        self.events: list[tuple[object, ...]] = []
        for event in events:
            grape.on(event, self._hear(event))

    def _hear(self, event: str) -> Callable[..., object]:
        return lambda *arguments: self.events.append((event, *arguments))


def test_start_emits_listening_then_ready(network: MemoryNetwork) -> None:
    grape = Grape(reactor=network.reactor("10.0.0.1"))
    heard = Heard(grape, "listening", "ready")
    assert not network.ports
    grape.startService()
    assert list(network.ports) == [("10.0.0.1", 20_001)]
    assert heard.events == [("listening",), ("ready",)]
    network.result(grape.when_ready(), seconds=0)


def test_ready_comes_when_the_first_bootstrap_node_answered(network: MemoryNetwork) -> None:
    lone_grape(network)
    grape = Grape(dht_bootstrap=["10.0.0.9:20001", FIRST], reactor=network.reactor("10.0.0.2"))
    heard = Heard(grape, "ready", "node")
    grape.startService()
    ready = grape.when_ready()
    assert heard.events == []
    network.result(ready)
    assert network.clock.seconds() < 0.1
    assert heard.events == [("node", FIRST), ("ready",)]
    assert grape.stats().contacts == 1


def test_ready_comes_though_no_bootstrap_node_answers(network: MemoryNetwork) -> None:
    grape = lone_grape(network, dht_bootstrap=["10.0.0.8:1", "10.0.0.9:1", "nowhere.invalid:1"])
    network.result(grape.when_ready())
    assert network.clock.seconds() <= 2.5


def test_events_carry_their_arguments(network: MemoryNetwork) -> None:
    grapes = make_grapes(network, 2)
    first = Heard(grapes[0], "announce", "peer", "warning")
    second = Heard(grapes[1], "announce", "peer", "warning")
    network.result(grapes[1].announce("a name", 1337))
    assert first.events == [("announce", "a name")]
    assert second.events == []
    network.result(grapes[1].lookup("a name"))
    assert second.events == [("peer", "10.0.0.2:1337", "a name", FIRST)]
    network.result(grapes[0].lookup("a name"))
    assert first.events[1:] == [("peer", "10.0.0.2:1337", "a name", None)]
    Remote(network, "10.0.0.7").send(b"garbage", ("10.0.0.1", 20_001))
    network.clock.advance(0.1)
    assert first.events[2:] == [("warning", "not bencoded", "10.0.0.7:20001")]


def test_announce_event_comes_once_for_each_announce(network: MemoryNetwork) -> None:
    for host in (None, "10.0.0.1"):
        grape = lone_grape(network, host=host)
        heard = Heard(grape, "announce")
        for _ in range(2):
            network.result(grape.announce("a", 1))
        assert heard.events == [("announce", "a")] * 2
        network.result(grape.stopService())


def test_off_ends_the_calls_of_a_callback(network: MemoryNetwork) -> None:
    grape = lone_grape(network)
    heard: list[str] = []
    grape.on("announce", heard.append)
    network.result(grape.announce("a", 1))
    grape.off("announce", heard.append)
    grape.off("announce", heard.append)
    network.result(grape.announce("b", 1))
    assert heard == ["a"]


def test_callback_that_raises_is_logged_and_the_others_are_called(
    network: MemoryNetwork, logged_failures: list[LogEvent]
) -> None:
    grape = lone_grape(network)
    heard: list[str] = []

    def fail(name: str) -> None:
        raise ZeroDivisionError(name)

    grape.on("announce", fail)
    grape.on("announce", heard.append)
    assert network.result(grape.announce("a", 1)) == 1
    assert heard == ["a"]
    assert [eventAsText(event).splitlines()[0].endswith("event announce failed") for event in logged_failures] == [True]
    logged_failures.clear()


def test_on_refuses_an_unknown_event_and_names_the_known_ones(network: MemoryNetwork) -> None:
    with pytest.raises(ValueError, match="no event 'reday'; there are listening, ready"):
        Grape(reactor=network.reactor("10.0.0.1")).on("reday", print)


def test_stats_tell_what_a_grape_holds(network: MemoryNetwork) -> None:
    grapes = make_grapes(network, 3)
    network.result(grapes[0].announce("a", 1))
    network.result(grapes[0].put("value"))
    stats = grapes[1].stats()
    assert (stats.dht_port, stats.ready, stats.contacts, sum(stats.buckets)) == (20_001, True, 2, 2)
    assert (stats.services, stats.items, stats.queries_in_flight) == (1, 1, 0)
    assert stats.node_id == grapes[1].node.node_id.hex()
    assert stats.counters["queries_in"] > 0
    before = Grape(reactor=network.reactor("10.0.0.9")).stats()
    assert (before.ready, before.contacts, set(before.counters.values())) == (False, 0, {0})


def test_counters_go_on_after_a_restart(network: MemoryNetwork) -> None:
    grapes = make_grapes(network, 2)
    network.result(grapes[1].lookup("a"))
    before = grapes[1].stats().counters
    assert before["lookups"] > 0
    network.result(grapes[1].stopService())
    assert grapes[1].stats().counters == before
    grapes[1].startService()
    network.result(grapes[1].lookup("a"))
    assert grapes[1].stats().counters["lookups"] == before["lookups"] + 1


CALLS: list[Callable[[Grape], Any]] = [
    lambda grape: grape.lookup("a"),
    lambda grape: grape.announce("a", 1),
    lambda grape: grape.put("a"),
    lambda grape: grape.get("0" * 40),
]


@pytest.mark.parametrize("call", CALLS)
def test_calls_fail_before_the_start_and_after_the_stop(network: MemoryNetwork, call: Callable[[Grape], Any]) -> None:
    grape = Grape(reactor=network.reactor("10.0.0.1"))
    for _ in range(2):
        (error,) = outcome(call(grape))
        assert isinstance(error, GrapeError)
        assert (error.code, error.status) == ("ERR_GRAPE_NOT_RUNNING", 503)
        grape.startService()
        outcome(call(grape))
        network.result(grape.stopService())


@pytest.mark.parametrize("call", CALLS)
def test_calls_under_way_end_when_the_grape_stops(network: MemoryNetwork, call: Callable[[Grape], Any]) -> None:
    Remote(network, "10.0.0.1")
    grape = lone_grape(network, "10.0.0.2", dht_bootstrap=[FIRST])
    network.result(grape.when_ready())
    network.loss = 1.0
    results = outcome(call(grape))
    assert not results
    network.result(grape.stopService(), seconds=0)
    assert len(results) == 1
    network.clock.advance(0.1)
    assert not network.clock.getDelayedCalls()


def test_when_ready_fails_when_the_grape_stops_and_can_be_cancelled(network: MemoryNetwork) -> None:
    grape = lone_grape(network, dht_bootstrap=["10.0.0.9:1"])
    waiting, cancelled = outcome(grape.when_ready()), grape.when_ready()
    given_up = outcome(cancelled)
    cancelled.cancel()
    assert isinstance(given_up[0], CancelledError)
    network.result(grape.stopService())
    assert isinstance(waiting[0], GrapeError)


def test_grape_starts_and_stops_a_hundred_times(network: MemoryNetwork) -> None:
    lone_grape(network)
    calls_of_the_first = len(network.clock.getDelayedCalls())
    grape = Grape(dht_bootstrap=[FIRST], reactor=network.reactor("10.0.0.2"))
    heard = Heard(grape, "listening", "ready")
    for _ in range(100):
        grape.startService()
        network.result(grape.when_ready())
        assert network.result(grape.announce("a", 1)) == 1
        assert network.result(grape.lookup("a")) == ["10.0.0.2:1"]
        network.result(grape.stopService())
    assert list(network.ports) == [("10.0.0.1", 20_001)]
    network.clock.advance(3)
    assert len(network.clock.getDelayedCalls()) <= calls_of_the_first + 1
    assert heard.events == [("listening",), ("ready",)] * 100


def test_restarted_grape_becomes_ready_though_its_bootstrap_node_is_gone(network: MemoryNetwork) -> None:
    first, second = make_grapes(network, 2)
    network.result(second.stopService())
    network.result(first.stopService())
    second.startService()
    network.result(second.when_ready())
    assert network.clock.seconds() <= 3


def test_ready_comes_though_only_a_querier_was_met(network: MemoryNetwork) -> None:
    grape = lone_grape(network, dht_bootstrap=["10.0.0.9:1"])
    stranger = Remote(network, "10.0.0.3")
    stranger.ask(("10.0.0.1", 20_001), b"ping")
    network.result(grape.when_ready())
    assert network.clock.seconds() <= 4
    assert grape.stats().contacts == 1


def test_start_and_stop_do_nothing_the_second_time(network: MemoryNetwork) -> None:
    grape = lone_grape(network)
    grape.startService()
    assert len(network.ports) == 1
    for _ in range(2):
        network.result(grape.stopService(), seconds=0)
    assert not network.ports
    network.result(Grape(reactor=network.reactor("10.0.0.2")).stopService(), seconds=0)


def test_start_at_a_taken_port_raises_and_can_be_repeated(network: MemoryNetwork) -> None:
    taken = Remote(network, "10.0.0.1", silent)
    grape = Grape(reactor=network.reactor("10.0.0.1"))
    with pytest.raises(CannotListenError):
        grape.startService()
    network.ports.pop(taken.address)
    grape.startService()
    assert network.result(grape.announce("a", 1)) == 1


def test_dht_port_0_is_chosen_by_the_system(network: MemoryNetwork) -> None:
    grape = lone_grape(network, dht_port=0)
    assert grape.dht_port == grape.stats().dht_port == 49_152
    assert network.result(grape.announce("self", 0)) == 1
    assert network.result(grape.lookup("self")) == ["127.0.0.1:49152"]


def test_several_grapes_run_in_one_process_on_one_host(network: MemoryNetwork) -> None:
    first = lone_grape(network, dht_port=20_001)
    others = [lone_grape(network, dht_port=port, dht_bootstrap=[FIRST]) for port in range(20_002, 20_006)]
    for grape in others:
        network.result(grape.when_ready())
    assert network.result(others[0].announce("a", 1337)) == 4
    for grape in [first, *others]:
        assert network.result(grape.lookup("a")) == ["10.0.0.1:1337"]
    assert len({grape.stats().node_id for grape in [first, *others]}) == 5


def test_read_only_grape_queries_but_is_never_listed(network: MemoryNetwork) -> None:
    first, second = make_grapes(network, 2)
    shy = lone_grape(network, "10.0.0.3", dht_bootstrap=[FIRST], read_only=True)
    network.result(shy.when_ready())
    assert network.result(shy.announce("shy", 1)) == 2
    assert network.result(second.lookup("shy")) == ["10.0.0.3:1"]
    network.clock.advance(30)
    assert first.stats().contacts == second.stats().contacts == 1


def test_dht_on_loopback_with_a_bootstrap_node_elsewhere_is_logged(network: MemoryNetwork) -> None:
    from twisted.logger import capturedLogs

    for bootstrap, warnings in (("10.0.0.9:1", 1), ("127.0.0.1:1,localhost:2", 0)):
        with capturedLogs() as logs:
            grape = lone_grape(network, "127.0.0.1", host="127.0.0.1", dht_bootstrap=bootstrap)
        said = [eventAsText(event) for event in logs if "--dht-bind" in eventAsText(event)]
        assert len(said) == warnings
        network.result(grape.stopService())
