"""grape.node.kept: services that are kept announced, and withdrawn at the end."""

from __future__ import annotations

from itertools import pairwise

import pytest
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.logger import ILogObserver, LogEvent, eventAsText, globalLogPublisher
from zope.interface import provider

from grape import Grape, GrapeError
from grape.node.kept import MAX_RETRY_SECONDS, KeptAnnounces
from grape.testing import MemoryNetwork, make_grape, make_grapes

NAME = "rest:util:net"
PEER = "10.0.0.2:1337"


def lines_of(events: list[LogEvent]) -> list[str]:
    return [text for text in map(eventAsText, events) if "kept announced" in text]


def found(network: MemoryNetwork, grape: Grape) -> list[str]:
    peers: list[str] = network.result(grape.lookup(NAME))
    return peers


def test_service_is_announced_at_once_and_withdrawn_at_the_end(network: MemoryNetwork) -> None:
    grapes = make_grapes(network, 3)
    kept = grapes[1].keep_announced(NAME, 1337)
    network.clock.advance(0.5)
    assert kept.reached == 2
    assert [found(network, grape) for grape in grapes] == [[PEER]] * 3
    network.result(kept.stopService())
    assert [found(network, grape) for grape in grapes] == [[]] * 3
    network.clock.advance(300)
    assert [found(network, grape) for grape in grapes] == [[]] * 3
    network.result(kept.stopService())


def test_service_is_found_at_every_moment_while_it_is_kept_announced(network: MemoryNetwork) -> None:
    grapes = make_grapes(network, 3)
    begun = network.clock.seconds()
    kept = grapes[1].keep_announced(NAME, 1337)
    network.clock.advance(1)
    announced: list[float] = []
    grapes[0].on("announce", lambda name: announced.append(network.clock.seconds() - begun))
    for _ in range(200):
        network.clock.advance(10)
        assert found(network, grapes[2]) == [PEER]
    pauses = [after - before for before, after in pairwise(announced)]
    assert all(60 <= pause <= 109 for pause in pauses)
    assert max(pauses) - min(pauses) > 10
    network.result(kept.stopService())


def test_service_is_announced_when_its_grape_starts(network: MemoryNetwork) -> None:
    (first,) = make_grapes(network, 1)
    grape = Grape(reactor=network.reactor("10.0.0.2"), dht_bootstrap=["10.0.0.1:20001"])
    kept = grape.keep_announced(NAME, 1337)
    network.clock.advance(1)
    assert kept.reached == 0
    grape.startService()
    network.clock.advance(1)
    assert found(network, first) == [PEER]
    network.result(grape.stopService())


def test_services_are_withdrawn_when_their_grape_stops_and_announced_when_it_starts_again(
    network: MemoryNetwork,
) -> None:
    grapes = make_grapes(network, 3)
    kept = grapes[1].keep_announced(NAME, 1337)
    network.clock.advance(1)
    begun = network.clock.seconds()
    first, second = grapes[1].stopService(), grapes[1].stopService()
    network.result(first)
    network.result(second)
    assert network.clock.seconds() - begun < 0.5
    assert found(network, grapes[0]) == []
    network.clock.advance(60)
    grapes[1].startService()
    network.clock.advance(2)
    assert [found(network, grape) for grape in grapes] == [[PEER]] * 3
    network.result(kept.stopService())
    network.result(grapes[1].stopService())


def test_service_that_stops_together_with_its_grape_is_withdrawn(network: MemoryNetwork) -> None:
    grapes = make_grapes(network, 2)
    tree = MultiService()
    grapes[1].setServiceParent(tree)
    kept = grapes[1].keep_announced("a", 1337)
    kept.setServiceParent(tree)
    tree.startService()
    network.clock.advance(1)
    assert network.result(grapes[0].lookup("a")) == ["10.0.0.2:1337"]
    network.result(maybeDeferred(tree.stopService))
    assert network.result(grapes[0].lookup("a")) == []


def test_stop_waits_for_no_node_that_does_not_confirm(network: MemoryNetwork) -> None:
    grapes = make_grapes(network, 2)
    grapes[1].keep_announced(NAME, 1337)
    network.clock.advance(1)
    network.kill("10.0.0.1")
    begun = network.clock.seconds()
    network.result(grapes[1].stopService())
    assert network.clock.seconds() - begun <= 0.5


def test_service_is_announced_again_soon_after_its_grape_was_cut_off(network: MemoryNetwork) -> None:
    events: list[LogEvent] = []

    @provider(ILogObserver)
    def note(event: LogEvent) -> None:
        events.append(event)

    globalLogPublisher.addObserver(note)
    try:
        grapes = make_grapes(network, 3)
        network.partition(["10.0.0.2"])
        kept = grapes[1].keep_announced(NAME, 1337)
        network.clock.advance(60)
        assert kept.reached == 0
        assert len(lines_of(events)) == 1
        network.heal()
        network.clock.advance(2 * MAX_RETRY_SECONDS + 5)
        assert kept.reached == 2
        assert found(network, grapes[0]) == [PEER]
        first, second = lines_of(events)
        assert first.endswith(f"'{NAME}', kept announced at port 1337: No nodes to query; retrying")
        assert second.endswith(f"'{NAME}', kept announced at port 1337: announced again")
        network.result(kept.stopService())
    finally:
        globalLogPublisher.removeObserver(note)


def test_end_while_the_announce_is_under_way_leaves_nothing_announced(network: MemoryNetwork) -> None:
    grapes = make_grapes(network, 3)
    kept = grapes[1].keep_announced(NAME, 1337)
    network.clock.advance(0.0015)
    network.result(kept.stopService())
    network.clock.advance(5)
    assert [found(network, grape) for grape in grapes] == [[]] * 3


def test_stopped_service_can_be_kept_announced_again(network: MemoryNetwork) -> None:
    grapes = make_grapes(network, 2)
    kept = grapes[1].keep_announced(NAME, 1337)
    network.clock.advance(1)
    network.result(kept.stopService())
    kept.startService()
    kept.startService()
    network.clock.advance(1)
    assert found(network, grapes[0]) == [PEER]
    network.result(kept.stopService())


@pytest.mark.parametrize(("name", "port", "code"), [("", 1, "ERR_GRAPE_ANNOUNCE"), ("a", -1, "ERR_GRAPE_SERVICE_PORT")])
def test_what_is_no_service_is_not_kept(network: MemoryNetwork, name: str, port: int, code: str) -> None:
    grape = make_grape(network, 1)
    with pytest.raises(GrapeError, match=code):
        grape.keep_announced(name, port)


class Failing:
    """Calls that fail with ``error``."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def announce(self, name: str | bytes, port: int, ttl: float | None = None) -> Deferred[int]:
        return fail(self.error)

    def unannounce(self, name: str | bytes, port: int) -> Deferred[int]:
        return fail(self.error) if isinstance(self.error, GrapeError) else succeed(0)


def test_failures_are_retried_and_a_bug_is_logged_once(network: MemoryNetwork, logged_failures: list[LogEvent]) -> None:
    calls = Failing(ZeroDivisionError())
    kept_announces = KeptAnnounces(calls, network.clock, network.dice, 0.0)
    kept_announces.start()
    kept = kept_announces.add(b"name", 1)
    network.clock.advance(60)
    assert len(logged_failures) == 1
    logged_failures.clear()
    calls.error = GrapeError("ERR_GRAPE_NOT_RUNNING")
    network.clock.advance(60)
    network.result(kept.stopService())
    assert not network.clock.getDelayedCalls()
