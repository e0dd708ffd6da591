"""The process: its four commands, what it says, how it ends, and how it refuses to start."""

from __future__ import annotations

import re
import shlex
import signal
import socket
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from tests.live.conftest import Start, StartGrape
from tests.live.krpc import Peer
from tests.live.processes import COMMANDS, HOST, GrapeProcess, Process, new_api, post

SIGNALLED_SECONDS = 2.0
REFUSED_SECONDS = 10.0
ELSEWHERE = "192.0.2.1"  # for documentation: nobody's own address

every_command = pytest.mark.parametrize("command", COMMANDS)


@pytest.fixture
def taken() -> Iterator[socket.socket]:
    """A TCP socket that listens."""
    with socket.socket() as listening:
        listening.bind((HOST, 0))
        listening.listen()
        yield listening


@every_command
def test_lookup_finds_a_service_that_was_announced(grape_process: StartGrape, command: str) -> None:
    first = grape_process(command=command)
    second = grape_process("--bn", first.api.node, command=command)
    assert second.call("announce", ["rest:util:net", 1337]) == 1
    assert first.call("lookup", "rest:util:net") == [f"{HOST}:1337"]


@pytest.mark.parametrize("command", ["grape", "python -m grape"])
def test_first_line_says_what_is_bound_and_a_call_to_try(grape_process: StartGrape, command: str) -> None:
    grape = grape_process(command=command)
    first = grape.process.stderr.splitlines()[0]
    assert f"DHT udp {HOST}:{grape.api.dht_port}, HTTP API listening on {HOST}:{grape.api.api_port}, " in first
    assert "all addresses" not in first
    try_this = shlex.split(first.partition("try: ")[2])
    assert try_this == ["curl", "-d", '{"data":["rest:util:net",1337]}', f"{grape.api.url}/announce"]
    assert post(grape.api.api_port, "/announce", try_this[2].encode()) == (200, b"1")


@pytest.mark.parametrize("command", ["twistd -n grape", "twist grape"])
def test_log_says_what_is_bound_and_a_call_to_try(grape_process: StartGrape, command: str) -> None:
    grape = grape_process(command=command)
    assert f"{grape.api.url}/announce" in grape.process.output
    assert f"HTTP API listening on {HOST}:{grape.api.api_port}, " in grape.process.output
    # Twisted's own lines of the same are left out.
    assert "starting on" not in grape.process.output
    grape.end()
    closed = f"DHT udp {HOST}:{grape.api.dht_port} and HTTP API {HOST}:{grape.api.api_port} closed"
    assert closed in grape.process.output


def test_first_line_says_real_ports_and_that_all_addresses_are_bound(start: Start) -> None:
    process = start([*COMMANDS["grape"], "--dp", "0", "--aph", "0", "--state", ":memory:"])
    first = process.wait_for("the first line", lambda: process.stderr.partition("\n")[0])
    everywhere = r"(?:\[::\]|0\.0\.0\.0):(\d+) \(all addresses\)"
    bound = re.search(f"DHT udp {everywhere}, HTTP API listening on {everywhere}, ", first)
    assert bound is not None, first
    assert all(int(port) > 0 for port in bound.groups())
    try_this = shlex.split(first.partition("try: ")[2])
    assert try_this[-1] == f"http://{HOST}:{bound[2]}/announce"
    assert post(int(bound[2]), "/announce", try_this[2].encode()) == (200, b"1")


@every_command
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_the_process_and_answers_calls_in_progress(
    grape_process: StartGrape, command: str, number: signal.Signals
) -> None:
    is_under_way = Event()

    def ask(port: int) -> tuple[int, bytes]:
        # Before the peer is listed nobody is asked, and the answer comes at once.
        while True:
            answer = post(port, "/lookup", b'{"data":"under way"}')
            if is_under_way.is_set():
                return answer

    with Peer() as peer, ThreadPoolExecutor(1) as pool:
        grape = grape_process("--bn", peer.node, command=command)
        answer = pool.submit(ask, grape.api.api_port)
        peer.serve(silent=b"get_peers")
        is_under_way.set()
        began = time.monotonic()
        grape.end(number)
        assert time.monotonic() - began < SIGNALLED_SECONDS
        assert answer.result() in {(200, b"[]"), (503, b'"ERR_GRAPE_NOT_RUNNING"')}
    assert "Traceback" not in grape.process.output
    # twistd and twist end themselves by the signal, once all is closed.
    assert grape.process.status == (-number if command.startswith("twist") else 0)


def test_connections_without_a_whole_request_do_not_delay_the_end(grape_process: StartGrape) -> None:
    grape = grape_process()
    address = HOST, grape.api.api_port
    with socket.create_connection(address), socket.create_connection(address) as half:
        half.sendall(b"POST /lookup HTTP/1.1\r\nHost: grape\r\nContent-Length: 100\r\n\r\n{")
        began = time.monotonic()
        assert grape.end() == 0
        assert time.monotonic() - began < SIGNALLED_SECONDS
    assert "Traceback" not in grape.process.output


WITHOUT_IPV6 = """
import errno, socket

class Socket(socket.socket):
    def __init__(self, family=-1, *arguments, **keywords):
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        super().__init__(family, *arguments, **keywords)

socket.socket = Socket
from grape.cli import main

main()
"""


