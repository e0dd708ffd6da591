"""grape.settings.places: settings of four places, and the errors that name them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from grape.config import Config
from grape.settings.declaration import settings_of
from grape.settings.places import BadConfig, Gathered, Source, build, gather

VARIABLES = [setting.variable for setting in settings_of(Config)]


def problems(*words: str, **environment: str) -> list[str]:
    """Returns the problems of a command line and an environment."""
    return gather(Config, words, environment).problems


def warnings(**environment: str) -> list[str]:
    """Returns the warnings of an environment, which has no problem."""
    gathered = gather(Config, [], environment)
    assert not gathered.problems
    return gathered.warnings


def made(*words: str, **environment: str) -> Config:
    """Returns what all places say."""
    return build(Config, gather(Config, words, environment))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file that sets two ports and a limit."""
    path = tmp_path / "grape.toml"
    path.write_text("dht_port = 3\napi_port = 30\nmax_keys = 300\n")
    return path


def test_flags_go_before_variables_before_the_file_before_the_default(file: Path) -> None:
    words = ["--dp", "1", "--config", str(file)]
    environment = {"GRAPE_DHT_PORT": "2", "GRAPE_API_PORT": "20", "GRAPE_MAX_CALLS": "2000"}
    gathered = gather(Config, words, environment)
    config = build(Config, gathered)
    assert (config.dht_port, config.api_port, config.max_calls, config.max_keys) == (1, 20, 2000, 300)
    assert config.max_queries_per_lookup == Config().max_queries_per_lookup
    assert gathered.places["dht_port"] == ("--dp", "GRAPE_DHT_PORT", f"{file}:1: dht_port")
    assert gathered.places["api_port"] == ("GRAPE_API_PORT", f"{file}:2: api_port")
    assert gathered.places["max_keys"] == (f"{file}:3: max_keys",)
    assert "max_strangers" not in gathered.places


def test_file_is_named_by_the_flag_before_the_variable(file: Path, tmp_path: Path) -> None:
    assert made(GRAPE_CONFIG=str(file)).dht_port == 3
    other = tmp_path / "other.toml"
    other.write_text("dht_port = 4")
    assert made("--config", str(other), GRAPE_CONFIG=str(file)).dht_port == 4


def test_lists_of_one_place_replace_those_of_another(file: Path) -> None:
    file.write_text('dht_bootstrap = ["a:1"]\nallow_host = "a, b"\n')
    environment = {"GRAPE_DHT_BOOTSTRAP": "b:2,c:3", "GRAPE_CONFIG": str(file)}
    assert made("--bn", "d:4", **environment).dht_bootstrap == (("d", 4),)
    assert made("--bn", "", **environment).dht_bootstrap == (("b", 2), ("c", 3))
    assert made("--no-bn", **environment).dht_bootstrap == ()
    assert made(**environment).allow_host == ("a", "b")


def test_variables_are_in_the_users_unit() -> None:
    config = made(GRAPE_DHT_PEER_MAX_AGE="120000", GRAPE_READ_ONLY="true", GRAPE_LOG_LEVEL="warn,grape.krpc=DEBUG")
    assert (config.dht_peer_max_age, config.read_only) == (120.0, True)
    assert config.log_level == ("warn", "grape.krpc=debug")


def test_variable_that_is_empty_counts_as_not_set() -> None:
    assert made(**dict.fromkeys(VARIABLES, "")) == Config()


def test_every_problem_of_every_place_is_named_at_once(file: Path) -> None:
    file.write_text('# mine\ndht_port = "x"\n\nmax-calls = 0\n')
    assert problems("--aph", "y", "--config", str(file), GRAPE_MAX_KEYS="z") == [
        "--aph takes a whole number from 0 to 65535, not 'y'",
        "GRAPE_MAX_KEYS takes a whole number from 1 to 10000000, not 'z'",
        f"{file}:2: dht_port takes a whole number from 0 to 65535, not 'x'",
        f"{file}:4: max-calls takes a whole number from 1 to 1000000, not 0",
    ]


def test_problems_are_one_error() -> None:
    with pytest.raises(BadConfig) as raised:
        made("--dp", "x", GRAPE_API_PORT="y")
    assert [problem.partition(" ")[0] for problem in raised.value.problems] == ["--dp", "GRAPE_API_PORT"]


