"""What operators do to a live grape: signals, few descriptors, odd places for the state file; and what its log says."""

from __future__ import annotations

import os
import pty
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from tests.live.conftest import Start, StartGrape, StartRing
from tests.live.processes import COMMANDS, HOST, Api, GrapeProcess, new_api, until

# Signals


every_command = pytest.mark.parametrize("command", COMMANDS)


def ports_of(api: Api) -> list[str]:
    """Returns the flags of a grape at these ports."""
    return ["--dp", str(api.dht_port), "--aph", str(api.api_port), "-b", HOST]


@every_command
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2])
def test_signal_for_a_reload_or_a_look_ends_nothing(start: Start, number: signal.Signals, command: str) -> None:
    api = new_api()
    process = start([*COMMANDS[command], *ports_of(api)], stdin=subprocess.DEVNULL)
    process.wait_for("an answer", api.answers)
    assert api.call("announce", ["service", 1]) == 1
    for _ in range(2):
        process.signal(number)
        assert api.call("lookup", "service") == [f"{HOST}:1"]
    said = f"{number.name}: {'node_id=' if number == signal.SIGUSR2 else ''}"
    # The same line twice is written twice: each is an answer. twist writes JSON, which has it in two fields or one.
    process.wait_for("two answers", lambda: sum(said in line for line in process.output.splitlines()) == 2)
    if number == signal.SIGUSR2:
        assert " services=1 " in process.output
        assert " datagrams_in=0 " in process.output
    process.signal(signal.SIGTERM)
    process.ended()
    assert "Traceback" not in process.output


@every_command
def test_hup_ends_a_grape_on_a_terminal_cleanly(start: Start, command: str, directory: Path) -> None:
    leader, follower = pty.openpty()
    api = new_api()
    try:
        process = start([*COMMANDS[command], *ports_of(api)], stdin=follower)
        process.wait_for("an answer", api.answers)
        process.signal(signal.SIGHUP)
        process.signal(signal.SIGHUP)
        assert process.ended() == 0
    finally:
        os.close(leader)
        os.close(follower)
    assert "SIGHUP: stopping" in process.output
    assert "Traceback" not in process.output
    # SQLite removes its log when the file is closed.
    assert not (directory / f"grape-{api.dht_port}.sqlite-wal").exists()


@every_command
def test_signals_that_were_ignored_at_the_start_stay_ignored(start: Start, command: str) -> None:
    api = new_api()
    # As nohup, or a shell that starts something in the background.
    ignoring = ["sh", "-c", "trap '' HUP INT USR1 USR2; exec \"$@\"", "sh"]
    process = start([*ignoring, *COMMANDS[command], *ports_of(api)], stdin=subprocess.DEVNULL)
    process.wait_for("an answer", api.answers)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        process.signal(number)
    assert api.answers()
    assert "SIG" not in process.output
    process.signal(signal.SIGTERM)
    process.ended()


def test_signals_are_answered_by_a_daemon_of_twistd(start: Start, directory: Path) -> None:
    leader, follower = pty.openpty()
    api = new_api()
    log, pid = directory / "grape.log", directory / "grape.pid"
    daemon = [COMMANDS["twistd -n grape"][0], f"--logfile={log}", f"--pidfile={pid}", "grape", *ports_of(api)]
    try:
        # It was started on a terminal, but has none as a daemon.
        assert start(daemon, stdin=follower).ended() == 0
        number = int(pid.read_text())
        try:
            until("an answer", api.answers)
            for sent in (signal.SIGHUP, signal.SIGUSR2):
                os.kill(number, sent)
                until("it says so", partial(lambda name: f"{name}: " in log.read_text(), sent.name))
            os.kill(number, signal.SIGUSR1)
            until("twistd's own handler moves the log", (directory / "grape.log.1").exists)
            assert api.answers()
        finally:
            os.kill(number, signal.SIGTERM)
        until("it ends", lambda: not pid.exists())
    finally:
        os.close(leader)
        os.close(follower)
    assert "Received SIGTERM" in log.read_text()


def test_usr1_reopens_the_log_file_of_twist(start: Start, directory: Path) -> None:
    api = new_api()
    log, moved = directory / "grape.log", directory / "grape.log.1"
    twist = COMMANDS["twist grape"][0]
    process = start([twist, f"--log-file={log}", "--log-format=text", "grape", *ports_of(api)])
    process.wait_for("an answer", api.answers)
    log.rename(moved)
    process.signal(signal.SIGUSR1)
    process.wait_for("the new file", log.exists)
    process.signal(signal.SIGTERM)
    process.ended()
    assert "HTTP API listening on" in moved.read_text()
    assert f"SIGUSR1: log file {log} reopened" in log.read_text()
    assert " stopped: " in log.read_text()


# What the log says


