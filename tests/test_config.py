"""grape.config: the declaration of every setting, and what is made of it."""

from __future__ import annotations

import math
from inspect import signature
from pathlib import Path
from typing import Any, Unpack, get_type_hints

import attrs
import pytest

from grape import Config, ConfigError, Grape
from grape.config import Keywords, parse_bootstrap
from grape.settings.declaration import Setting, from_keywords, settings_of
from grape.settings.flags import help_entries, read_flags, table
from grape.settings.kinds import Milliseconds, Whole
from grape.testing import MemoryNetwork

CONFIGURATION = Path(__file__).parents[1] / "docs" / "configuration.md"
SETTINGS = settings_of(Config)
NUMBERS = [setting for setting in SETTINGS if isinstance(setting.kind, (Whole, Milliseconds))]
MAX_HELP_CHARACTERS = 90

every_setting = pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
every_number = pytest.mark.parametrize("setting", NUMBERS, ids=lambda setting: setting.name)


def make(**settings: Any) -> Config:
    """Makes a Config of values of any type."""
    return Config(**settings)


def grape(**keywords: Any) -> Grape:
    """Makes a grape of keywords of any type, which is not started."""
    return Grape(**{"reactor": MemoryNetwork(seed=1).reactor("10.0.0.1"), **keywords})


# The declaration


def test_every_field_is_a_setting() -> None:
    assert [setting.name for setting in SETTINGS] == [field.name for field in attrs.fields(Config)]


@every_setting
def test_every_setting_has_a_help_text_of_one_line(setting: Setting) -> None:
    assert setting.help == setting.help.strip()
    assert 0 < len(setting.help) <= MAX_HELP_CHARACTERS
    assert "\n" not in setting.help
    assert not setting.help.endswith(".")
    assert setting.default_text not in ("", "None", "()")


@every_setting
def test_every_default_is_a_value_that_its_setting_takes(setting: Setting) -> None:
    assert setting.checked(setting.default) == setting.default


def test_max_liveness_checks_is_taken_by_its_former_name_too() -> None:
    expected = Config(max_liveness_checks=20)
    assert from_keywords(Config, {"max_verifying": 20}) == expected
    assert Config(**read_flags(Config, ["--max-verifying", "20"]).values) == expected  # type: ignore[arg-type]


def test_every_flag_and_keyword_belongs_to_one_setting() -> None:
    flags = [flag for setting in SETTINGS for flag in (*setting.spellings, f"--{setting.off}")]
    keywords = [keyword for setting in SETTINGS for keyword in setting.keywords]
    assert len({*flags, "--help", "-h", "--version"}) == len([flag for flag in flags if flag != "--"]) + 4
    assert len(set(keywords)) == len(keywords)


@every_setting
def test_every_setting_is_in_the_help(setting: Setting) -> None:
    headings = [heading for heading, _ in help_entries(Config)]
    assert any(f"{heading},".startswith(", ".join(setting.spellings)) for heading in headings)


def test_configuration_has_the_table_of_the_declaration() -> None:
    expected = table(Config)
    assert expected in CONFIGURATION.read_text(), f"the table in docs/configuration.md is to be:\n{expected}"


def test_keywords_for_mypy_are_those_of_the_declaration() -> None:
    parameters = signature(Grape.__init__).parameters
    positional = [name for name in parameters if name not in ("self", "reactor", "dice", "settings")]
    assert positional == ["dht_port", "dht_bootstrap", "api_port"]
    assert get_type_hints(Grape.__init__)["settings"] == Unpack[Keywords]
    types, fields = get_type_hints(Keywords), get_type_hints(Config)
    expected = {keyword: setting for setting in SETTINGS for keyword in setting.keywords if keyword not in positional}
    assert set(types) == set(expected)
    for keyword, setting in expected.items():
        of_field = fields[setting.name]
        if isinstance(setting.kind, Milliseconds):
            # None stands for the default.
            of_field |= None
        assert types[keyword] == of_field or (setting.kind.is_list and types[keyword] is not of_field)


# Values


