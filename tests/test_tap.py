"""grape.tap: the command line and the composition root."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import attrs
import pytest
from twisted.application.service import IService
from twisted.internet import reactor as global_reactor
from twisted.internet.error import CannotListenError
from twisted.plugin import getPlugins

import grape
from grape import Config, Grape
from grape.tap import Daemon, Options, makeService
from grape.testing import MemoryNetwork
from tests.simulation import Remote

# For each setting its flags, a text and what it means.
FLAGS: list[tuple[str, list[str], str, object]] = [
    ("dht_port", ["--dp", "--dht_port"], "20007", 20_007),
    ("dht_port", ["--dp", "--dht_port"], "0x52d1", 21_201),
    ("api_port", ["--aph", "--api_port", "--api_port_http"], "30007", 30_007),
    ("api_port", ["--aph", "--api_port", "--api_port_http"], "0", 0),
    ("dht_bootstrap", ["--bn", "--bootstrap"], "a:1,b:2", (("a", 1), ("b", 2))),
    ("host", ["-b", "--b", "--bind"], "127.0.0.1", "127.0.0.1"),
    ("dht_bind", ["--dht-bind"], "127.0.0.2", "127.0.0.2"),
    ("api_bind", ["--api-bind"], "::1", "::1"),
    ("dht_concurrency", ["--dc", "--dht_concurrency"], "8", 8),
    ("dht_max_tables", ["--dht_maxTables"], "0x10", 16),
    ("dht_max_values", ["--dht_maxValues"], "77", 77),
    ("dht_peer_max_age", ["--dht_peer_maxAge", "--dpa"], "120000", 120.0),
    ("dht_peer_max_age", ["--dht_peer_maxAge", "--dpa"], "0", 0.0),
    ("cache_max_age", ["--cache_maxAge"], "1500", 1.5),
    ("dht_node_liveness", ["--dnl", "--dht_nodeLiveness"], "60000", 60.0),
    ("check_max_payload_size", ["--check_maxPayloadSize"], "100", 100),
    ("timeslot", ["--timeslot"], "30000", 30.0),
    ("state", ["--state"], "/var/lib/grape.sqlite", "/var/lib/grape.sqlite"),
    ("state", ["--state"], ":memory:", ":memory:"),
    ("durability", ["--durability"], "normal", "normal"),
    ("max_keys", ["--max-keys"], "5", 5),
    ("max_peers_per_key", ["--max-peers-per-key"], "6", 6),
    ("max_store_bytes", ["--max-store-bytes"], "7000000", 7_000_000),
    ("max_calls", ["--max-calls"], "8", 8),
    ("max_connections", ["--max-connections"], "9", 9),
    ("max_connections_per_host", ["--max-connections-per-host"], "10", 10),
]
SPELLED = [
    pytest.param(name, words, value, id=" ".join(words))
    for name, spellings, text, value in FLAGS
    for spelling in spellings
    for words in ([spelling, text], [f"{spelling}={text}"])
    if words[0][:3] != "-b="
]


def config(*words: str) -> Config:
    """What a command line says."""
    options = Options()
    options.parseOptions(words)
    return options.config


def refusal(*words: str) -> str:
    """The one line that a wrong command line ends with; as a SystemExit's text it goes to stderr, with status 1."""
    with pytest.raises(SystemExit) as raised:
        config(*words)
    line = raised.value.code
    assert isinstance(line, str)
    assert "\n" not in line
    return line


def test_without_flags_a_grape_runs_alone_on_the_default_ports() -> None:
    assert config() == Config(dht_port=20_001, api_port=30_001)


@pytest.mark.parametrize(("name", "words", "value"), SPELLED)
def test_every_flag_is_understood_in_every_spelling(name: str, words: list[str], value: object) -> None:
    settings: dict[str, Any] = {name: value}
    assert config(*words) == Config(**settings)


def test_the_readmes_command_is_understood_in_any_order() -> None:
    expected = Config(dht_port=20_001, api_port=30_001, dht_bootstrap="127.0.0.1:20002,127.0.0.1:20003", host="a.b")
    flags = [("--dp", "20001"), ("--aph", "30001"), ("--bn", "127.0.0.1:20002,127.0.0.1:20003"), ("-b", "a.b")]
    for turn in range(4):
        turned = flags[turn:] + flags[:turn]
        assert config(*(word for flag in turned for word in flag)) == expected


