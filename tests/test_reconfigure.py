"""Grape.reconfigure: limits, lists and rules that change while a grape runs take effect in its parts."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest
from treq.testing import StubTreq
from twisted.python.failure import Failure

from grape import Grape, GrapeError
from grape.config import Config
from grape.settings.declaration import settings_of
from grape.testing import MemoryNetwork, make_grapes

# What can be changed, and a lower value that is not the default.
CHANGES: dict[str, Any] = {
    setting.name: getattr(setting.kind, "low", None)
    for setting in settings_of(Config)
    if setting.reloads and not setting.for_process
} | {
    "dht_bootstrap": (("10.0.0.2", 20_001),),
    "allow_origin": ("https://a.example",),
    "allow_host": ("a.example",),
    "log_announces": True,
    "ready_isolated": True,
}  # fmt: skip


def changed(grape: Grape, **settings: Any) -> list[str]:
    """Changes settings of a grape; returns those that need a restart."""
    return grape.reconfigure(attrs.evolve(grape.config, **settings))


def post(client: Any, path: str, data: object, **headers: str) -> int:
    """Returns the status of a call through a grape's resource; it has a second."""
    status: list[int] = []
    body = json.dumps({"data": data}).encode()
    client.post(f"http://localhost{path}", body, headers=headers).addCallback(lambda found: status.append(found.code))
    client.flush()
    return status[0]


@pytest.fixture
def grape(network: MemoryNetwork) -> Grape:
    """A grape that runs, without others."""
    return make_grapes(network, 1)[0]


def test_limits_are_all_settings_whose_name_begins_with_max() -> None:
    limits = {setting.name for setting in settings_of(Config) if "max_" in setting.name}
    assert limits - set(CHANGES) == {"dht_peer_max_age", "cache_max_age"}


@pytest.mark.parametrize("name", CHANGES)
def test_every_setting_that_reloads_can_change_while_the_grape_runs(grape: Grape, name: str) -> None:
    assert changed(grape, **{name: CHANGES[name]}) == []
    assert getattr(grape.config, name) == getattr(grape.node.config, name) == CHANGES[name]
    assert changed(grape, **{name: CHANGES[name]}) == []


def test_settings_that_cannot_change_are_returned_and_left(grape: Grape) -> None:
    before = grape.config
    assert changed(grape, dht_port=1, profile="public") == ["dht_port", "profile"]
    assert grape.config == before
    assert changed(grape, dht_port=1, max_keys=1) == ["dht_port"]
    assert grape.config == attrs.evolve(before, max_keys=1)


def test_grape_that_is_stopped_starts_with_what_was_changed(network: MemoryNetwork) -> None:
    grape = Grape(reactor=network.reactor("10.0.0.1"))
    assert changed(grape, max_calls=3, dht_max_tables=2, dht_bootstrap=(("10.0.0.2", 20_001),)) == []
    other = Grape(reactor=network.reactor("10.0.0.2"))
    other.startService()
    grape.startService()
    network.clock.advance(3)
    assert grape.stats().contacts == 1
    for each in (grape, other):
        network.result(each.stopService())


def test_bootstrap_nodes_that_are_new_are_joined_through(network: MemoryNetwork) -> None:
    grapes = [Grape(reactor=network.reactor(f"10.0.0.{n}")) for n in (1, 2)]
    for each in grapes:
        each.startService()
    network.clock.advance(5)
    assert grapes[0].stats().contacts == 0
    changed(grapes[0], dht_bootstrap=(("10.0.0.2", 20_001),))
    network.clock.advance(1)
    assert [each.stats().contacts for each in grapes] == [1, 1]
    for each in grapes:
        network.result(each.stopService())


def test_bootstrap_nodes_that_are_gone_from_the_list_are_no_longer_asked(network: MemoryNetwork) -> None:
    grape = Grape(reactor=network.reactor("10.0.0.1"), dht_bootstrap="10.0.0.9:20001")
    grape.startService()
    network.clock.advance(20)
    changed(grape, dht_bootstrap=())
    network.clock.advance(5)
    before = grape.stats().counters["datagrams_out"]
    network.clock.advance(60)
    assert grape.stats().counters["datagrams_out"] == before
    # It is the first of its network now.
    assert network.result(grape.announce("a", 1)) == 1
    network.result(grape.stopService())


def test_lower_limits_evict_what_is_too_much(grape: Grape, network: MemoryNetwork) -> None:
    for n in range(10):
        network.result(grape.announce(f"service {n}", 1 + n))
        network.result(grape.put(f"value {n}"))
    assert (grape.stats().services, grape.stats().items) == (10, 10)
    changed(grape, max_keys=4, dht_max_values=3)
    assert (grape.stats().services, grape.stats().items) == (4, 3)
    assert network.result(grape.lookup("service 9")) == ["127.0.0.1:10"]
    network.result(grape.announce("service 10", 11))
    assert grape.stats().services == 4
    changed(grape, max_keys=6)
    for n in range(10):
        network.result(grape.announce(f"service {n}", 1 + n))
    assert grape.stats().services == 6


def test_lower_limit_of_calls_refuses_the_next_one(network: MemoryNetwork) -> None:
    grape = make_grapes(network, 2)[1]
    client: Any = StubTreq(grape.resource())
    changed(grape, max_calls=1)
    for name in ("a", "b"):
        client.post("http://localhost/lookup", json.dumps({"data": name}).encode())
    assert grape.stats().counters["overloads"] == 1
    network.clock.advance(3)
    client.flush()


def test_lower_limit_of_queries_makes_calls_fail_as_overloaded(network: MemoryNetwork) -> None:
    grape = make_grapes(network, 2)[1]
    changed(grape, max_pending=16)
    failures: list[object] = []
    for n in range(40):
        grape.lookup(f"name {n}").addBoth(failures.append)
    network.clock.advance(3)
    codes = {
        failure.value.code
        for failure in failures
        if isinstance(failure, Failure) and isinstance(failure.value, GrapeError)
    }
    assert codes == {"ERR_GRAPE_OVERLOADED"}


def test_payload_limit_is_that_of_mounted_resources_too(grape: Grape) -> None:
    client: Any = StubTreq(grape.resource())
    assert post(client, "/nothing", "x" * 1_000) == 200
    changed(grape, check_max_payload_size=500)
    assert post(client, "/nothing", "x" * 1_000) == 413
    changed(grape, check_max_payload_size=5_000)
    assert post(client, "/nothing", "x" * 1_000) == 200


def test_access_rules_are_those_of_mounted_resources_too(grape: Grape) -> None:
    client: Any = StubTreq(grape.resource())
    assert post(client, "/nothing", 1, Origin="https://a.example") == 403
    changed(grape, allow_origin=("https://a.example",))
    assert post(client, "/nothing", 1, Origin="https://a.example") == 200
    changed(grape, allow_origin=())
    assert post(client, "/nothing", 1, Origin="https://a.example") == 403
