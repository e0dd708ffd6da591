"""Live grapes that come back within a minute, and odd HTTP and sockets."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.live.conftest import StartGrape, unavailable
from tests.live.processes import HOST, until

SOON_SECONDS = 10.0


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
        unavailable(f"network namespaces are not to be had: {inside.stderr.strip()}")
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
