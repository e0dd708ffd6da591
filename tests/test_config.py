"""grape.config: every knob, its range and its error."""

from __future__ import annotations

import math
from inspect import signature
from typing import Any

import attrs
import pytest

from grape import Config, ConfigError, Grape
from grape.config import Limits, parse_bootstrap
from grape.service import _KEYWORDS
from grape.testing import MemoryNetwork

# For each number: values that run, and values that do not.
RANGES: dict[str, tuple[list[Any], list[Any]]] = {
    "dht_port": ([0, 1, 65_535], [-1, 65_536, 1.5, "1", None, True, math.nan]),
    "api_port": ([0, 65_535, None], [-1, 65_536, 30_001.5, "x", False]),
    "dht_concurrency": ([1, 160], [0, 161, 1.5, None]),
    "dht_max_tables": ([1, 10**7], [0, 10**7 + 1, None, 1.5]),
    "dht_max_values": ([1, 10**7], [0, 10**7 + 1, None, "1"]),
    "dht_peer_max_age": ([0, 0.5, 240, 10**9], [-1, -0.001, math.nan, None, "240"]),
    "cache_max_age": ([None, 0, 0.5, 10**9], [-1, math.nan, "1"]),
    "dht_node_liveness": ([0.1, 300, 10**9], [0, 0.09, -1, math.nan, None]),
    "check_max_payload_size": ([1, 2**31], [0, -1, 2**31 + 1, 1.5, None]),
    "max_keys": ([1, 10**7], [0, 10**7 + 1, None, 1.5]),
    "max_peers_per_key": ([1, 10**6], [0, None]),
    "max_peers_per_announcer": ([1, 10**6], [0, None]),
    "max_store_bytes": ([1_000_000, 2**40], [999_999, None]),
    "max_item_bytes": ([1_000_000, 2**40], [999_999, None]),
    "max_pending": ([16, 10**6], [15, 10**6 + 1, None]),
    "max_queries_per_lookup": ([20, 256], [19, 257, None]),
    "max_verifying": ([16, 10**5], [15, None]),
    "max_strangers": ([16, 10**6], [15, None]),
    "max_announces": ([1, 10**6], [0, None]),
    "max_calls": ([1, 10**6], [0, None]),
    "max_connections": ([1, 10**6], [0, None]),
    "max_connections_per_host": ([1, 10**6], [0, None]),
    "timeslot": ([None, 0.001, 30, 10**9], [0, 0.0009, -1, math.nan, math.inf, "30"]),
}


def cases(good: bool) -> list[Any]:
    """(name, value) of all good or all bad values."""
    return [
        pytest.param(name, value, id=f"{name}={value!r}")
        for name, values in RANGES.items()
        for value in values[0 if good else 1]
    ]


def make(**settings: Any) -> Config:
    """A Config of values of any type."""
    return Config(**settings)


def test_every_number_has_a_range() -> None:
    fields = {field.name: str(field.type).split(" | ") for field in attrs.fields(Config)}
    assert {name for name, types in fields.items() if {"int", "float"} & set(types)} == set(RANGES)


@pytest.mark.parametrize(("name", "value"), cases(good=True))
def test_what_is_in_range_is_taken(name: str, value: Any) -> None:
    assert getattr(make(**{name: value}), name) == value


@pytest.mark.parametrize(("name", "value"), cases(good=False))
def test_what_is_out_of_range_is_refused_by_the_options_name(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"^{name} takes ") as raised:
        make(**{name: value})
    assert raised.value.name == name
    assert isinstance(raised.value, ValueError)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"dht_port": 70_000}, "dht_port takes 0 to 65535"),
        ({"dht_port": 1.5}, "dht_port takes a whole number, not 1.5"),
        ({"dht_peer_max_age": -1}, "dht_peer_max_age takes 0 s or more"),
        ({"dht_node_liveness": 0}, "dht_node_liveness takes 0.1 s or more"),
        ({"dht_peer_max_age": "x"}, "dht_peer_max_age takes a number, not 'x'"),
        ({"dht_max_values": 0}, "dht_max_values takes 1 to 10000000"),
        ({"host": "a b"}, "host takes an address or a host name, not 'a b'"),
        ({"dht_bootstrap": "a"}, "dht_bootstrap takes HOST:PORT entries, not 'a'"),
        ({"dht_bootstrap": "::1:20002"}, "dht_bootstrap takes IPv4 addresses and host names, not '::1'"),
    ],
)
def test_an_error_says_what_the_option_takes(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError) as raised:
        make(**settings)
    assert str(raised.value) == text


