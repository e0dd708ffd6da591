"""grape.settings.file: settings in TOML."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from grape.config import Config
from grape.settings import file as module
from grape.settings.declaration import settings_of
from grape.settings.file import read_file, read_text
from grape.settings.places import BadConfig, Gathered, Read, build

NAMES = [setting.name for setting in settings_of(Config)]
BAD_TEXT = [
    ("dht_port =", "grape.toml:1: invalid value"),
    ("a = 1\na = 2", "grape.toml:2: cannot overwrite a value"),
    ("max_keys = 1\n= 2", "grape.toml:2: invalid statement (column 1)"),
    ("limits = {a = 1", "grape.toml:1: "),
    ("a = " + "9" * 5000, "grape.toml: exceeds the limit"),
    ("a = " + "[" * 100_000, "grape.toml"),
    ('a = "\ud800"', "grape.toml"),
]


def read(text: str) -> Read:
    """Returns the settings of a text."""
    found = Read()
    read_text(Config, text, "grape.toml", found)
    return found


def made(text: str) -> Config:
    """Returns what a text says."""
    found = read(text)
    return build(Config, Gathered(found.values, {}, [], found.problems, []))


def test_keys_are_the_fields_with_either_dash() -> None:
    expected = Config(dht_port=20_007, max_keys=5, dht_peer_max_age=1.5, read_only=True)
    assert made("dht_port = 0x4e27\nmax_keys = 5\ndht_peer_max_age = 1500\nread_only = true") == expected
    assert made('dht-port = 20_007\n"max-keys" = 5\ndht-peer-max-age = 1500.0\nread-only = true') == expected


@pytest.mark.parametrize("text", ['["a:1", "b:2"]', '"a:1, b:2"', '[["a", 1], ["b", 2]]', '["a:1", "b:2", "a:1"]'])
def test_lists_are_arrays_or_texts_with_commas(text: str) -> None:
    assert made(f"dht_bootstrap = {text}").dht_bootstrap == (("a", 1), ("b", 2))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("dhtport = 1", "grape.toml:1: dhtport is no setting; did you mean dht_port?"),
        ("\n\ndp = 1", "grape.toml:3: dp is no setting; did you mean dht_port?"),
        ("dht_peer_maxAge = 1", "grape.toml:1: dht_peer_maxAge is no setting; did you mean dht_peer_max_age?"),
        ("zebra = 1", "grape.toml:1: zebra is no setting (grape config example lists them)"),
        ("[limits]\nmax_keys = 1", "grape.toml:1: limits is a table; the keys stand without one"),
        ("[[x]]", "grape.toml:1: x is no setting (grape config example lists them)"),
        ("a.b = 1", "grape.toml:1: a is a table; the keys stand without one"),
        ("config = 'x'", "grape.toml:1: config cannot stand in the file itself"),
        ("max_keys = 1\nmax-keys = 1", "grape.toml:2: max-keys stands twice, with _ and with -"),
        ('"a\\nb" = 1', r"grape.toml: 'a\nb' is no setting (grape config example lists them)"),
        ("'' = 1", "grape.toml:1: '' is no setting (grape config example lists them)"),
        ("max_keys = true", "grape.toml:1: max_keys takes a whole number from 1 to 10000000, not True"),
        ("read_only = 1", "grape.toml:1: read_only takes True or False, not 1"),
        ("dht_port = 1979-05-27", "grape.toml:1: dht_port takes a whole number from 0 to 65535, not datetime."),
        ("allow_host = 5", "grape.toml:1: allow_host takes host names and addresses without a port, not 5"),
        ("allow_host = [{}]", "grape.toml:1: allow_host takes host names and addresses without a port, not {}"),
        ("log_level = 'loud'", "grape.toml:1: log_level takes debug, info, warn, error or critical, or LOGGER=LEVEL"),
        ("dnl.x = 1", "grape.toml:1: dnl is a table; the keys stand without one"),
        ("dht_bootstrap = [['h', 0x" + "f" * 5000 + "]]", "grape.toml:1: dht_bootstrap takes HOST:PORT entries, not "),
    ],
)
def test_wrong_key_or_value_is_named_with_its_line(text: str, problem: str) -> None:
    (found,) = read(text).problems
    assert found.startswith(problem)


def test_each_wrong_key_is_a_line() -> None:
    assert len(read("dht_port = 'x'\nmax_keys = 0\nfoo = 1\napi_port = 30001\n").problems) == 3


@pytest.mark.parametrize(("text", "problem"), BAD_TEXT, ids=range(len(BAD_TEXT)))
def test_text_that_is_no_toml_is_one_line(text: str, problem: str) -> None:
    (found,) = read(text).problems
    assert found.startswith(problem)
    assert "\n" not in found


def test_file_is_read_as_editors_write_it(tmp_path: Path) -> None:
    path = tmp_path / "grape.toml"
    path.write_bytes(b"\xef\xbb\xbfdht_port = 5\r\nmax_keys = 6\r\n")
    assert read_file(Config, "x", str(path), "--config").values == {"dht_port": 5, "max_keys": 6}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"a = 1\nb = '\xff'", "grape.toml:2: is not UTF-8"),
        (b"#" * 2_000_000, "--config grape.toml: has more than 1048576 bytes"),
        (None, "--config grape.toml: No such file or directory"),
    ],
)
def test_file_that_cannot_be_used_is_named_by_its_flag(tmp_path: Path, content: bytes | None, problem: str) -> None:
    path = tmp_path / "grape.toml"
    if content is not None:
        path.write_bytes(content)
    assert read_file(Config, "grape.toml", str(path), "--config").problems == [problem]


@pytest.mark.parametrize("path", ["/", "/dev/null/x", "a\0b"])
def test_path_of_no_file_is_one_problem(path: str) -> None:
    assert len(read_file(Config, path, path, "--config").problems) == 1


def test_example_is_accepted_as_it_is_and_with_every_setting() -> None:
    text = module.example(Config)
    assert tomllib.loads(text) == {}
    everything = re.sub(r"(?m)^#(?=\w+ = )", "", text)
    assert [*tomllib.loads(everything)] == [name for name in NAMES if name != "config"]
    assert read(everything).problems == []
    made(everything)


def test_example_has_the_defaults_and_says_what_can_be_reloaded() -> None:
    text = module.example(Config)
    everything: dict[str, Any] = tomllib.loads(re.sub(r"(?m)^#(?=\w+ = )", "", text))
    for setting in settings_of(Config):
        if setting.default not in (None, ()):
            assert everything[setting.name] == setting.kind.plain(setting.default)
    assert "# names under which peers are stored (r)\n#max_keys = 10000\n" in text
    assert max(map(len, text.splitlines())) <= 120


PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=50)
LINES = st.builds("{} = {}".format, st.sampled_from(NAMES), st.text(max_size=80) | PLAIN.map(repr))


@given(st.lists(LINES, max_size=3).map("\n".join) | st.text(max_size=200))
@example("host = '''\n")
@example('a = "\\ud800"')
def test_any_text_gives_values_or_problems_of_one_line(text: str) -> None:
    found = read(text)
    said: tuple[str, ...] = ()
    try:
        build(Config, Gathered(found.values, {}, [], found.problems, []))
    except BadConfig as error:
        said = error.problems
    assert all("\n" not in problem and problem.startswith("grape.toml") for problem in said)