@every_number
def test_numbers_are_taken_up_to_both_ends_of_their_range(setting: Setting) -> None:
    kind: Any = setting.kind
    scale = 1000 if isinstance(kind, Milliseconds) else 1
    for value in (kind.low, kind.high):
        assert getattr(make(**{setting.name: value / scale if scale > 1 else value}), setting.name) == value / scale
        assert getattr(from_keywords(Config, {setting.keywords[0]: value}), setting.name) == value / scale
        for flag in setting.spellings:
            assert read_flags(Config, [f"{flag}={value}"]).values == {setting.name: value / scale}


@every_number
def test_other_numbers_are_refused_by_all_names(setting: Setting) -> None:
    kind: Any = setting.kind
    scale = 1000 if isinstance(kind, Milliseconds) else 1
    below, above = kind.low - 1, kind.high + 1
    others = [-1, True, math.nan, math.inf, -math.inf, "1", [1], 10**400, b"1", 1j]
    for value in (below, above, *others):
        for keyword in setting.keywords:
            with pytest.raises(ConfigError, match=f"^{keyword} takes a ") as raised:
                from_keywords(Config, {keyword: value})
            assert raised.value.name == keyword
    for value in (below / scale, above / scale, *others):
        with pytest.raises(ConfigError, match=f"^{setting.name} takes a ") as raised:
            make(**{setting.name: value})
        assert isinstance(raised.value, ValueError)
    for flag in setting.spellings:
        for text in (str(kind.low - 1), str(kind.high + 1), "", "abc", "nan", "inf", "1,2"):
            with pytest.raises(ConfigError, match=f"^{flag} takes a "):
                read_flags(Config, [f"{flag}={text}"])


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"dht_port": 70_000}, "dht_port takes a whole number from 0 to 65535, not 70000"),
        ({"dht_port": 1.5}, "dht_port takes a whole number from 0 to 65535, not 1.5"),
        ({"dht_port": None}, "dht_port takes a whole number from 0 to 65535, not None"),
        ({"dht_peer_max_age": -1}, "dht_peer_max_age takes a number of seconds from 0 to 1000000000, not -1"),
        ({"dht_node_liveness": 0}, "dht_node_liveness takes a number of seconds from 0.1 to 1000000000, not 0"),
        ({"max_item_bytes": 1}, "max_item_bytes takes a whole number of bytes from 1000000 to 1099511627776, not 1"),
        ({"host": "a b"}, "host takes an IPv4 or IPv6 address or a host name, not 'a b'"),
        (
            {"dht_bind": "::"},
            "dht_bind takes an IPv4 address or a host name, not '::': the DHT speaks IPv4; 0.0.0.0 is all addresses",
        ),
        (
            {"host": "fd00::2"},
            "host takes an IPv4 address or a host name, not 'fd00::2': the DHT speaks IPv4; "
            "use --api-bind fd00::2 for HTTP, and --dht-bind with an IPv4 address",
        ),
        ({"dht_bootstrap": "a"}, "dht_bootstrap takes HOST:PORT entries, not 'a'"),
        ({"dht_bootstrap": "::1:20002"}, "dht_bootstrap takes IPv4 addresses and host names, not '::1'"),
        ({"profile": "open"}, "profile takes private or public, not 'open'"),
        ({"durability": None}, "durability takes full or normal, not None"),
        ({"read_only": 1}, "read_only takes True or False, not 1"),
        ({"state": ""}, "state takes a file, not ''"),
        ({"state": ["x"]}, "state takes a file, not ['x']"),
        ({"allow_host": ["ok", "*"]}, "allow_host takes host names and addresses without a port, not '*'"),
        ({"allow_host": 5}, "allow_host takes host names and addresses without a port, not 5"),
    ],
)
def test_an_error_names_the_setting_and_says_what_it_takes(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError) as raised:
        make(**settings)
    assert str(raised.value) == text


@pytest.mark.parametrize("name", ["host", "dht_bind", "api_bind"])
@pytest.mark.parametrize(
    "value", ["a b", "a/b", "a,b", " ", "", "a:1", "127.0.0.1:1", "[::1", "*", 5, b"127.0.0.1", ["a"]]
)
def test_hosts_refuse_what_no_socket_can_be_bound_to(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"^{name} takes an IPv4 "):
        make(**{name: value})