@pytest.mark.parametrize(
    "words",
    [
        ["--bn", ""],
        ["--bn="],
        ["--bn"],
        ["--bn", "-b"],
        ["-b"],
        ["--bind"],
        ["-b", "--bn"],
        ["--bind", "--bn", "--dp", "20001"],
        ["--no-bn"],
        ["--bn", "a:1", "--no-bn"],
        ["--no-bn", "--bn", "a:1"],
        ["--bn", ","],
        ["--bootstrap"],
    ],
)
def test_bare_flags_and_no_bn_count_as_not_given(words: list[str]) -> None:
    assert config(*words) == Config()


def test_bootstrap_nodes_given_twice_are_united() -> None:
    assert config("--bn", "a:1", "--bootstrap=b:2", "--bn", "a:1").dht_bootstrap == (("a", 1), ("b", 2))


def test_of_other_flags_given_twice_the_last_counts() -> None:
    assert config("--dp", "1", "--dht_port", "2").dht_port == 2


def test_read_only_is_a_flag() -> None:
    assert config("--read-only") == Config(read_only=True)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--dp", "abc"], "grape: --dp takes a whole number, not 'abc'"),
        (["--dht_port", "70000"], "grape: --dp takes 0 to 65535"),
        (["--dp", "-1"], "grape: --dp takes 0 to 65535"),
        (["--dp", "21201.5"], "grape: --dp takes a whole number, not '21201.5'"),
        (["--dp", ""], "grape: --dp takes a whole number, not ''"),
        (["--aph", "abc"], "grape: --aph takes a whole number, not 'abc'"),
        (["--aph", "70000"], "grape: --aph takes 0 to 65535"),
        (["--api_port_http=-1"], "grape: --aph takes 0 to 65535"),
        (["--dc", "0"], "grape: --dc takes 1 to 160"),
        (["--dpa", "abc"], "grape: --dht_peer_maxAge takes milliseconds, not 'abc'"),
        (["--dpa", "-5"], "grape: --dht_peer_maxAge takes 0 s or more"),
        (["--dpa", "inf"], "grape: --dht_peer_maxAge takes milliseconds, not 'inf'"),
        (["--dpa", "nan"], "grape: --dht_peer_maxAge takes milliseconds, not 'nan'"),
        (["--durability", "some"], "grape: --durability takes full or normal, not 'some'"),
        (["--state", ""], "grape: --state takes a file, not ''"),
        (["--dnl", "0"], "grape: --dnl takes 0.1 s or more"),
        (["--timeslot", "0"], "grape: --timeslot takes 0.001 to 1000000000 s"),
        (["--check_maxPayloadSize", "10kb"], "grape: --check_maxPayloadSize takes a whole number, not '10kb'"),
        (["--check_maxPayloadSize", "0"], "grape: --check_maxPayloadSize takes 1 to 2147483648"),
        (["--dht_maxTables", "abc"], "grape: --dht_maxTables takes a whole number, not 'abc'"),
        (["--dht_maxValues", "0"], "grape: --dht_maxValues takes 1 to 10000000"),
        (["--bn", "127.0.0.1"], "grape: --bn takes HOST:PORT entries, not '127.0.0.1'"),
        (["--bn", "h:70000"], "grape: --bn takes HOST:PORT entries, not 'h:70000'"),
        (["--bn", ":20002"], "grape: --bn takes HOST:PORT entries, not ':20002'"),
        (["--bn", "::1:20002"], "grape: --bn takes IPv4 addresses and host names, not '::1'"),
        (["--bn", "[::1]:20002"], "grape: --bn takes IPv4 addresses and host names, not '[::1]'"),
        (["-b", "a b"], "grape: --bind takes an address or a host name, not 'a b'"),
        (["stray"], "grape: unknown word 'stray' (try --help)"),
    ],
)
def test_a_wrong_value_is_refused_in_one_line_that_names_the_flag(words: list[str], line: str) -> None:
    assert refusal(*words) == line


@pytest.mark.parametrize("words", [["--dp"], ["--aph"], ["--foo", "bar"], ["--dht-port", "1"], ["-dp", "1"], ["-h"]])
def test_what_is_no_flag_or_lacks_its_value_is_refused_in_one_line(words: list[str]) -> None:
    assert refusal(*words).startswith("grape: ")


