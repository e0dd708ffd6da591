"""grape.cli.config: the command's output and exit statuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from grape.cli.config import main
from grape.config import Config
from grape.settings.declaration import settings_of


class Ran:
    """What a command printed, and its status."""

    def __init__(self, capsys: pytest.CaptureFixture[str], words: list[str], environment: dict[str, str]) -> None:
        capsys.readouterr()
        self.status = main(words, environment)
        self.out, self.err = capsys.readouterr()


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    """A file with three errors."""
    path = tmp_path / "bad.toml"
    path.write_text("dht_port = 70000\nmax_key = 1\ndurability = 'some'\n")
    return path


def test_check_prints_a_line_for_each_error(bad: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, ["check", "--config", str(bad)], {})
    assert (ran.status, ran.out) == (78, "")
    assert ran.err.splitlines() == [
        f"grape: {bad}:1: dht_port takes a whole number from 0 to 65535, not 70000",
        f"grape: {bad}:2: max_key is no setting; did you mean max_keys?",
        f"grape: {bad}:3: durability takes full or normal, not 'some'",
    ]


def test_check_reports_all_places_at_once(bad: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, ["check", "--aph", "x", "stray"], {"GRAPE_CONFIG": str(bad), "GRAPE_MAX_CALLS": "y"})
    assert (ran.status, ran.err.count("\n")) == (78, 6)


def test_check_of_good_settings_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, ["check", "--dp", "1"], {"GRAPE_MAX_KEYS": "5"})
    assert (ran.status, ran.out, ran.err) == (0, "well: 2 settings are not the default\n", "")
    assert Ran(capsys, ["check"], {}).out == "well: no settings are not the default\n"


def test_check_prints_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, ["check"], {"GRAPE_DPH": "1", "GRAPE_PORT": "tcp://10.0.0.1:1"})
    assert (ran.status, ran.err.count("\n")) == (0, 2)


def test_check_accepts_the_example(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "grape.toml"
    path.write_text(Ran(capsys, ["example"], {}).out)
    assert Ran(capsys, ["check", "--config", str(path)], {}).status == 0


def test_show_says_of_each_value_where_it_comes_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "grape.toml"
    path.write_text("dht_port = 3\napi_port = 3\nmax_keys = 3\n")
    environment = {"GRAPE_CONFIG": str(path), "GRAPE_DHT_PORT": "2", "GRAPE_API_PORT": "2"}
    ran = Ran(capsys, ["show", "--dp", "1"], environment)
    assert (ran.status, ran.err) == (0, "")
    shown = {line.split()[0]: line.split(maxsplit=2)[1:] for line in ran.out.splitlines()}
    assert list(shown) == [setting.name for setting in settings_of(Config)]
    assert shown["dht_port"] == ["1", f"flag --dp, over GRAPE_DHT_PORT and {path}:1: dht_port"]
    assert shown["api_port"] == ["2", f"GRAPE_API_PORT, over {path}:2: api_port"]
    assert shown["max_keys"] == ["3", f"{path}:3: max_keys"]
    assert shown["max_calls"] == ["1024", "default"]


def test_show_prints_json_in_the_users_units(capsys: pytest.CaptureFixture[str]) -> None:
    environment = {"GRAPE_DHT_PEER_MAX_AGE": "70", "GRAPE_ALLOW_HOST": "a,b", "GRAPE_DHT_BOOTSTRAP": "c:1"}
    ran = Ran(capsys, ["show", "--dp", "1", "--json"], environment | {"GRAPE_DHT_PORT": "2"})
    found = json.loads(ran.out)
    assert found["dht_port"] == {"value": 1, "from": "flag --dp", "over": ["GRAPE_DHT_PORT"]}
    assert found["dht_peer_max_age"] == {"value": 70, "from": "GRAPE_DHT_PEER_MAX_AGE", "over": []}
    assert found["allow_host"]["value"] == ["a", "b"]
    assert found["dht_bootstrap"]["value"] == ["c:1"]
    assert found["state"] == {"value": None, "from": "default", "over": []}


def test_show_of_wrong_settings_prints_the_errors(bad: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, ["show", "--config", str(bad)], {})
    assert (ran.status, ran.out, ran.err.count("\n")) == (78, "", 3)


@pytest.mark.parametrize("words", [[], ["--help"], ["check", "-h"]])
def test_help_is_printed(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, words, {})
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.startswith("usage: grape config ")
    assert max(map(len, ran.out.splitlines())) <= 80


@pytest.mark.parametrize("words", [["chekc"], ["example", "x"]])
def test_usage_errors_have_status_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, words, {})
    assert (ran.status, ran.out, ran.err.count("\n")) == (2, "", 1)


def test_command_loads_no_twisted_and_says_that_stdout_is_full(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        ran = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "grape", "config", "example"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=30,
            check=False,
            env={**os.environ},
        )
    assert ran.returncode == 74
    assert "grape: output: No space left on device\n" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert "twisted" not in ran.stderr
