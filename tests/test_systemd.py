"""grape.systemd: messages to systemd, and the sockets that it hands over."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from grape import systemd
from grape.systemd import ActivationError, Notifier, take_notifier, take_sockets

PID = 4_711
HOST = "127.0.0.1"


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiving:
        receiving.bind(str(tmp_path / "notify"))
        receiving.settimeout(5)
        yield receiving


def test_message_is_one_datagram_with_a_line_for_each_assignment(receiver: socket.socket) -> None:
    assert Notifier(receiver.getsockname()).send("READY=1", "STATUS=12 contacts\nREADY=0", "X=\udcff")
    assert receiver.recv(4_096) == b"READY=1\nSTATUS=12 contacts READY=0\nX=?"


def test_message_goes_to_the_abstract_namespace() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiving:
        receiving.bind(f"\0grape-test-{os.getpid()}")
        receiving.settimeout(5)
        assert Notifier(f"@grape-test-{os.getpid()}").send("WATCHDOG=1")
        assert receiving.recv(4_096) == b"WATCHDOG=1"


@pytest.mark.parametrize("path", ["/nonexistent/notify", "/" + "x" * 200, "/a\0b"])
def test_message_that_nobody_takes_is_no_error(path: str) -> None:
    assert not Notifier(path).send("READY=1")


def test_message_to_a_receiver_that_never_reads_ends_in_time(
    receiver: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systemd, "SEND_SECONDS", 0.01)
    notifier = Notifier(receiver.getsockname())
    while notifier.send("x" * 1_000):
        pass
    assert receiver.recv(4_096) == b"x" * 1_000


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(PID)}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": ""}, None),
    ],
)
def test_notifier_is_read_with_its_watchdog_and_the_variables_are_removed(
    given: dict[str, str], seconds: float | None
) -> None:
    environment = {"HOME": "/", "NOTIFY_SOCKET": "/run/systemd/notify", **given}
    notifier = take_notifier(environment, PID)
    assert notifier is not None
    assert notifier.watchdog_seconds == seconds
    assert environment == {"HOME": "/"}


@pytest.mark.parametrize("given", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1"}, {"NOTIFY_SOCKET": "@"}])
def test_notifier_is_missing_where_nobody_waits(given: dict[str, str]) -> None:
    assert take_notifier(given, PID) is None
    assert not given


class Handed:
    """Sockets as systemd hands them over: descriptors from FIRST_DESCRIPTOR on, blocking and inherited."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self.descriptors: list[int] = []

    def environment(self, names: str | None, *handed: socket.socket | int, pid: int = PID) -> dict[str, str]:
        """Returns the environment that names them."""
        # Above all that the process has open.
        first = 200
        for number, one in enumerate(handed):
            descriptor = one if isinstance(one, int) else one.fileno()
            self.descriptors.append(os.dup2(descriptor, first + number))
            if not isinstance(one, int):
                one.close()
        self._monkeypatch.setattr(systemd, "FIRST_DESCRIPTOR", first)
        environment = {"LISTEN_PID": str(pid), "LISTEN_FDS": str(len(handed)), "HOME": "/"}
        return environment if names is None else {**environment, "LISTEN_FDNAMES": names}

    def close(self) -> None:
        for descriptor in self.descriptors:
            try:
                os.close(descriptor)
            except OSError:
                continue


@pytest.fixture
def handed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Handed]:
    handed = Handed(monkeypatch)
    yield handed
    handed.close()


def udp(family: int = socket.AF_INET, host: str = HOST) -> socket.socket:
    opened = socket.socket(family, socket.SOCK_DGRAM)
    opened.bind((host, 0))
    return opened


def tcp(*, listening: bool = True) -> socket.socket:
    opened = socket.socket()
    opened.bind((HOST, 0))
    if listening:
        opened.listen()
    return opened


