"""grape.tap: the command line and the composition root."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import attrs
import pytest
from twisted.application.service import IService
from twisted.internet import reactor as global_reactor
from twisted.plugin import getPlugins
from twisted.python.usage import Options as UsageOptions

import grape
from grape import Config, Grape
from grape.cli.run import COMMANDS
from grape.config import DURABILITIES
from grape.node.status import own_build
from grape.settings.declaration import Setting, declare, settings_of
from grape.settings.kinds import Whole
from grape.tap import Options, makeService

# A flag as the Node grape's documentation has it, a text, the setting and its value.
FLAGS: list[tuple[list[str], str, str, object]] = [
    (["--dp", "--dht_port"], "20007", "dht_port", 20_007),
    (["--dp", "--dht_port"], "0x52d1", "dht_port", 21_201),
    (["--aph", "--api_port", "--api_port_http"], "30007", "api_port", 30_007),
    (["--aph", "--api_port", "--api_port_http"], "0", "api_port", 0),
    (["--bn", "--bootstrap"], "a:1,b:020001", "dht_bootstrap", (("a", 1), ("b", 20_001))),
    (["-b", "--b", "--bind"], "127.0.0.1", "host", "127.0.0.1"),
    (["--dc", "--dht_concurrency"], "8", "dht_concurrency", 8),
    (["--dht_maxTables"], "0x10", "dht_max_tables", 16),
    (["--dht_maxValues"], "77", "dht_max_values", 77),
    (["--dht_peer_maxAge", "--dpa"], "120000", "dht_peer_max_age", 120.0),
    (["--dht_peer_maxAge", "--dpa"], "0", "dht_peer_max_age", 0.0),
    (["--cache_maxAge"], "1500", "cache_max_age", 1.5),
    (["--dnl", "--dht_nodeLiveness"], "60000", "dht_node_liveness", 60.0),
    (["--check_maxPayloadSize"], "100", "check_max_payload_size", 100),
    (["--timeslot"], "30000", "timeslot", 30.0),
    (["--state"], "/var/lib/grape.sqlite", "state", "/var/lib/grape.sqlite"),
    (["--state"], ":memory:", "state", ":memory:"),
    (["--durability"], "normal", "durability", DURABILITIES[1]),
    (["--allow-origin"], "https://a.example", "allow_origin", ("https://a.example",)),
    (["--api-bind"], "::1", "api_bind", "::1"),
    (["--api-bind"], "[fd00::2]", "api_bind", "fd00::2"),
    (["--advertise"], "10.13.0.50", "advertise", "10.13.0.50"),
    (["--advertise"], "outside.example:020001", "advertise", "outside.example:20001"),
    (["--max-peers-per-announcer"], "5", "max_peers_per_announcer", 5),
]
SPELLED = [
    pytest.param(name, words, value, id=" ".join(words))
    for spellings, text, name, value in FLAGS
    for spelling in spellings
    for words in ([spelling, text], [f"{spelling}={text}"])
]


@attrs.frozen(kw_only=True)
class WithOneMore(Config):
    """The declaration of a grape with one more setting."""

    max_retries: int = declare(7, Setting(Whole(1, 100), "repetitions of a query"))


class MoreOptions(Options):
    """The flags of that declaration."""

    declaration = WithOneMore


def config(*words: str) -> Config:
    """Returns what a command line says."""
    options = Options()
    options.parseOptions(words)
    return options.config


def refusal(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Returns the line on stderr that a wrong command line ends with."""
    with pytest.raises(SystemExit) as raised:
        config(*words)
    assert raised.value.code == 78
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err.rstrip("\n")