def test_log_says_that_no_bootstrap_node_answers_and_when_one_does(grape_process: StartGrape) -> None:
    api = new_api()
    grape = grape_process("--bn", f"{api.node},{new_api().node}")
    until("it is said", lambda: f"none of 2 bootstrap nodes answers: {api.node}" in grape.process.stderr)
    grape_process(api=api)
    until("it joined", lambda: f"joined through {api.node}, 1 contact" in grape.process.stderr)
    assert grape.process.stderr.count("none of 2 bootstrap nodes") == 1
    assert grape.process.stderr.count("joined") == 1


@pytest.mark.parametrize("command", COMMANDS)
def test_log_says_that_a_grape_joined_whatever_starts_it(
    grape_process: StartGrape, pair: tuple[GrapeProcess, GrapeProcess], command: str
) -> None:
    grape = grape_process("--bn", pair[0].api.node, "--state", ":memory:", command=command)
    # twist logs as JSON, with the number of contacts as a field of its own.
    until("it joined", lambda: re.search("joined.* through .*2 contacts", grape.process.output))


def test_log_says_that_all_contacts_are_lost_and_that_the_ring_is_whole_again(
    grape_process: StartGrape, pair: tuple[GrapeProcess, GrapeProcess]
) -> None:
    first, second = pair
    until("it joined", lambda: f"joined through {first.api.node}, 1 contact" in second.process.stderr)
    first.end(signal.SIGKILL)
    for number in range(8):
        second.call("lookup", f"name {number}")
    until("it is lost", lambda: "all contacts lost; trying to join again" in second.process.stderr, 30)
    again = grape_process(api=first.api)
    until("it is back", lambda: f"joined again through {first.api.node}, 1 contact" in second.process.stderr, 30)
    assert second.process.stderr.count("all contacts lost") == 1
    assert again.process.status is None


def test_log_says_what_the_state_file_gave_back(
    grape_process: StartGrape, pair: tuple[GrapeProcess, GrapeProcess], directory: Path
) -> None:
    first, second = pair
    file = str(directory / "third.sqlite")
    third = grape_process("--bn", first.api.node, "--state", file)
    until("the ring is whole", lambda: first.call("announce", ["service", 7]) == 2)
    third.call("put", "value")
    assert "restored" not in third.process.stderr
    third.end()
    again = grape_process("--state", file, api=third.api)
    line = rf"restored from {re.escape(file)}: node id [0-9a-f]{{40}}, 2 contacts, \d+ services?, \d+ items?\n"
    assert re.search(line, again.process.stderr)
    assert "no bootstrap nodes; asking 2 contacts of the last run" in again.process.stderr
    until("it joined", lambda: re.search(r"joined through \S+, 2 contacts", again.process.stderr))
    assert second.process.status is None


@every_command
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_log_says_why_it_stops(grape_process: StartGrape, command: str, number: signal.Signals) -> None:
    grape = grape_process(command=command)
    grape.end(number)
    assert f"{number.name}: stopping" in grape.process.output or f"Received {number.name}" in grape.process.output


def test_log_lines_have_levels(grape_process: StartGrape) -> None:
    grape = grape_process("--bn", "no-such-host.invalid:20001")
    grape.process.wait_for("a warning", lambda: "[warn]" in grape.process.stderr)
    grape.end()
    for line in grape.process.stderr.splitlines():
        assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} \[(info|warn)\] ", line), line


# Places and limits


@every_command
def test_default_state_file_in_an_unwritable_directory_is_a_warning(start: Start, command: str) -> None:
    with tempfile.TemporaryDirectory(prefix="grape-") as name:
        folder = Path(name).resolve()
        folder.chmod(0o555)
        # Root may write everywhere.
        user = {"user": 65_534, "group": 65_534, "extra_groups": ()} if os.geteuid() == 0 else {}
        there = ["sh", "-c", f'cd {folder} && exec "$@"', "sh"]
        if start([*there, sys.executable, "-c", "import grape.tap, klein"], **user).ended():
            pytest.skip("another user cannot read the checkout or its Python")
        api = new_api()
        process = start([*there, *COMMANDS[command], *ports_of(api)], **user)
        process.wait_for("an answer", api.answers)
        assert api.call("get", api.call("put", "kept in memory"))["v"] == "kept in memory"
        path = folder / f"grape-{api.dht_port}.sqlite"
        said = f"state file {path} cannot be written (Permission denied): state is kept in memory only"
        if command != "twist grape":
            assert said in process.output
        process.signal(signal.SIGUSR2)
        process.wait_for("it is in the figures", lambda: "degraded=state is kept in memory only" in process.output)
        asked = start([*there, *COMMANDS[command], *ports_of(new_api()), "--state", "a.sqlite"], **user)
        assert asked.ended() == 74
        assert f"grape: --state {folder}/a.sqlite: Permission denied\n" in asked.stderr
        assert list(folder.iterdir()) == []


def limited(soft: int, hard: int) -> Callable[[], None]:
    """Returns what limits the descriptors of a new process."""
    return partial(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))