@pytest.mark.parametrize(
    ("given", "addresses"),
    [
        (None, ()),
        (False, ()),
        (True, ()),
        ("", ()),
        ([], ()),
        ("a:1, b:2,,", (("a", 1), ("b", 2))),
        ("127.0.0.1:20002,127.0.0.1:020002", (("127.0.0.1", 20_002),)),
        (["a:1", "", None, "b:0x4e21", ("c", 3)], (("a", 1), ("b", 20_001), ("c", 3))),
    ],
)
def test_bootstrap_nodes_come_in_many_forms(given: Any, addresses: tuple[tuple[str, int], ...]) -> None:
    assert make(dht_bootstrap=given).dht_bootstrap == addresses
    assert grape(dht_bootstrap=given).config.dht_bootstrap == addresses


def test_parse_bootstrap_returns_one_address() -> None:
    assert parse_bootstrap("127.0.0.1:020001") == ("127.0.0.1", 20_001)
    with pytest.raises(ConfigError, match=r"^dht_bootstrap takes HOST:PORT entries, not 'h:0'$"):
        parse_bootstrap("h:0")


def test_lists_may_be_one_text_with_commas() -> None:
    config = make(allow_host="a, B.example,", allow_origin="HTTPS://a.example/,http://b:80")
    assert config.allow_host == ("a", "B.example")
    assert config.allow_origin == ("https://a.example", "http://b")
    assert attrs.evolve(config, dht_port=1).allow_origin == config.allow_origin


# What follows from settings


@pytest.mark.parametrize(
    ("settings", "dht_host", "api_host", "announced"),
    [
        ({}, "", "::", None),
        ({"host": "10.0.0.1"}, "10.0.0.1", "10.0.0.1", "10.0.0.1"),
        ({"host": "localhost"}, "127.0.0.1", "localhost", "127.0.0.1"),
        ({"host": "0.0.0.0"}, "0.0.0.0", "0.0.0.0", None),
        ({"host": "::"}, "", "::", None),
        ({"host": "::1"}, "127.0.0.1", "::1", "127.0.0.1"),
        ({"host": "[::1]"}, "127.0.0.1", "::1", "127.0.0.1"),
        ({"host": "::ffff:10.0.0.1"}, "10.0.0.1", "::ffff:10.0.0.1", "10.0.0.1"),
        ({"host": "fd00::2", "dht_bind": "10.0.0.1"}, "10.0.0.1", "fd00::2", "10.0.0.1"),
        ({"host": "[fd00::2]", "dht_bind": "0.0.0.0"}, "0.0.0.0", "fd00::2", None),
        ({"host": "10.0.0.1", "api_bind": "[fd00::2]"}, "10.0.0.1", "fd00::2", "10.0.0.1"),
        ({"host": "name.example"}, "name.example", "name.example", None),
        ({"host": "10.0.0.1", "dht_bind": "10.0.0.2"}, "10.0.0.2", "10.0.0.1", "10.0.0.2"),
        ({"host": "10.0.0.1", "api_bind": "::"}, "10.0.0.1", "::", "10.0.0.1"),
        ({"dht_bind": "0.0.0.0", "host": "10.0.0.1"}, "0.0.0.0", "10.0.0.1", None),
        ({"advertise": "10.13.0.50"}, "", "::", "10.13.0.50"),
        ({"host": "10.0.0.1", "advertise": "10.13.0.50:5"}, "10.0.0.1", "10.0.0.1", "10.13.0.50"),
        ({"host": "10.0.0.1", "advertise": "outside.example"}, "10.0.0.1", "10.0.0.1", None),
    ],
)
def test_hosts_say_where_to_bind_and_what_to_announce(
    settings: dict[str, Any], dht_host: str, api_host: str, announced: str | None
) -> None:
    config = make(**settings)
    assert (config.dht_host, config.api_host, config.announced_host) == (dht_host, api_host, announced)


