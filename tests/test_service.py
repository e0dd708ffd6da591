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