def test_first_line_says_ipv4_on_a_machine_without_ipv6(start: Start) -> None:
    ports = ["--dp", "0", "--aph", str(new_api().api_port), "--state", ":memory:"]
    process = start([sys.executable, "-c", WITHOUT_IPV6, *ports])
    first = process.wait_for("the first line", lambda: process.stderr.partition("\n")[0])
    assert f"HTTP API listening on 0.0.0.0:{ports[3]} (all addresses), " in first


def debug_lines(grape: GrapeProcess) -> set[str]:
    """The texts of the debug lines on stderr; each has a time before it."""
    return set(re.findall(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z grenache:grape (.*)$", grape.process.stderr, re.M))


def refused(process: Process) -> str:
    """The one line that a process says on stderr before it ends."""
    assert process.ended(REFUSED_SECONDS) not in (0, -signal.SIGTERM)
    assert "Traceback" not in process.output
    (line,) = process.stderr.splitlines()
    return line


@every_command
def test_taken_udp_port_is_refused_with_one_line(start: Start, command: str) -> None:
    with Peer() as peer:
        port = peer.node.rpartition(":")[2]
        process = start([*COMMANDS[command], "-b", HOST, "--dp", port, "--aph", str(new_api().api_port)])
        line = refused(process)
    assert line.startswith("grape: ")
    assert port in line
    assert line.endswith(": Address already in use (--dp chooses another port)")


@every_command
def test_taken_tcp_port_is_refused_with_one_line(start: Start, command: str, taken: socket.socket) -> None:
    port = str(taken.getsockname()[1])
    line = refused(start([*COMMANDS[command], "-b", HOST, "--dp", str(new_api().dht_port), "--aph", port]))
    assert line.startswith("grape: ")
    assert port in line
    assert line.endswith(": Address already in use (--aph chooses another port)")


@every_command
def test_address_of_another_machine_is_refused_with_one_line(start: Start, command: str) -> None:
    line = refused(start([*COMMANDS[command], "-b", ELSEWHERE, "--dp", "0", "--aph", "0"]))
    assert line.startswith("grape: ")
    assert ELSEWHERE in line
    assert line.endswith(": Cannot assign requested address (-b chooses another address)")


@every_command
@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--max-cal", "5"], "unknown flag --max-cal; did you mean --max-calls?"),
        (["--dp", "abc"], "--dp takes a whole number from 0 to 65535, not 'abc'"),
        (["--dpa", "-1"], "--dpa takes a number of milliseconds from 0 to 1000000000000, not -1"),
        (["--allow-host", "*"], "--allow-host takes host names and addresses without a port, not '*'"),
        (["--bn", "127.0.0.1"], "--bn takes HOST:PORT entries, not '127.0.0.1'"),
        (["stray"], "'stray'"),
    ],
)
def test_wrong_flag_is_refused_with_one_line(start: Start, command: str, flags: list[str], said: str) -> None:
    line = refused(start([*COMMANDS[command], *flags]))
    assert line.startswith("grape: ")
    assert said in line


@every_command
@pytest.mark.parametrize("columns", [None, "30", "abc", "0"])
def test_help_is_printed_whatever_columns_says(start: Start, command: str, columns: str | None) -> None:
    environment = {"COLUMNS": columns} if columns is not None else {}
    for word in ("--help", "-h"):
        process = start([*COMMANDS[command], word], environment)
        assert process.ended(REFUSED_SECONDS) == 0
        assert process.stderr == ""
        text = " ".join(process.stdout.split())
        assert "has no authentication and no TLS" in text
        assert "grape state" in text
        assert "--max-announces N" in text


def test_three_grapes_run_from_one_directory(grape_process: StartGrape, directory: Path) -> None:
    grapes = [grape_process() for _ in range(3)]
    assert [grape.call("lookup", "nobody") for grape in grapes] == [[], [], []]
    left = {path.name for path in directory.iterdir() if path.suffix not in (".out", ".err")}
    assert {name.partition(".sqlite")[0] for name in left} == {f"grape-{grape.api.dht_port}" for grape in grapes}


def test_debug_lines_are_those_of_the_node_grape(grape_process: StartGrape) -> None:
    first = grape_process(environment={"DEBUG": "grenache:grape"})
    second = grape_process("--bn", first.api.node, environment={"DEBUG": "other,grenache:*"})
    assert second.call("announce", ["rest:util:net", 1337]) == 1
    assert second.call("lookup", "rest:util:net") == [f"{HOST}:1337"]
    first_dp, second_dp = first.api.dht_port, second.api.dht_port
    assert {
        "starting",
        f"{first_dp} listening",
        f"{first_dp} ready",
        f"{first_dp} announce rest:util:net",
    } <= debug_lines(first)
    assert {
        "starting",
        f"{second_dp} listening",
        f"{second_dp} ready",
        f"{second_dp} node",
        f"{second_dp} found potential peer {HOST}:1337 through {first.api.node} for hash: rest:util:net",
        "lookup rest:util:net found 1 nodes",
    } <= debug_lines(second)


def test_debug_lines_are_absent_without_debug(grape_process: StartGrape) -> None:
    grape = grape_process(environment={"DEBUG": "*,-grenache:grape"})
    assert "grenache:grape" not in grape.process.output