@pytest.mark.parametrize("name", ["host", "dht_bind", "api_bind"])
@pytest.mark.parametrize("value", ["a b", "a/b", "a,b", " ", 5, b"127.0.0.1"])
def test_what_is_no_host_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"^{name} takes an address"):
        make(**{name: value})


@pytest.mark.parametrize(
    ("given", "addresses"),
    [
        (None, ()),
        (False, ()),
        (True, ()),
        ("", ()),
        ([], ()),
        (" , ,", ()),
        ("a:1,,", (("a", 1),)),
        ("a:1, b:2", (("a", 1), ("b", 2))),
        ("127.0.0.1:20002,127.0.0.1:20002", (("127.0.0.1", 20_002),)),
        (["a:1", "", None, "b:0x4e21"], (("a", 1), ("b", 20_001))),
        ([("a", 1), ("b", "2")], (("a", 1), ("b", 2))),
        ("localhost:65535", (("localhost", 65_535),)),
    ],
)
def test_bootstrap_nodes_come_in_many_forms(given: Any, addresses: tuple[tuple[str, int], ...]) -> None:
    assert make(dht_bootstrap=given).dht_bootstrap == addresses


BAD_ENTRIES = ["127.0.0.1", "h:abc", "h:0", "h:70000", "h:-1", "h:", ":20002", "::1:20002", "[::1]:20002", "a b:1"]
BAD_ENTRIES += ["http://a:1", "h:1.5", ":", "h:1:2"]


@pytest.mark.parametrize("entry", BAD_ENTRIES)
def test_a_bootstrap_entry_that_names_no_node_is_refused(entry: str) -> None:
    with pytest.raises(ConfigError, match=r"^dht_bootstrap takes "):
        parse_bootstrap(entry)
    with pytest.raises(ConfigError, match=r"^dht_bootstrap takes "):
        make(dht_bootstrap=["a:1", entry])


@pytest.mark.parametrize("given", [5, [5], [("h",)], [("h", None)], [("h", 70_000)], [["h", 1, 2], 5]])
def test_bootstrap_nodes_of_a_wrong_type_are_refused(given: Any) -> None:
    with pytest.raises(ConfigError, match=r"^dht_bootstrap takes "):
        make(dht_bootstrap=given)


@pytest.mark.parametrize(
    ("settings", "dht_host", "api_host", "announced"),
    [
        ({}, "", "::", None),
        ({"host": "10.0.0.1"}, "10.0.0.1", "10.0.0.1", "10.0.0.1"),
        ({"host": "localhost"}, "127.0.0.1", "localhost", "127.0.0.1"),
        ({"host": "0.0.0.0"}, "0.0.0.0", "0.0.0.0", None),
        ({"host": "::1"}, "", "::1", None),
        ({"host": "name.example"}, "name.example", "name.example", None),
        ({"host": "10.0.0.1", "dht_bind": "10.0.0.2"}, "10.0.0.2", "10.0.0.1", "10.0.0.2"),
        ({"host": "10.0.0.1", "api_bind": "::"}, "10.0.0.1", "::", "10.0.0.1"),
        ({"dht_bind": "0.0.0.0", "host": "10.0.0.1"}, "0.0.0.0", "10.0.0.1", None),
    ],
)
def test_hosts_say_where_to_bind_and_what_to_announce(
    settings: dict[str, Any], dht_host: str, api_host: str, announced: str | None
) -> None:
    config = make(**settings)
    assert (config.dht_host, config.api_host, config.announced_host) == (dht_host, api_host, announced)


