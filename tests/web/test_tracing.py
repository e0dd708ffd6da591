"""grape.web.tracing: the trace of a lookup over HTTP."""

from __future__ import annotations

import json

import pytest

from grape.testing import MemoryNetwork
from grape.web.tracing import _ITEM, _SERVICE
from tests.web.test_inspection import Site, shape


def test_trace_of_a_service_has_the_shape_of_its_example(network: MemoryNetwork) -> None:
    first = Site(network)
    second = Site(network, host="10.0.0.2", dht_bootstrap=["10.0.0.1:20001"])
    network.result(second.grape.when_ready())
    network.result(first.grape.announce("rest:util:net", 1337))
    status, told = first.ask("/trace/lookup?name=rest:util:net")
    assert status == 200
    assert shape(told) == shape(json.loads(_SERVICE))
    assert told["peers"] == ["10.0.0.1:1337"]


def test_trace_of_an_item_has_the_shape_of_its_example(network: MemoryNetwork) -> None:
    first = Site(network)
    second = Site(network, host="10.0.0.2", dht_bootstrap=["10.0.0.1:20001"])
    network.result(second.grape.when_ready())
    hash = network.result(second.grape.put("text"))
    status, told = first.ask(f"/trace/get?hash={hash}")
    assert status == 200
    assert shape(told) == shape(json.loads(_ITEM))
    assert told["seq"] == 0
    assert told["value"] == "text"


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("/trace/lookup", "ERR_GRAPE_PARAMETER: name is missing"),
        ("/trace/lookup?name=", "ERR_GRAPE_PARAMETER: name is missing"),
        ("/trace/get", "ERR_GRAPE_PARAMETER: hash is missing"),
        ("/trace/get?hash=00", "ERR_GRAPE_PARAMETER: hash takes 40 hex digits, not '00'"),
    ],
)
def test_wrong_trace_is_refused(network: MemoryNetwork, target: str, problem: str) -> None:
    site = Site(network)
    network.result(site.grape.when_ready())
    assert site.ask(target) == (400, problem)