def help_of(options: Options, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Returns the help that options print."""
    with pytest.raises(SystemExit) as raised:
        options.parseOptions(words)
    assert not raised.value.code
    return capsys.readouterr().out


def test_options_without_flags_are_the_defaults() -> None:
    assert config() == Config(dht_port=20_001, api_port=30_001)


@pytest.mark.parametrize(("name", "words", "value"), SPELLED)
def test_options_understand_every_spelling_of_the_node_grape(name: str, words: list[str], value: object) -> None:
    settings: dict[str, Any] = {name: value}
    assert config(*words) == Config(**settings)


def test_options_understand_the_readmes_command_in_any_order() -> None:
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
def test_options_take_bare_flags_and_no_bn_as_not_given(words: list[str]) -> None:
    assert config(*words) == Config()


def test_options_join_lists_that_are_given_twice() -> None:
    assert config("--bn", "a:1", "--bootstrap=b:2", "--bn", "a:1").dht_bootstrap == (("a", 1), ("b", 2))
    assert config("--allow-host", "a", "--allow-host=b").allow_host == ("a", "b")


def test_options_take_the_last_of_other_flags_that_are_given_twice() -> None:
    assert config("--dp", "1", "--dht_port", "2").dht_port == 2


def test_options_take_switches_without_a_value() -> None:
    assert config("--read-only") == config("--read-only=true") == Config(read_only=True)
    assert config("--read-only=false") == Config()


def test_options_of_a_copy_of_the_declaration_have_the_setting_that_was_added(
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = MoreOptions()
    options.parseOptions(["--max-retries", "8", "--max-keys", "9"])
    assert options.config == WithOneMore(max_retries=8, max_keys=9)
    assert "--max-retries N" in help_of(MoreOptions(), capsys, "--help")
    assert "unknown flag --max-retries" in refusal(capsys, "--max-retries", "8")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--dp", "abc"], "--dp takes a whole number from 0 to 65535, not 'abc'"),
        (["--dht_port", "70000"], "--dht_port takes a whole number from 0 to 65535, not 70000"),
        (["--dp", "-1"], "--dp takes a whole number from 0 to 65535, not -1"),
        (["--dp", ""], "--dp takes a whole number from 0 to 65535, not ''"),
        (["--api_port_http=-1"], "--api_port_http takes a whole number from 0 to 65535, not -1"),
        (["--dpa", "-5"], "--dpa takes a number of milliseconds from 0 to 1000000000000, not -5"),
        (
            ["--dht_peer_maxAge", "inf"],
            "--dht_peer_maxAge takes a number of milliseconds from 0 to 1000000000000, not inf",
        ),
        (["--dnl", "0"], "--dnl takes a number of milliseconds from 100 to 1000000000000, not 0"),
        (
            ["--max-item-bytes", "9"],
            "--max-item-bytes takes a whole number of bytes from 1000000 to 1099511627776, not 9",
        ),
        (["--durability", "some"], "--durability takes full or normal, not 'some'"),
        (["--state", ""], "--state takes a file, not ''"),
        (["--bn", "127.0.0.1"], "--bn takes HOST:PORT entries, not '127.0.0.1'"),
        (["--bootstrap", "h:0"], "--bootstrap takes HOST:PORT entries, not 'h:0'"),
        (["--bn", "[fd00::1]:20002"], "--bn takes IPv4 addresses and host names, not '[fd00::1]'"),
        (["-b", "a b"], "-b takes an IPv4 or IPv6 address or a host name, not 'a b'"),
        (["-b", "127.0.0.1:30001"], "-b takes an IPv4 or IPv6 address or a host name, not '127.0.0.1:30001'"),
        (
            ["--dht-bind", "[::]"],
            "--dht-bind takes an IPv4 address or a host name, not '[::]': the DHT speaks IPv4; "
            "0.0.0.0 is all addresses",
        ),
        *[
            (
                [*words],
                f"{words[0]} takes an IPv4 address or a host name, not 'fd00::2': the DHT speaks IPv4; "
                "use --api-bind fd00::2 for HTTP, and --dht-bind with an IPv4 address",
            )
            for words in (["-b", "fd00::2"], ["--bind", "[fd00::2]"], ["-b", "fd00::2", "--api-bind", "10.0.0.1"])
        ],
        (["--api-bind="], "--api-bind takes an IPv4 or IPv6 address or a host name, not ''"),
        (["--allow-host", "*"], "--allow-host takes host names and addresses without a port, not '*'"),
        (["--allow-host", "bad host!"], "--allow-host takes host names and addresses without a port, not 'bad host!'"),
        (
            ["--allow-origin", "app.example"],
            "--allow-origin takes origins such as https://app.example or http://10.0.0.1:8080, not 'app.example'",
        ),
        (
            ["--advertise", "[fd00::1]"],
            "--advertise takes HOST or HOST:PORT with an IPv4 address or a host name, not '[fd00::1]'",
        ),
        (["stray"], "unknown word 'stray' (try --help)"),
        (["--dp"], "--dp needs a value: --dp PORT"),
        (["--aph", "--bn"], "--aph needs a value: --aph PORT"),
        (["--max-cal", "5"], "unknown flag --max-cal; did you mean --max-calls?"),
        (["--dht-port", "1"], "unknown flag --dht-port; did you mean --dht_port?"),
        (["-dp", "1"], "unknown flag -dp; did you mean --dp?"),
        (["--foo", "bar"], "unknown flag --foo (try --help)"),
        (["--hlep"], "unknown flag --hlep; did you mean --help?"),
    ],
)
def test_options_refuse_a_wrong_command_line_in_one_line_that_names_the_flag(
    words: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refusal(capsys, *words) == f"grape: {line}"


@pytest.mark.parametrize(
    "words",
    [["--help"], ["-h"], ["help"], ["--dp", "1", "help"], ["help", "--bn"], ["--dp", "--help"], ["--foo", "-h"]],
)
@pytest.mark.parametrize(("given", "width"), [(None, 80), ("60", 60), ("200", 200), ("abc", 80), ("0", 80)])
def test_help_has_every_flag_and_fits_the_columns(
    words: list[str], given: str | None, width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    if given is not None:
        monkeypatch.setenv("COLUMNS", given)
    out = help_of(Options(), capsys, *words)
    assert out.startswith("Usage: grape ")
    assert max(map(len, out.splitlines())) <= width
    for setting in settings_of(Config):
        assert {*setting.spellings} <= {word.rstrip(",") for word in out.split()}


def test_help_fits_a_narrow_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for given in range(1, 40):
        monkeypatch.setenv("COLUMNS", str(given))
        out = help_of(Options(), capsys, "--help")
        longest = max(len(word) for word in out.split())
        assert max(map(len, out.splitlines())) <= max(given, longest + len("      "))


def test_help_begins_with_what_a_grape_is_and_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    beginning = " ".join(help_of(Options(), capsys, "--help").partition("Flags")[0].split())
    assert "a node of a Grenache network" in beginning
    assert "The HTTP API has no authentication and no TLS, and it listens on all addresses unless -b" in beginning


def test_mistyped_command_is_refused_with_the_nearest_one(capsys: pytest.CaptureFixture[str]) -> None:
    options = Options()
    options.commands = [(command.synopsis, command.help) for command in COMMANDS.values()]
    with pytest.raises(SystemExit) as raised:
        options.parseOptions(["confg"])
    assert raised.value.code == 78
    assert capsys.readouterr().err == "grape: unknown word 'confg'; did you mean grape config?\n"


def test_help_names_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "grape", "-h"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={**os.environ, "COLUMNS": "100"},
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert {*COMMANDS} == {"config", "state"}
    for command in COMMANDS.values():
        assert command.synopsis in ran.stdout
    assert "grape state check|dump|import|new-id FILE" in ran.stdout


def test_help_under_twistd_names_its_command(capsys: pytest.CaptureFixture[str]) -> None:
    options = Options()
    options.parent = UsageOptions()
    assert help_of(options, capsys, "--help").startswith("Usage: twist grape ")
    options.parent["nodaemon"] = 0
    out = help_of(options, capsys, "--help")
    assert out.startswith("Usage: twistd -n grape ")
    assert "grape --help" in out


@pytest.mark.parametrize("words", [["--version"], ["--dp", "1", "--version"]])
def test_version_is_printed_alone(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        config(*words)
    assert not raised.value.code
    build = " (compiled)" if own_build() == "compiled" else ""
    assert capsys.readouterr().out == f"{grape.__version__}{build}\n"


def test_options_say_every_problem_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        config("--dp", "x", "--foo", "bar", "--max-keys=0", "stray")
    assert capsys.readouterr().err.splitlines() == [
        "grape: --dp takes a whole number from 0 to 65535, not 'x'",
        "grape: unknown flag --foo (try --help)",
        "grape: --max-keys takes a whole number from 1 to 10000000, not 0",
        "grape: unknown word 'stray' (try --help)",
    ]


def test_command_ends_with_status_78_and_the_line_on_stderr() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "grape", "--dp", "70000"], capture_output=True, text=True, timeout=30, check=False
    )
    line = "grape: --dp takes a whole number from 0 to 65535, not 70000\n"
    assert (ran.returncode, ran.stdout, ran.stderr) == (78, "", line)


def test_plugin_names_this_module() -> None:
    from twisted.application.service import IServiceMaker

    makers: list[Any] = list(getPlugins(IServiceMaker))
    (maker,) = (maker for maker in makers if maker.tapname == "grape")
    assert maker.module == "grape.tap"
    assert maker.options is Options
    assert maker.makeService is makeService


def test_make_service_makes_a_grape_of_the_options(monkeypatch: pytest.MonkeyPatch) -> None:
    reactor: Any = global_reactor
    # makeService gives the reactor another clock: only for its own process.
    monkeypatch.setattr(reactor, "seconds", reactor.seconds)
    monkeypatch.setattr(reactor, "listenTCP", reactor.listenTCP)
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
def test_make_service_chooses_the_state_file(
    monkeypatch: pytest.MonkeyPatch, flags: list[str], folder: str | None, file: str | None
) -> None:
    reactor: Any = global_reactor
    monkeypatch.setattr(reactor, "seconds", reactor.seconds)
    monkeypatch.setattr(reactor, "listenTCP", reactor.listenTCP)
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    if folder is not None:
        monkeypatch.setenv("STATE_DIRECTORY", folder)
    options = Options()
    options.parseOptions(flags)
    assert makeService(options).grape.config.state_file == file