def test_cache_age_is_half_of_a_peers_unless_told_otherwise() -> None:
    assert make().cache_age == 120
    assert make(dht_peer_max_age=10).cache_age == 5
    assert make(cache_max_age=7).cache_age == 7
    assert make(cache_max_age=0).cache_age == 0


def test_state_file_is_none_for_memory() -> None:
    assert make().state_file is None
    assert make(state=":memory:").state_file is None
    assert make(state="a.sqlite").state_file == "a.sqlite"


# The keywords of Grape


def test_grape_takes_grenaches_keywords_with_times_in_milliseconds() -> None:
    made = Grape(
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
        max_announces=7,
        allow_host="a.example",
        reactor=MemoryNetwork(seed=1).reactor("10.0.0.1"),
    )
    assert made.config == Config(
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
        max_announces=7,
        allow_host=("a.example",),
    )


@pytest.mark.parametrize(
    ("advertise", "host_and_port"),
    [(None, None), ("10.0.0.1", ("10.0.0.1", None)), ("a.example:0", None), ("a.example:5", ("a.example", 5))],
)
def test_advertised_is_host_and_port(advertise: str | None, host_and_port: tuple[str, int | None] | None) -> None:
    if advertise is not None and host_and_port is None:
        with pytest.raises(
            ConfigError, match=r"^advertise takes HOST or HOST:PORT with an IPv4 address or a host name"
        ):
            make(advertise=advertise)
    else:
        assert make(advertise=advertise).advertised == host_and_port


def test_grape_takes_none_for_the_default() -> None:
    assert grape(dht_peer_maxAge=None, cache_maxAge=None, timeslot=None, host=None, state=None).config == grape().config
    assert grape().config == Config(api_port=None)


@pytest.mark.parametrize(
    ("ports", "port"),
    [
        ({}, None),
        ({"api_port": 5}, 5),
        ({"api_port_http": 6}, 6),
        ({"api_port": None, "api_port_http": 6}, 6),
        ({"api_port": 5, "api_port_http": 6}, 5),
        ({"api_port_http": None}, None),
    ],
)
def test_grape_knows_both_names_of_the_http_port(ports: dict[str, int | None], port: int | None) -> None:
    assert grape(**ports).config.api_port == port


@pytest.mark.parametrize(
    ("keyword", "value", "problem"),
    [
        ("dht_maxTables", 0, "takes a whole number from 1 to 10000000, not 0"),
        ("dht_peer_maxAge", -1, "takes a number of milliseconds from 0 to 1000000000000, not -1"),
        ("dht_peer_maxAge", True, "takes a number of milliseconds from 0 to 1000000000000, not True"),
        ("dht_nodeLiveness", 99, "takes a number of milliseconds from 100 to 1000000000000, not 99"),
        ("check_maxPayloadSize", 0, "takes a whole number of bytes from 1 to 2147483648, not 0"),
        ("api_port", -1, "takes a whole number from 0 to 65535, not -1"),
        ("api_port_http", -1, "takes a whole number from 0 to 65535, not -1"),
        ("dht_port", None, "takes a whole number from 0 to 65535, not None"),
        ("dht_bootstrap", "a", "takes HOST:PORT entries, not 'a'"),
    ],
)
def test_grape_names_the_keyword_that_is_wrong(keyword: str, value: Any, problem: str) -> None:
    with pytest.raises(ConfigError) as raised:
        grape(**{keyword: value})
    assert (raised.value.name, raised.value.problem) == (keyword, problem)


@pytest.mark.parametrize(
    ("keyword", "text"),
    [
        ("max_call", "Grape has no keyword 'max_call'; did you mean 'max_calls'?"),
        ("dht_max_tables", "Grape has no keyword 'dht_max_tables'; did you mean 'dht_maxTables'?"),
        ("bogus", "Grape has no keyword 'bogus' (docs/configuration.md lists them)"),
    ],
)
def test_grape_refuses_an_unknown_keyword_with_the_nearest_one(keyword: str, text: str) -> None:
    with pytest.raises(TypeError) as raised:
        grape(**{keyword: 1})
    assert str(raised.value) == text