def test_the_lookup_cache_is_half_as_old_as_a_peer_unless_told_otherwise() -> None:
    assert make().cache_age == 120
    assert make(dht_peer_max_age=10).cache_age == 5
    assert make(cache_max_age=7).cache_age == 7
    assert make(cache_max_age=0).cache_age == 0


def test_a_grape_takes_grenaches_keywords_with_times_in_milliseconds() -> None:
    grape = Grape(
        21_001,
        "a:1",
        31_001,
        host="10.0.0.1",
        dht_concurrency=8,
        dht_maxTables=10,
        dht_maxValues=11,
        dht_peer_maxAge=120_000,
        cache_maxAge=500,
        dht_nodeLiveness=60_000,
        check_maxPayloadSize=100,
        timeslot=30_000,
        reactor=object.__new__(type("Still", (), {"seconds": lambda self: 0.0, "resolve": None})),
    )
    assert grape.config == Config(
        host="10.0.0.1",
        dht_port=21_001,
        api_port=31_001,
        dht_bootstrap=(("a", 1),),
        dht_concurrency=8,
        dht_max_tables=10,
        dht_max_values=11,
        dht_peer_max_age=120.0,
        cache_max_age=0.5,
        dht_node_liveness=60.0,
        check_max_payload_size=100,
        timeslot=30.0,
    )


@pytest.mark.parametrize("name", ["dht_peer_maxAge", "cache_maxAge", "dht_nodeLiveness", "timeslot"])
@pytest.mark.parametrize("value", ["5", True, [1]])
def test_a_grape_refuses_what_is_no_time(name: str, value: Any) -> None:
    keywords: dict[str, Any] = {name: value}
    with pytest.raises(ConfigError, match=f"^{name} takes milliseconds"):
        Grape(**keywords)


def test_every_setting_is_a_keyword_of_grape_too() -> None:
    fields = {field.name for field in attrs.fields(Config)}
    keywords = set(signature(Grape.__init__).parameters) | set(Limits.__annotations__)
    assert {_KEYWORDS.get(name, name) for name in fields} <= keywords


def test_a_grape_takes_limits() -> None:
    grape = Grape(max_keys=5, max_calls=6, max_announces=7, reactor=MemoryNetwork(seed=1).reactor("10.0.0.1"))
    assert grape.config == Config(api_port=None, max_keys=5, max_calls=6, max_announces=7)


@pytest.mark.parametrize(
    ("keyword", "value", "problem"),
    [
        ("dht_maxTables", 0, "takes 1 to 10000000"),
        ("dht_maxValues", 0, "takes 1 to 10000000"),
        ("dht_peer_maxAge", -1, "takes 0 s or more"),
        ("cache_maxAge", -1, "takes 0 s or more"),
        ("dht_nodeLiveness", 0, "takes 0.1 s or more"),
        ("check_maxPayloadSize", 0, "takes 1 to 2147483648"),
        ("api_port", -1, "takes 0 to 65535"),
        ("api_port_http", -1, "takes 0 to 65535"),
        ("max_keys", 0, "takes 1 to 10000000"),
        ("dht_bootstrap", "a", "takes HOST:PORT entries, not 'a'"),
    ],
)
def test_a_grape_names_the_keyword_that_is_wrong(keyword: str, value: Any, problem: str) -> None:
    keywords: dict[str, Any] = {keyword: value}
    with pytest.raises(ConfigError) as raised:
        Grape(**keywords)
    assert (raised.value.name, raised.value.problem) == (keyword, problem)


@pytest.mark.parametrize("keyword", ["max_everything", "dht_max_tables"])
def test_a_grape_refuses_what_is_no_keyword(keyword: str) -> None:
    keywords: dict[str, Any] = {keyword: 1}
    with pytest.raises(TypeError, match=keyword):
        Grape(**keywords)
