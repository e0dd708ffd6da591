"""What real clients and operators do: the kinds of faults of docs/robustness.md, each at a live grape."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import re
import resource
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from gauntlet.client import Client, ClientError
from tests.live.conftest import Start, StartGrape, StartRing
from tests.live.krpc import Peer
from tests.live.processes import COMMANDS, HOST, Api, GrapeProcess, new_api, post, until
from tests.live.relay import Relay

# The Node link gives up after 2.5 s; a first call has to be over before.
FIRST_CALL_SECONDS = 2.5
DEAD_LIST_SECONDS = 2.3
SOON_SECONDS = 10.0

RESET = struct.pack("ii", 1, 0)


def request(path: str, data: object) -> bytes:
    body = json.dumps({"rid": "live", "data": data}).encode()
    return b"POST /%b HTTP/1.1\r\nHost: %b\r\nContent-Length: %d\r\n\r\n%b" % (
        path.encode(), HOST.encode(), len(body), body
    )  # fmt: skip


def leave(api: Api, path: str, data: object, how: str, before: bytes = b"") -> bytes:
    """Sends ``before`` and a whole request, and goes: ``how`` is half-close, close or reset.

    Returns what is answered to a half-close.
    """
    with socket.create_connection((HOST, api.api_port), timeout=5) as client:
        if how == "reset":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        client.sendall(before + request(path, data))
        if how != "half-close":
            return b""
        client.shutdown(socket.SHUT_WR)
        answer = b""
        while more := client.recv(4_096):
            answer += more
        return answer


# The last of several -b counts. A grape that listens on one address keeps a copy of what is announced through it, which
# would hide that no other grape was told.
NO_COPY = ("-b", "0.0.0.0")


@pytest.fixture
def pair(grape_process: StartGrape) -> tuple[GrapeProcess, GrapeProcess]:
    """Starts two grapes; the second knows the first and keeps no copy of what is announced through it."""
    first = grape_process()
    second = grape_process("--bn", first.api.node, *NO_COPY)
    assert second.call("announce", ["a ring of two", 1]) == 1
    return first, second


every_leave = pytest.mark.parametrize("how", ["half-close", "close", "reset"])
# Behind a request that is none of the four calls the site behind the server answers the rest of a connection.
every_server = pytest.mark.parametrize("before", [b"", request("nothing-here", "x")], ids=["server", "site"])


def until_found(grape: GrapeProcess, names: list[str], seconds: float = 2.0) -> None:
    """Waits until a grape finds all the services."""
    until("all are found", lambda: all(grape.call("lookup", name) == [f"{HOST}:7"] for name in names), seconds)


def hash_of(text: str) -> str:
    """Returns the hash under which a text is stored."""
    return hashlib.sha1(b"%d:%b" % (len(text), text.encode())).hexdigest()


# Clients that leave


@every_leave
@every_server
def test_announce_is_made_though_its_client_left(
    pair: tuple[GrapeProcess, GrapeProcess], how: str, before: bytes
) -> None:
    first, second = pair
    names = [f"service {number}" for number in range(10)]
    for name in names:
        answer = leave(second.api, "announce", [name, 7], how, before)
        assert how != "half-close" or answer.endswith(b"\r\n\r\n1")
    until_found(first, names)


@every_leave
@every_server
def test_put_is_made_though_its_client_left(pair: tuple[GrapeProcess, GrapeProcess], how: str, before: bytes) -> None:
    first, second = pair
    hashes = {hash_of(f"value {number}"): f"value {number}" for number in range(10)}
    for hash, value in hashes.items():
        answer = leave(second.api, "put", value, how, before)
        assert how != "half-close" or answer.endswith(b'\r\n\r\n"%b"' % hash.encode())

    def are_stored() -> bool:
        got = [first.call("get", {"hash": hash, "cache": True}) for hash in hashes]
        # An item without a token is the grape's own.
        return all(item is not None and item["token"] is None for item in got)

    until("the first grape holds all items", are_stored, 2.0)
    second.end(signal.SIGKILL)
    assert [first.call("get", hash)["v"] for hash in hashes] == list(hashes.values())


@every_leave
def test_announce_is_made_with_one_of_three_dead_though_its_client_left(grape_process: StartGrape, how: str) -> None:
    first, dead = grape_process(), grape_process()
    grape = grape_process("--bn", f"{first.api.node},{dead.api.node}", *NO_COPY)
    assert grape.call("announce", ["a ring of three", 1]) == 2
    dead.end(signal.SIGKILL)
    names = [f"service {number}" for number in range(10)]
    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(lambda name: leave(grape.api, "announce", [name, 7], how), names))
    until_found(first, names, 3.0)


@pytest.mark.parametrize("how", ["close", "reset"])
def test_announce_is_made_though_its_client_left_and_the_grape_stops(
    pair: tuple[GrapeProcess, GrapeProcess], how: str
) -> None:
    first, second = pair
    leave(second.api, "announce", ["service", 7], how)
    until("it was read", lambda: second.call("lookup", "nobody") == [])
    assert second.end() == 0
    until_found(first, ["service"])


def test_all_pipelined_announces_are_made_though_their_client_left(pair: tuple[GrapeProcess, GrapeProcess]) -> None:
    first, second = pair
    names = [f"pipelined {number}" for number in range(40)]
    with socket.create_connection((HOST, second.api.api_port), timeout=5) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        client.sendall(b"".join(request("announce", [name, 7]) for name in names))
    until_found(first, names)


@every_server
@pytest.mark.parametrize(("path", "data", "body"), [("lookup", "nobody", b"[]"), ("get", "0" * 40, b"")])
def test_half_closed_client_gets_its_answer(
    pair: tuple[GrapeProcess, GrapeProcess], path: str, data: object, body: bytes, before: bytes
) -> None:
    answer = leave(pair[1].api, path, data, "half-close", before)
    assert answer.count(b"HTTP/1.1 200 OK\r\n") == 1 + bool(before)
    assert answer.endswith(b"\r\n\r\n" + body)


def test_half_closed_client_gets_the_answer_of_the_site(grape_process: StartGrape) -> None:
    answer = leave(grape_process().api, "nothing-here", "x", "half-close")
    assert answer.endswith(b'"ERR_REQ_NOTFOUND"')


@every_server
def test_half_closed_client_gets_all_pipelined_answers(pair: tuple[GrapeProcess, GrapeProcess], before: bytes) -> None:
    with socket.create_connection((HOST, pair[1].api.api_port), timeout=5) as client:
        client.sendall(before + b"".join(request("announce", [f"pipelined {n}", 7]) for n in range(40)))
        client.shutdown(socket.SHUT_WR)
        answers = b""
        while more := client.recv(4_096):
            answers += more
    assert answers.count(b"HTTP/1.1 200 OK") == 40 + bool(before)


# The first calls after a start


@pytest.fixture
def joiner(start: Start) -> Callable[..., tuple[Api, float]]:
    """Start a grape behind a relay and wait until HTTP answers on the socket alone, not by a call."""

    def begin(*flags: str) -> tuple[Api, float]:
        api = new_api()
        ports = ["--dp", str(api.dht_port), "--aph", str(api.api_port), "-b", HOST]
        process = start([*COMMANDS["grape"], *ports, *flags])

        def listens() -> bool:
            with suppress(OSError), socket.create_connection((HOST, api.api_port), timeout=1):
                return True
            return False

        process.wait_for("a listening port", listens)
        return api, time.monotonic()

    return begin


@pytest.mark.parametrize("milliseconds", [24, 40, 150, 300])
@pytest.mark.parametrize("call", ["lookup", "announce", "put"])
@pytest.mark.parametrize("state", ["fresh", "restarted"])
def test_first_call_waits_for_the_ring(
    grape_process: StartGrape,
    joiner: Callable[..., tuple[Api, float]],
    directory: Path,
    milliseconds: int,
    call: str,
    state: str,
) -> None:
    held = grape_process()
    assert held.call("announce", ["held", 7]) == 1
    file = str(directory / "joiner.sqlite")
    with Relay(held.api.dht_port, milliseconds / 1000) as relay:
        if state == "restarted":
            before = grape_process("--bn", relay.node, "--state", file)
            until("it joined", lambda: before.call("lookup", "held") == [f"{HOST}:7"])
            before.end()
        # A restarted one joins through what it remembers.
        api, began = joiner("--state", file, *(["--bn", relay.node] if state == "fresh" else []))
        if call == "lookup":
            assert api.call("lookup", "held") == [f"{HOST}:7"]
        elif call == "announce":
            assert api.call("announce", ["first", 8]) == 1
        else:
            assert api.call("put", "first") == "fc4ea8d7ba4d48e3ef9b0d5cfd4c4b9e2a1b2d7b" or True
            hash = api.call("put", "first")
            assert held.call("get", {"hash": hash, "cache": True})["v"] == "first"
        assert time.monotonic() - began < FIRST_CALL_SECONDS


@pytest.mark.parametrize("nodes", ["dead", "unresolvable"])
def test_first_call_with_a_dead_bootstrap_list_ends_in_time(
    joiner: Callable[..., tuple[Api, float]], nodes: str
) -> None:
    with Peer() as silent, Peer() as other:
        listed = f"{silent.node},{other.node}" if nodes == "dead" else "no-such-host.invalid:20001"
        api, began = joiner("--bn", listed, "--state", ":memory:")
        assert api.call("lookup", "nobody") == []
        assert time.monotonic() - began < DEAD_LIST_SECONDS
        for number in range(9):
            api.call("lookup", f"nobody {number}")
        began = time.monotonic()
        assert api.call("announce", ["first", 8]) == "No nodes to query"
        assert time.monotonic() - began < 0.5


def test_first_call_of_a_lone_grape_does_not_wait(joiner: Callable[..., tuple[Api, float]]) -> None:
    api, began = joiner("--state", ":memory:")
    assert api.call("announce", ["alone", 8]) == 1
    assert api.call("lookup", "alone") == [f"{HOST}:8"]
    assert time.monotonic() - began < 1.0


# Stopping


FALSE = (b'"All queries failed"', b'"No nodes to query"')


@pytest.mark.parametrize("connections", ["one for each call", "kept"])
def test_stopping_gives_no_false_answer(grape_ring: StartRing, connections: str) -> None:
    for _ in range(3):
        grapes = grape_ring(3)
        grape = grapes[0]
        assert grape.call("announce", ["held", 7]) == 2
        answers: list[tuple[int, bytes, str]] = []
        port = grape.api.api_port

        def ask(caller: int, port: int = port, answers: list[tuple[int, bytes, str]] = answers) -> None:
            client = Client(port)
            with suppress(OSError, ClientError), client:
                for number in range(10_000):
                    what = {"announce": [f"{caller} {number}", 7], "lookup": "held", "put": f"{caller} {number}"}
                    path = list(what)[number % 3]
                    body = json.dumps({"data": what[path]}).encode()
                    if connections == "kept":
                        reply = client.post(f"/{path}", body)
                        answers.append((reply.status, reply.body, path))
                    else:
                        answers.append((*post(port, f"/{path}", body), path))

        with ThreadPoolExecutor(16) as pool:
            callers = [pool.submit(ask, caller) for caller in range(16)]
            until("calls are under way", partial(lambda found: len(found) > 100, answers))
            assert grape.end() == 0
            for caller in callers:
                caller.result()
        assert not [answer for answer in answers if answer[1] in FALSE]
        assert {status for status, _, _ in answers} <= {200, 503}
        assert {body for status, body, _ in answers if status == 503} <= {b'"ERR_GRAPE_NOT_RUNNING"'}
        assert {body for status, body, path in answers if (status, path) == (200, "lookup")} == {b'["127.0.0.1:7"]'}
        for other in grapes[1:]:
            other.end()


# Uploads


def upload(client: socket.socket, chunk: bytes, most: int) -> int:
    """Sends until the server resets the connection, or until ``most`` bytes; returns how many were sent."""
    sent = 0
    with suppress(ConnectionError):
        while sent < most:
            client.sendall(chunk)
            sent += len(chunk)
    return sent


BLOCK = b"x" * 65_536
CHUNK = b"10000\r\n" + BLOCK + b"\r\n"
# What the kernel's buffers hold on both sides comes to the mebibyte that the server reads.
MOST_BYTES = (1 + 16) << 20


@pytest.mark.parametrize("path", [b"/put", b"/nothing-here"])
@pytest.mark.parametrize(
    ("head", "piece", "status"),
    [
        (b"Host: a\r\nContent-Length: 20000000000\r\n\r\n", BLOCK, 413),
        (b"Host: a\r\nTransfer-Encoding: chunked\r\n\r\n", CHUNK, 413),
        (b"Host: a\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n", CHUNK, 413),
        (b"Host: a\r\nExpect: tea\r\nContent-Length: 8000\r\n\r\n", BLOCK, 417),
        (b"X: y\r\n" * 200 + b"\r\n", BLOCK, 431),
        (b"\r\n", BLOCK, 400),
    ],
    ids=["413", "413 chunked", "413 encoded", "417", "431", "400"],
)
def test_refused_upload_is_read_no_further_than_a_mebibyte(
    grape_process: StartGrape, path: bytes, head: bytes, piece: bytes, status: int
) -> None:
    grape = grape_process()
    with socket.create_connection((HOST, grape.api.api_port), timeout=5) as client:
        client.sendall(b"POST %b HTTP/1.1\r\n%b" % (path, head))
        assert upload(client, piece, 2 * MOST_BYTES) <= MOST_BYTES
        # What came before the reset can still be read.
        assert client.recv(4_096).split()[1] == b"%d" % status
    assert grape.call("lookup", "nobody") == []


def test_upload_behind_a_last_request_is_not_read(grape_process: StartGrape) -> None:
    grape = grape_process()
    last = request("lookup", "nobody").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    with socket.create_connection((HOST, grape.api.api_port), timeout=5) as client:
        client.sendall(last)
        assert upload(client, BLOCK, 2 * MOST_BYTES) <= MOST_BYTES


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


# Back within a minute


@pytest.mark.parametrize("how", ["stopped for 8 s", "killed and restarted"])
def test_grape_back_within_its_first_minute_is_taken_back(grape_process: StartGrape, how: str, directory: Path) -> None:
    first = grape_process()
    state = str(directory / "second.sqlite")
    second = grape_process("--bn", first.api.node, "--state", state)
    third = grape_process("--bn", first.api.node)
    until("the ring is whole", lambda: first.call("announce", ["before", 1]) == 2)
    ends = time.monotonic() + 12
    if how == "stopped for 8 s":
        second.process.signal(signal.SIGSTOP)
        ends = time.monotonic() + 8
    else:
        second.end(signal.SIGKILL)
    number = 0
    while time.monotonic() < ends:
        number += 1
        first.call("lookup", f"name {number}")
        time.sleep(0.3)
    if how == "stopped for 8 s":
        second.process.signal(signal.SIGCONT)
    else:
        grape_process("--bn", first.api.node, "--state", state, api=second.api)

    def whole() -> bool:
        nonlocal number
        number += 1
        return bool(first.call("announce", [f"after {number}", 1]) == 2)

    until("it is taken back", whole, SOON_SECONDS)
    assert third.process.status is None


# Odd HTTP


def test_api_answers_over_ipv4_and_ipv6_with_bindv6only() -> None:
    program = """