def test_sockets_are_taken_by_name_and_neither_block_nor_are_inherited(handed: Handed) -> None:
    environment = handed.environment("api:dht", tcp(), udp())
    sockets = take_sockets(environment, PID)
    assert {name: one.type for name, one in sockets.items()} == {
        "api": socket.SOCK_STREAM,
        "dht": socket.SOCK_DGRAM,
    }
    for one in sockets.values():
        assert not one.getblocking()
        assert not one.get_inheritable()
        one.close()
    assert environment == {"HOME": "/"}


def test_sockets_of_another_process_are_left_alone_and_forgotten(handed: Handed) -> None:
    environment = handed.environment("dht", udp(), pid=1)
    assert take_sockets(environment, PID) == {}
    assert environment == {"HOME": "/"}
    os.fstat(handed.descriptors[0])


@pytest.mark.parametrize(
    ("names", "make", "said"),
    [
        ("grape.socket", udp, "is neither 'dht' nor 'api': set FileDescriptorName= in its unit"),
        (None, udp, "socket 'unknown' (descriptor 200) from systemd is neither"),
        ("dht", tcp, "is no UDP socket for IPv4: its unit needs ListenDatagram=0.0.0.0:PORT"),
        ("dht", lambda: udp(socket.AF_INET6, "::1"), "is no UDP socket for IPv4"),
        ("api", udp, "is no TCP socket that listens: its unit needs ListenStream="),
        ("api", lambda: tcp(listening=False), "is no TCP socket that listens"),
        ("api", lambda: socket.socketpair()[0], "is no TCP socket that listens"),
        ("dht", lambda: os.open(os.devnull, os.O_RDONLY), "is no socket"),
    ],
)
def test_socket_that_a_grape_cannot_use_is_an_error_that_says_what_to_change(
    handed: Handed, names: str | None, make: object, said: str
) -> None:
    assert callable(make)
    one = make()
    environment = handed.environment(names, one)
    if isinstance(one, int):
        os.close(one)
    with pytest.raises(ActivationError) as raised:
        take_sockets(environment, PID)
    assert said in str(raised.value)
    assert environment == {"HOME": "/"}


def test_second_socket_of_a_name_is_an_error_and_all_are_closed(handed: Handed) -> None:
    environment = handed.environment("dht:dht", udp(), udp())
    with pytest.raises(ActivationError, match="is the second of that name"):
        take_sockets(environment, PID)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(handed.descriptors[0])


def test_descriptor_that_is_not_open_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systemd, "FIRST_DESCRIPTOR", 10**6)
    with pytest.raises(ActivationError, match="cannot be used: Bad file descriptor"):
        take_sockets({"LISTEN_PID": str(PID), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "dht"}, PID)


@pytest.mark.parametrize("count", ["", "two", "-1", "²"])
def test_number_of_sockets_that_is_none_is_an_error(count: str) -> None:
    with pytest.raises(ActivationError, match="LISTEN_FDS is no number"):
        take_sockets({"LISTEN_PID": str(PID), "LISTEN_FDS": count}, PID)


# In a process of its own, whose Twisted takes the variables when it is imported.
AFTER_TWISTED = """
import os, socket, sys

opened = socket.socket(type=socket.SOCK_DGRAM)
opened.bind(("127.0.0.1", 0))
address = opened.getsockname()
os.dup2(opened.detach(), 3)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "dht"}

import twisted.internet.endpoints
from grape.systemd import take_sockets

assert "LISTEN_FDS" not in os.environ
sockets = take_sockets(os.environ, os.getpid())
assert sockets["dht"].getsockname() == address
assert not [name for name in os.environ if name.startswith("LISTEN_")]
"""


def test_sockets_are_found_after_twisted_took_the_variables() -> None:
    # LISTEN_PID is that of the process, and descriptor 3 is free in it.
    ran = subprocess.run([sys.executable, "-c", AFTER_TWISTED], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def test_grape_without_systemd_loads_nothing_for_it() -> None:
    program = (
        "import sys; from grape.tap import Options, makeService; options = Options(); "
        "options.parseOptions(['--state', ':memory:']); makeService(options); "
        "print(*[name for name in sys.modules if name.startswith('grape.')])"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"grape.systemd", "grape.daemon.activation", "grape.daemon.supervised"} & set(ran.stdout.split())
