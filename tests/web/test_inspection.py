"""grape.web.inspection: status, contacts, services and Prometheus' discovery over HTTP."""

from __future__ import annotations

import json
from typing import Any

import pytest
from twisted.web.resource import Resource

from grape import Grape
from grape.testing import MemoryNetwork
from grape.web.inspection import _NODES, _SERVICES, _STATUS, _TARGETS
from grape.web.site import GrapeSite
from tests.web.helpers import LOCAL, PEER, SiteClient, TCPReactor, request

Json = Any


class Site:
    """A grape whose resource is asked."""

    def __init__(self, network: MemoryNetwork, host: str = "10.0.0.1", **settings: Any) -> None:
        self.network = network
        self.grape = Grape(reactor=network.reactor(host), **settings)
        self.grape.startService()
        root = Resource()
        root.putChild(b"grape", self.grape.resource())
        self._client = SiteClient(GrapeSite(root, 8_192, TCPReactor(network)), PEER, LOCAL)

    def ask(self, target: str) -> tuple[int, Json]:
        """Returns the status and the value of the answer to a GET."""
        self._client.send(request(b"", b"/grape" + target.encode(), method=b"GET"))
        answers = self._client.answers()
        while not answers:
            self.network.clock.advance(0.1)
            answers = self._client.answers()
        ((status, body),) = answers
        return status, json.loads(body)


@pytest.fixture
def site(network: MemoryNetwork) -> Site:
    """A grape that is alone on purpose."""
    site = Site(network)
    network.result(site.grape.when_ready())
    return site


def shape(value: Json) -> Json:
    """Returns the names and the kinds of a value; what may be null counts as what it is else."""
    if isinstance(value, dict):
        return {name: shape(member) for name, member in value.items() if member is not None}
    return [shape(value[0])] if isinstance(value, list) and value else type(value)


def test_status_has_the_shape_of_its_example(network: MemoryNetwork, tmp_path: Any) -> None:
    site = Site(network, state=str(tmp_path / "a.sqlite"), host="10.0.0.1", advertise="grape.example:7")
    network.clock.advance(20)
    status, told = site.ask("/status")
    example = json.loads(_STATUS)
    assert status == 200
    assert list(told) == list(example)
    for name in ("readiness", "contacts", "per_second", "state"):
        assert shape(told[name]) == shape(example[name])
    assert told["node_id"] == site.grape.stats().node_id
    assert told["readiness"]["is_ready"] is True
    assert told["uptime"] == 20.0
    assert told["dht_address"] == "10.0.0.1:20001"
    network.result(site.grape.stopService())


def test_nodes_come_in_pages_that_miss_none(network: MemoryNetwork) -> None:
    others = [Grape(reactor=network.reactor(f"10.0.0.{number}"), dht_bootstrap=["10.0.0.1:20001"]) for number in (2, 3)]
    site = Site(network)
    for other in others:
        other.startService()
    network.clock.advance(5)
    status, everything = site.ask("/nodes")
    assert (status, everything["next"], everything["total"]) == (200, None, 2)
    example = json.loads(_NODES)
    assert [list(node) for node in everything["nodes"]] == [list(example["nodes"][0])] * 2
    assert list(everything) == list(example)
    _, first = site.ask("/nodes?limit=1")
    _, second = site.ask(f"/nodes?limit=1&after={first['next']}")
    assert [entry["id"] for entry in first["nodes"] + second["nodes"]] == [node["id"] for node in everything["nodes"]]
    assert second["next"] is None


def test_services_come_in_pages_or_by_name(network: MemoryNetwork, site: Site) -> None:
    for name in ("b", "a", "rest:util:net"):
        network.result(site.grape.announce(name, 1_337))
    _, everything = site.ask("/services")
    assert [service["name"] for service in everything["services"]] == ["a", "b", "rest:util:net"]
    assert shape(everything) == shape(json.loads(_SERVICES))
    _, first = site.ask("/services?limit=2")
    _, rest = site.ask(f"/services?limit=2&after={first['next']}")
    assert first["services"] + rest["services"] == everything["services"]
    assert site.ask("/services?name=b")[1]["services"] == everything["services"][1:2]
    assert site.ask("/services?name=c") == (200, {"services": [], "next": None, "total": 3})


def test_discovery_lists_what_a_lookup_finds(network: MemoryNetwork) -> None:
    site = Site(network, host="10.0.0.1")
    network.result(site.grape.announce("rest:util:net", 1_337))
    status, told = site.ask("/sd?name=rest:util:net")
    assert (status, shape(told)) == (200, shape(json.loads(_TARGETS)))
    assert told[0]["labels"] == {"__meta_grape_service": "rest:util:net"}
    (target,) = told[0]["targets"]
    assert target.endswith(":1337")
    assert site.ask("/sd?name=else") == (200, [])


def test_discovery_of_an_isolated_grape_does_not_say_that_there_is_nothing(network: MemoryNetwork) -> None:
    site = Site(network, dht_bootstrap=["10.0.0.9:20001"])
    network.clock.advance(10)
    assert site.ask("/sd?name=a") == (503, "ERR_GRAPE_ISOLATED")


def test_discovery_that_fails_is_no_success(network: MemoryNetwork, site: Site) -> None:
    network.result(site.grape.stopService())
    assert site.ask("/sd?name=a") == (503, "ERR_GRAPE_NOT_RUNNING")


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("/nodes?limit=0", "limit takes a whole number from 1 to 1000, not '0'"),
        ("/nodes?after=x", "after takes hex digits, two for each byte, not 'x'"),
        ("/services?limit=1001", "limit takes a whole number from 1 to 1000, not '1001'"),
        ("/services?name=a&name=b", "name is given more than once"),
        ("/sd", "name is missing"),
        ("/sd?name=", "name is missing"),
    ],
)
def test_wrong_parameter_is_refused(site: Site, target: str, problem: str) -> None:
    assert site.ask(target) == (400, f"ERR_GRAPE_PARAMETER: {problem}")