def test_problem_of_values_that_do_not_go_together_names_the_place() -> None:
    gathered = Gathered({"dht_port": -1}, {"dht_port": ("GRAPE_DHT_PORT",)}, [], [], [])
    with pytest.raises(BadConfig) as raised:
        build(Config, gathered)
    assert raised.value.problems == ("GRAPE_DHT_PORT takes a whole number from 0 to 65535, not -1",)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("GRAPE_DHTPORT", "; did you mean GRAPE_DHT_PORT?"),
        ("GRAPE_DP", "; did you mean GRAPE_DHT_PORT?"),
        ("GRAPE_APH", "; did you mean GRAPE_API_PORT?"),
        ("GRAPE_B", "; did you mean GRAPE_HOST?"),
        ("GRAPE_ZEBRA", " (grape config example lists them)"),
        ("GRAPE_", " (grape config example lists them)"),
    ],
)
def test_unknown_variable_is_a_warning_with_the_nearest_one(name: str, hint: str) -> None:
    assert warnings(**{name: "1"}) == [f"{name} is ignored: no setting has this variable{hint}"]


def test_variables_of_others_are_no_warning() -> None:
    assert warnings(GRAPE_URL="http://127.0.0.1:30001", GRAPE_COMPILE="1", GRAPES="1", HOME="/") == []


def test_what_kubernetes_sets_for_services_is_ignored_with_one_warning() -> None:
    environment = {
        "GRAPE_SERVICE_HOST": "10.0.0.1",
        "GRAPE_SERVICE_PORT": "30001",
        "GRAPE_SERVICE_PORT_HTTP": "30001",
        "GRAPE_PORT": "tcp://10.0.0.1:30001",
        "GRAPE_PORT_30001_TCP": "tcp://10.0.0.1:30001",
        "GRAPE_PORT_30001_TCP_PROTO": "tcp",
        "GRAPE_PORT_30001_TCP_PORT": "30001",
        "GRAPE_PORT_30001_TCP_ADDR": "10.0.0.1",
        "GRAPE_API_PORT": "tcp://10.0.0.2:30001",
        "GRAPE_DHT_PORT": "udp://10.0.0.3:20001",
        "GRAPE_DHT_PORT_20001_UDP": "udp://10.0.0.3:20001",
    }
    (line,) = warnings(**environment)
    assert line == (
        "GRAPE_API_PORT, GRAPE_DHT_PORT, GRAPE_DHT_PORT_20001_UDP and 8 more are ignored: set by Kubernetes or Docker "
        "for a service of that name (enableServiceLinks: false in the pod keeps them away)"
    )
    assert made(**environment) == Config()


def test_url_in_another_variable_is_a_problem() -> None:
    assert problems(GRAPE_DHT_BOOTSTRAP="tcp://10.0.0.1:1") == [
        "GRAPE_DHT_BOOTSTRAP takes IPv4 addresses and host names, not 'tcp://10.0.0.1'"
    ]


def test_source_reads_the_file_again_wherever_the_process_is(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    environment = {"GRAPE_MAX_CALLS": "5"}
    source = Source(Config, ["--config", file.name], environment)
    environment["GRAPE_MAX_CALLS"] = "6"
    os.chdir("/")
    file.write_text("dht_port = 9\n")
    config = build(Config, source.read())
    assert (config.dht_port, config.max_calls) == (9, 5)


# No variable can hold a NUL.
@given(st.dictionaries(st.sampled_from(VARIABLES), st.text(max_size=200).filter(lambda text: "\0" not in text)))
@example({"GRAPE_DHT_PORT": "9" * 5000})
@example({"GRAPE_DHT_BOOTSTRAP": "h:" + "9" * 5000})
@example({"GRAPE_CONFIG": "/" * 5000})
@example({"GRAPE_CONFIG": "a\nb"})
@example({"GRAPE_HOST": "\udcff"})
@example({"GRAPE_DHT_PEER_MAX_AGE": "1e999"})
def test_any_text_in_a_variable_gives_a_value_or_an_error_of_one_line(environment: dict[str, str]) -> None:
    said: tuple[str, ...] = ()
    try:
        build(Config, gather(Config, [], environment))
    except BadConfig as error:
        said = error.problems
    for problem in said:
        assert any(name in problem for name in environment)
        assert "\n" not in problem