@every_command
def test_few_descriptors_are_raised_to_what_is_allowed(start: Start, command: str) -> None:
    api = new_api()
    process = start([*COMMANDS[command], *ports_of(api)], preexec_fn=limited(256, 4_096))
    process.wait_for("an answer", api.answers)
    with idle_connections(api, 400):
        assert api.call("lookup", "nobody") == []
        # None was closed for another.
        assert len(list(Path(f"/proc/{process.pid}/fd").iterdir())) > 400
    assert "HTTP connections instead of" not in process.output


@every_command
def test_idle_connections_do_not_shut_new_ones_out(start: Start, command: str, directory: Path) -> None:
    api = new_api()
    process = start([*COMMANDS[command], *ports_of(api)], preexec_fn=limited(256, 256))
    process.wait_for("an answer", api.answers)
    for number in (600, 300):
        with idle_connections(api, number):
            began = time.monotonic()
            assert api.call("lookup", "nobody") == []
            assert api.call("put", f"a value on the disk {number}")
            assert time.monotonic() - began < 2.0
    if command != "twist grape":
        assert process.output.count("192 HTTP connections instead of 512") == 1
    assert "EMFILE" not in process.output
    process.signal(signal.SIGTERM)
    process.ended()
    state = directory / f"grape-{api.dht_port}.sqlite"
    dump = subprocess.run(
        [*COMMANDS["grape"], "state", "dump", str(state)], capture_output=True, text=True, timeout=20, check=True
    )
    assert dump.stdout.count('"own_item"') == 2


@contextmanager
def idle_connections(api: Api, number: int) -> Iterator[None]:
    connections = []
    try:
        for _ in range(number):
            with suppress(OSError):
                connections.append(socket.create_connection((HOST, api.api_port), timeout=2))
        yield
    finally:
        for connection in connections:
            connection.close()


def test_thousand_instances_of_one_name_on_one_host_are_found(grape_ring: StartRing) -> None:
    grapes = grape_ring(3)
    assert grapes[0].call("announce", ["many", 1]) == 2
    for port in range(2, 1_001):
        assert grapes[0].call("announce", ["many", port]) == 2
    for other in grapes[1:]:
        found: set[str] = set()
        for _ in range(200):
            some = other.call("lookup", "many")
            assert len(some) == 100
            found.update(some)
        assert len(found) == 1_000


@every_command
def test_second_process_on_a_state_file_says_at_once_who_has_it_and_that_it_waits(
    start: Start, grape_process: StartGrape, directory: Path, command: str
) -> None:
    file = str(directory / "shared.sqlite")
    first = grape_process("--state", file)
    began = time.monotonic()
    second = start([*COMMANDS[command], *ports_of(new_api()), "--state", file])
    line = f"grape: state file {file} is in use by process {first.process.pid} since "
    second.wait_for("it says so", lambda: line in second.stderr)
    assert time.monotonic() - began < 2.0
    assert "; waiting up to 5 s for it\n" in second.stderr
    assert second.ended() == 69
    assert f"grape: --state {file}: in use by process {first.process.pid} since " in second.stderr
    assert "Traceback" not in second.output
    assert first.process.status is None


@every_command
def test_process_takes_over_the_state_file_and_ports_of_one_that_stops(
    start: Start, grape_process: StartGrape, directory: Path, command: str
) -> None:
    file = str(directory / "shared.sqlite")
    first = grape_process("--state", file)
    hash = first.call("put", "kept")
    second = start([*COMMANDS[command], *ports_of(first.api), "--state", file])
    second.wait_for("it waits", lambda: "; waiting up to" in second.stderr)
    assert first.end() == 0
    second.wait_for("an answer", first.api.answers)
    assert f"state file {file} is free; starting\n" in second.stderr
    assert first.api.call("get", hash)["v"] == "kept"


@pytest.mark.skipif(sys.platform != "linux", reason="the holder is found on Linux")
def test_process_waits_for_a_program_that_has_the_state_file_locked(
    start: Start, grape_process: StartGrape, directory: Path
) -> None:
    file = str(directory / "shared.sqlite")
    grape_process("--state", file).end()
    program = (
        "import sqlite3, sys; db = sqlite3.connect(sys.argv[1], isolation_level=None); "
        "db.execute('PRAGMA locking_mode = EXCLUSIVE'); db.execute('BEGIN EXCLUSIVE'); "
        "print('held', flush=True); sys.stdin.read()"
    )
    held = start([sys.executable, "-c", program, file], stdin=subprocess.PIPE)
    held.wait_for("the lock", lambda: held.stdout)
    api = new_api()
    process = start([*COMMANDS["grape"], *ports_of(api), "--state", file])
    said = f"state file {file} is in use by process {held.pid}; waiting up to 5 s for it\n"
    process.wait_for("it says so", lambda: said in process.stderr)
    held.close()
    process.wait_for("an answer", api.answers)
