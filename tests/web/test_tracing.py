"""grape.web.tracing: the trace of a lookup over HTTP."""

from __future__ import annotations

import json

import pytest

from grape.testing import MemoryNetwork
from grape.web.tracing import _TRACE
from tests.web.test_inspection import Site, shape


def test_trace_has_the_shape_of_its_example(network: MemoryNetwork) -> None:
    first = Site(network)
    second = Site(network, host="10.0.0.2", dht_bootstrap=["10.0.0.1:20001"])
    network.result(second.grape.when_ready())
    network.result(first.grape.announce("rest:util:net", 1337))
    status, told = first.ask("/trace?name=rest:util:net")
    assert status == 200
    assert shape(told) == shape(json.loads(_TRACE))
    assert told["peers"] == ["10.0.0.1:1337"]


def test_trace_of_an_item_takes_its_hash(network: MemoryNetwork) -> None:
    site = Site(network)
    network.result(site.grape.when_ready())
    hash = network.result(site.grape.put("text"))
    assert site.ask(f"/trace?hash={hash}")[1]["seq"] == 0


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("", "ERR_GRAPE_PARAMETER: name or hash is needed, and not both"),
        (f"?name=a&hash={'0' * 40}", "ERR_GRAPE_PARAMETER: name or hash is needed, and not both"),
        ("?name=", "ERR_GRAPE_LOOKUP"),
        ("?hash=00", "ERR_GRAPE_HASH_FORMAT"),
    ],
)
def test_wrong_trace_is_refused(network: MemoryNetwork, query: str, problem: str) -> None:
    site = Site(network)
    network.result(site.grape.when_ready())
    assert site.ask(f"/trace{query}") == (400, problem)