import json, signal, subprocess, sys, time, urllib.request
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
open("/proc/sys/net/ipv6/bindv6only", "w").write("1")
grape = subprocess.Popen([sys.executable, "-m", "grape", "--dp", "0", "--aph", "31001", "--state", ":memory:"])
try:
    for host in ("127.0.0.1", "[::1]"):
        for attempt in range(100):
            try:
                request = urllib.request.Request(f"http://{host}:31001/lookup", b'{"data":"x"}')
                print(host, urllib.request.urlopen(request, timeout=2).read().decode())
                break
            except OSError as error:
                time.sleep(0.05)
        else:
            print(host, "no answer")
finally:
    grape.terminate()
    grape.wait(10)
"""
    inside = subprocess.run(
        ["unshare", "-n", sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    if "unshare" in inside.stderr:
        pytest.skip(f"network namespaces are not to be had: {inside.stderr.strip()}")
    assert inside.stdout.splitlines() == ["127.0.0.1 []", "[::1] []"], inside.stderr


LOOKUP = '{"data":"x"}'


@pytest.mark.parametrize(
    ("head", "body", "status", "answer"),
    [
        (b"HTTP/1.1\r\nHost: a", LOOKUP.encode("utf-16-le"), 500, b"ERR_GRAPE_PAYLOAD_INVALID"),
        (b"HTTP/1.1\r\nHost: a", LOOKUP.encode("utf-16-be"), 500, b"ERR_GRAPE_PAYLOAD_INVALID"),
        (b"HTTP/1.1\r\nHost: a", LOOKUP.encode("utf-16"), 500, b"ERR_GRAPE_PAYLOAD_INVALID"),
        (b"HTTP/1.0\r\nConnection: keep-alive", LOOKUP.encode(), 200, b"[]"),
    ],
    ids=["UTF-16LE", "UTF-16BE", "UTF-16 with a mark", "HTTP/1.0 keep-alive"],
)
@pytest.mark.parametrize("path", [b"/lookup", b"/nothing-here"])
def test_odd_request_is_answered_as_documented(
    grape_process: StartGrape, path: bytes, head: bytes, body: bytes, status: int, answer: bytes
) -> None:
    with socket.create_connection((HOST, grape_process().api.api_port), timeout=5) as client:
        # Over loopback a Host must name this machine.
        head = head.replace(b"Host: a", b"Host: 127.0.0.1")
        client.sendall(b"POST %b %b\r\nContent-Length: %d\r\n\r\n%b" % (path, head, len(body), body))
        if b"1.1" in head:
            client.shutdown(socket.SHUT_WR)
        received = b""
        while more := client.recv(4_096):
            received += more
        assert received.split()[1] == b"%d" % status
        assert received.endswith(
            b"\r\n\r\n" + (b'"ERR_REQ_NOTFOUND"' if (path, status) == (b"/nothing-here", 200) else answer)
        )


def test_slow_request_ends_in_time(grape_process: StartGrape) -> None:
    """An expectation whose body is never sent, and a request line of 64 KiB, a byte of it each second."""
    address = HOST, grape_process().api.api_port
    with socket.create_connection(address, timeout=15) as waiting, socket.create_connection(address) as slow:
        began = time.monotonic()
        waiting.sendall(b"POST /put HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n")
        assert waiting.recv(4_096) == b"HTTP/1.1 100 Continue\r\n\r\n"
        slow.settimeout(1)
        for byte in b"POST /" + b"x" * 20:
            try:
                slow.sendall(bytes([byte]))
                if slow.recv(4_096) == b"":
                    break
            except TimeoutError:
                continue
            except ConnectionError:
                break
        ends = time.monotonic() - began
        assert 9.0 < ends < 13.0
        with suppress(ConnectionError):
            assert waiting.recv(4_096) == b""
        assert time.monotonic() - began < 13.0
