"""Live grapes that come back within a minute; addresses, forged ICMP messages, and odd HTTP."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.live.conftest import Start, StartGrape, unavailable
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


# Network namespaces


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
    assert in_a_namespace(program) == ["127.0.0.1 []", "[::1] []"]


def in_a_namespace(program: str) -> list[str]:
    """Runs a Python program in a network namespace of its own; returns the lines that it prints."""
    inside = subprocess.run(
        ["unshare", "-n", sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    if "unshare" in inside.stderr:
        unavailable(f"network namespaces are not to be had: {inside.stderr.strip()}")
    assert inside.returncode == 0, inside.stderr
    return inside.stdout.splitlines()


def test_grape_answers_from_addresses_that_its_host_got_later() -> None:
    program = """
import socket, subprocess, sys, time
run = lambda *words: subprocess.run(["ip", *words], check=True)
run("link", "set", "lo", "up")
grape = subprocess.Popen([sys.executable, "-m", "grape", "--dp", "20001", "--aph", "31001", "--state", ":memory:"])
asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
asker.bind(("127.0.0.1", 0))
def ask(host):
    for attempt in range(100):
        asker.sendto(b"d1:ad2:id20:" + b"x" * 20 + b"e1:q4:ping1:t2:aa1:y1:qe", (host, 20001))
        asker.settimeout(0.1)
        try:
            # The grape pings the asker, too.
            while True:
                answer, address = asker.recvfrom(9999)
                if b"1:y1:r" in answer:
                    return address == (host, 20001)
        except OSError:
            pass
    return "no answer"
try:
    print(ask("127.0.0.1"))
    for host in ("10.9.9.8", "10.9.9.9"):
        run("address", "add", host + "/32", "dev", "lo")
    print(ask("10.9.9.8"), ask("10.9.9.9"))
    run("address", "del", "10.9.9.8/32", "dev", "lo")
    print(ask("127.0.0.1"), ask("10.9.9.9"))
finally:
    grape.terminate()
    print(grape.wait(10))
"""
    assert in_a_namespace(program) == ["True", "True True", "True True", "0"]


# Forged ICMP


@pytest.mark.parametrize("bind", [HOST, "0.0.0.0"])
def test_flood_of_forged_icmp_messages_costs_no_lookup(start: Start, grape_process: StartGrape, bind: str) -> None:
    if os.geteuid() != 0:
        unavailable("only root can forge ICMP messages")
    first = grape_process("-b", bind)
    grapes = [first, *(grape_process("-b", bind, "--bn", first.api.node) for _ in range(2))]
    until("the ring is whole", lambda: all(grape.call("announce", ["before", 1]) == 2 for grape in grapes))
    ports = [str(grape.api.dht_port) for grape in grapes]
    flood = start([sys.executable, str(Path(__file__).with_name("icmp_flood.py")), "10000", *ports])
    flood.wait_for("the flood", lambda: "sending" in flood.stdout)
    for number in range(300):
        name = f"name {number}"
        assert grapes[number % 3].call("announce", [name, 1_337]) >= 1
        assert grapes[(number + 1) % 3].call("lookup", name) == [f"{HOST}:1337"]
    assert flood.status is None, flood.output
    for grape in grapes:
        grape.process.signal(signal.SIGUSR2)
        grape.process.wait_for("its counters", lambda: "SIGUSR2: node_id=" in grape.process.output)  # noqa: B023
        assert " send_errors=0 " in grape.process.output


# Odd HTTP


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
