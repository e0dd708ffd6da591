"""Settings of all four places, reload by SIGHUP under load, and the log, under grape, twistd and twist."""

from __future__ import annotations

import json
import re
import signal
from functools import partial
from pathlib import Path
from threading import Event, Thread

import pytest

from gauntlet.client import Client
from tests.live.conftest import Start, StartGrape
from tests.live.processes import COMMANDS, HOST, Api, Process, new_api

every_command = pytest.mark.parametrize("command", COMMANDS)
RELOADS = 20


class Load(Thread):
    """A client that announces and looks up without a pause until it is stopped; it notes what went wrong."""

    def __init__(self, api: Api) -> None:
        super().__init__(daemon=True)
        self._api = api
        self._over = Event()
        self.calls = 0
        self.failed: list[object] = []

    def run(self) -> None:
        """Makes calls on one connection."""
        with Client(self._api.api_port) as client:
            while not self._over.is_set():
                try:
                    client.call("announce", ["loaded", 7])
                    found = client.call("lookup", "loaded")
                except Exception as error:
                    self.failed.append(error)
                    return
                if found != [f"{HOST}:7"]:
                    self.failed.append(found)
                self.calls += 2

    def end(self) -> None:
        """Stops it, and waits for its end."""
        self._over.set()
        self.join(10)


def text_of(process: Process) -> str:
    """Returns the log: twistd and twist log to stdout."""
    return process.output


def is_said(process: Process, text: str) -> bool:
    """Returns True if a text is in the log."""
    return text in text_of(process)


@every_command
def test_reload_under_load_fails_no_call(grape_process: StartGrape, directory: Path, command: str) -> None:
    file = directory / "grape.toml"
    file.write_text("max_keys = 100\n")
    grape = grape_process("--config", file.name, command=command)
    loads = [Load(grape.api) for _ in range(4)]
    for load in loads:
        load.start()
    for number in range(RELOADS):
        file.write_text(f"max_keys = {200 + number}\nmax_calls = {100 + number}\nallow_host = ['host{number}']\n")
        grape.process.signal(signal.SIGHUP)
        said = f"to {200 + number}"
        grape.process.wait_for("the reload", partial(is_said, grape.process, said))
    for load in loads:
        load.end()
    assert [load.failed for load in loads] == [[]] * 4
    assert min(load.calls for load in loads) > RELOADS
    assert text_of(grape.process).count("SIGHUP: changed") == RELOADS


@every_command
def test_bad_file_changes_nothing_and_the_next_good_one_is_taken(
    grape_process: StartGrape, directory: Path, command: str
) -> None:
    file = directory / "grape.toml"
    file.write_text("max_calls = 100\n")
    grape = grape_process("--config", file.name, command=command)
    file.write_text("max_calls = 0\ndht_port = 5\nnonsense = 1\n")
    grape.process.signal(signal.SIGHUP)
    grape.process.wait_for("the errors", lambda: "wrong settings; nothing is changed" in text_of(grape.process))
    assert "grape.toml:1: max_calls takes a whole number from 1 to 1000000, not 0\n" in text_of(grape.process)
    assert "grape.toml:3: nonsense is no setting" in text_of(grape.process)
    file.write_text("max_calls = 50\nprofile = 'public'\n")
    grape.process.signal(signal.SIGHUP)
    grape.process.wait_for("the change", lambda: "changed max_calls from 100 to 50" in text_of(grape.process))
    grape.process.wait_for(
        "the rest", lambda: "takes a restart: profile from private to public" in text_of(grape.process)
    )
    assert grape.call("announce", ["a", 1]) == 1


def test_log_level_is_changed_by_a_reload(grape_process: StartGrape, directory: Path) -> None:
    file = directory / "grape.toml"
    file.write_text("log_announces = true\nlog_level = 'warn'\n")
    first = grape_process()
    grape = grape_process("--config", file.name, "--bn", first.api.node)
    assert first.call("announce", ["quiet", 1]) == 1
    assert "joined through" not in grape.process.output
    file.write_text("log_announces = true\nlog_level = 'info'\n")
    grape.process.signal(signal.SIGHUP)
    grape.process.wait_for("the change", lambda: "log_level from warn to info" in grape.process.stderr)
    assert grape.call("announce", ["loud", 1]) == 1
    line = "announce of 'loud': port 1, by HTTP client 127.0.0.1"
    grape.process.wait_for("the line", lambda: line in grape.process.stderr)


@every_command
@pytest.mark.parametrize("form", ["text", "json"])
def test_log_has_the_same_form_under_every_command(grape_process: StartGrape, command: str, form: str) -> None:
    grape = grape_process(command=command, environment={"GRAPE_LOG_FORMAT": form})
    for _ in range(3):
        grape.process.signal(signal.SIGUSR2)
    grape.process.wait_for("the counters", lambda: "SIGUSR2" in text_of(grape.process))
    grape.end()
    lines = text_of(grape.process).splitlines()
    if form == "text":
        assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} \[info\] ", line) for line in lines)
    else:
        found = [json.loads(line) for line in lines]
        assert all({"time", "level", "logger", "message"} <= set(line) for line in found)
        assert {line["logger"] for line in found if line["logger"].startswith("grape")} == {"grape.daemon"}
    assert sum("HTTP API listening on" in line for line in lines) == 1


@pytest.mark.parametrize(
    ("options", "file"),
    [
        (["twistd", "-n", "--pidfile=", "-l", "my.log"], "my.log"),
        (["twist", "--log-file=my.log"], "my.log"),
    ],
)
def test_log_goes_where_twistd_and_twist_are_told(start: Start, directory: Path, options: list[str], file: str) -> None:
    api = new_api()
    command = [str(Path(COMMANDS["grape"][0]).parent / options[0]), *options[1:], "grape"]
    process = start([*command, "--dp", str(api.dht_port), "--aph", str(api.api_port), "-b", HOST])
    process.wait_for("an answer", api.answers)
    assert "HTTP API listening on" in (directory / file).read_text()
    assert "HTTP API listening on" not in process.output
    process.signal(signal.SIGTERM)
    process.ended()


@every_command
def test_wrong_settings_of_all_places_end_with_status_78(start: Start, directory: Path, command: str) -> None:
    (directory / "grape.toml").write_text("max_keys = 0\n")
    process = start([*COMMANDS[command], "--aph", "x", "--config", "grape.toml"], {"GRAPE_DHT_PORT": "y"})
    assert process.ended() == 78
    assert process.stdout == ""
    assert process.stderr.splitlines() == [
        "grape: --aph takes a whole number from 0 to 65535, not 'x'",
        "grape: GRAPE_DHT_PORT takes a whole number from 0 to 65535, not 'y'",
        "grape: grape.toml:1: max_keys takes a whole number from 1 to 10000000, not 0",
    ]


@every_command
def test_variables_of_kubernetes_are_one_warning(grape_process: StartGrape, command: str) -> None:
    environment = {"GRAPE_SERVICE_HOST": "10.0.0.1", "GRAPE_API_PORT": "tcp://10.0.0.1:30001", "GRAPE_PROT": "1"}
    grape = grape_process(command=command, environment=environment)
    warnings = [line for line in text_of(grape.process).splitlines() if "[warn]" in line]
    assert len(warnings) == 2
    assert "GRAPE_API_PORT, GRAPE_SERVICE_HOST are ignored: set by Kubernetes" in text_of(grape.process)
