"""What real clients and operators do: the kinds of faults of docs/robustness.md, each at a live grape."""

from __future__ import annotations

import hashlib
import json
import signal
import socket
import struct
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from gauntlet.client import Client, ClientError
from tests.live.conftest import NO_COPY, Start, StartGrape, StartRing
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
            hash = api.call("put", "first")
            assert hash == hash_of("first")
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
