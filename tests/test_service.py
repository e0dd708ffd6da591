"""grape.service: an embedder's view of node and HTTP API together."""

from __future__ import annotations

import inspect
import json
from typing import Any, get_type_hints

import pytest
from treq.testing import StubTreq
from twisted.internet.defer import Deferred

from grape import Grape
from grape.testing import MemoryNetwork, make_grapes

METHODS = [name for name, member in vars(Grape).items() if callable(member) and not name.startswith("_")]


@pytest.fixture
def grape(network: MemoryNetwork) -> Grape:
    """A grape without HTTP that is not started."""
    return Grape(reactor=network.reactor("10.0.0.1"))


@pytest.mark.parametrize("name", METHODS)
def test_every_method_carries_its_own_documentation(name: str) -> None:
    text = inspect.getdoc(getattr(Grape, name)) or ""
    assert text.partition("\n")[0].endswith(".")
    assert not text.startswith(("See ", "What ", "Whether ", "Who "))
    assert "Node." not in text


def test_class_documentation_has_an_example() -> None:
    text = inspect.getdoc(Grape) or ""
    for call in ("Grape(", "startService()", "await grape.when_ready()", ".announce(", ".lookup(", ".stopService()"):
        assert call in text


def test_stop_service_is_typed() -> None:
    assert get_type_hints(Grape.stopService)["return"] == Deferred[None]


def test_stop_service_fires_with_none_once_the_socket_is_closed(grape: Grape, network: MemoryNetwork) -> None:
    grape.startService()
    stopped = grape.stopService()
    network.result(stopped)
    assert grape.dht_address is None
    again = grape.stopService()
    network.result(again)


def test_dht_address_is_the_one_that_is_bound(grape: Grape, network: MemoryNetwork) -> None:
    assert (grape.dht_address, grape.api_address, grape.api_port) == (None, None, None)
    grape.startService()
    assert grape.dht_address == ("10.0.0.1", 20_001)
    assert grape.api_address is None
    network.result(grape.stopService())


def test_stats_count_what_happens_in_the_http_api(network: MemoryNetwork) -> None:
    grape = make_grapes(network, 2, max_calls=1)[1]
    client: Any = StubTreq(grape.resource())
    for name in ("a", "b"):
        client.post("http://localhost/lookup", json.dumps({"data": name}).encode())
    network.clock.advance(3)
    client.flush()
    assert grape.stats().counters["overloads"] == 1


def test_drain_keeps_a_stopping_grape_at_work_for_its_time(network: MemoryNetwork) -> None:
    grape = Grape(reactor=network.reactor("10.0.0.1"), drain=5)
    grape.startService()
    assert not grape.is_stopping
    stopped = grape.stopService()
    network.clock.advance(4.9)
    assert (grape.is_stopping, grape.dht_address is not None, stopped.called) == (True, True, False)
    assert network.result(grape.announce("a service", 7)) == 1
    network.result(stopped)
    assert (grape.is_stopping, grape.dht_address, network.clock.seconds()) == (True, None, 5.0)
    grape.startService()
    assert not grape.is_stopping
    network.result(grape.stopService())


@pytest.mark.parametrize("how", ["stopService", "end_drain"])
def test_drain_ends_when_the_grape_is_told_again(network: MemoryNetwork, how: str) -> None:
    grape = Grape(reactor=network.reactor("10.0.0.1"), drain=3_600)
    grape.startService()
    grape.end_drain()
    assert not grape.is_stopping
    stopped = [grape.stopService()]
    network.clock.advance(1)
    again = getattr(grape, how)()
    stopped += [again] if again is not None else []
    for one in stopped:
        network.result(one)
    assert (grape.dht_address, network.clock.seconds() < 5) == (None, True)