@pytest.mark.parametrize("words", [["--help"], ["help"], ["--dp", "1", "help"], ["help", "--bn"]])
def test_help_is_printed_with_every_flag(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        config(*words)
    assert not raised.value.code
    out = capsys.readouterr().out
    assert out.startswith("Usage: grape ")
    assert max(map(len, out.splitlines())) <= 80
    for _, spellings, _, _ in FLAGS:
        for spelling in spellings:
            assert spelling in out


def test_the_version_is_printed_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        config("--version")
    assert not raised.value.code
    assert capsys.readouterr().out == f"{grape.__version__}\n"


def test_the_process_ends_with_status_1_and_the_line_on_stderr() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "grape", "--dp", "70000"], capture_output=True, text=True, timeout=30, check=False
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (1, "", "grape: --dp takes 0 to 65535\n")


def test_the_plugin_names_this_module() -> None:
    from twisted.application.service import IServiceMaker

    makers: list[Any] = list(getPlugins(IServiceMaker))
    (maker,) = (maker for maker in makers if maker.tapname == "grape")
    assert maker.module == "grape.tap"
    assert maker.options is Options
    assert maker.makeService is makeService


def test_the_service_is_a_grape_of_these_options(monkeypatch: pytest.MonkeyPatch) -> None:
    reactor: Any = global_reactor
    # makeService gives the reactor another clock: only for its own process.
    monkeypatch.setattr(reactor, "seconds", reactor.seconds)
    options = Options()
    options.parseOptions(["--dp", "21001", "--aph", "31001", "-b", "127.0.0.1"])
    service = makeService(options)
    assert IService.providedBy(service)
    assert list(service) == [service.grape]
    assert isinstance(service.grape, Grape)
    assert service.grape.config == attrs.evolve(options.config, state="grape-21001.sqlite")
    assert list(service.grape) == [service.grape.node, service.grape.http]
    assert not service.running


@pytest.mark.parametrize(
    ("flags", "folder", "file"),
    [
        ([], None, "grape-20001.sqlite"),
        (["--dp", "20007"], None, "grape-20007.sqlite"),
        (["--dp", "20007"], "/var/lib/grape", "/var/lib/grape/grape-20007.sqlite"),
        ([], "/var/lib/grape:/elsewhere", "/var/lib/grape/grape-20001.sqlite"),
        ([], ":/var/lib/grape:/elsewhere", "/var/lib/grape/grape-20001.sqlite"),
        ([], ":", "grape-20001.sqlite"),
        (["--state", "a.sqlite"], "/var/lib/grape", "a.sqlite"),
        (["--state", ":memory:"], "/var/lib/grape", None),
        (["--dp", "0"], "/var/lib/grape", None),
        (["--dp", "0", "--state", "a.sqlite"], None, "a.sqlite"),
    ],
)
def test_where_state_is_kept(
    monkeypatch: pytest.MonkeyPatch, flags: list[str], folder: str | None, file: str | None
) -> None:
    reactor: Any = global_reactor
    monkeypatch.setattr(reactor, "seconds", reactor.seconds)
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    if folder is not None:
        monkeypatch.setenv("STATE_DIRECTORY", folder)
    options = Options()
    options.parseOptions(flags)
    assert makeService(options).grape.config.state_file == file


def test_a_taken_port_ends_the_process_with_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    network = MemoryNetwork()
    Remote(network, "10.0.0.1")
    daemon = Daemon(Config(api_port=None), network.reactor("10.0.0.1"))
    for start in (daemon.privilegedStartService, daemon.startService):
        with pytest.raises(SystemExit) as raised:
            start()
        assert raised.value.code == 69
        assert isinstance(raised.value.__cause__, CannotListenError)
        err = capsys.readouterr().err
        assert err.startswith("grape: cannot listen on UDP port 20001 of 10.0.0.1: ")
        assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({}, ["DHT udp 0.0.0.0:20001, API http://127.0.0.1:30001, alone; try: curl -d "]),
        ({"host": "10.0.0.1"}, ["DHT udp 10.0.0.1:20001, API http://10.0.0.1:30001, alone"]),
        ({"api_bind": "::1", "dht_bootstrap": "a:1,b:2"}, ["API http://[::1]:30001, 2 bootstrap nodes"]),
    ],
)
def test_the_first_line_says_where_the_grape_listens(settings: dict[str, Any], parts: list[str]) -> None:
    daemon = Daemon(Config(**settings), MemoryNetwork().reactor("10.0.0.1"))
    line = daemon.first_line()
    assert line.startswith(f"grape {grape.__version__}, ")
    for part in parts:
        assert part in line
