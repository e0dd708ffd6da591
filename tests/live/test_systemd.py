"""A grape under systemd, whose part the test takes: what it is told, the sockets it hands over, and the units."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from shutil import which
from threading import Event

import pytest

from tests.live.conftest import Start, unavailable
from tests.live.processes import COMMANDS, HOST, Process, new_api, post, until
from tests.live.systemd import NotifySocket, with_sockets

REPOSITORY = Path(__file__).parents[2]
UNITS = ("grape.service", "grape@.service", "grape.socket", "grape-api.socket")
MAX_EXPOSURE = 1.5
SECONDS = 20.0
PINGS_PER_SECOND, CALLS_PER_SECOND = 50, 20
# As under systemd.
BOTH = pytest.mark.parametrize("command", ["grape", "twistd -n grape"])


@BOTH
def test_systemd_is_told_of_start_status_reload_and_stop_in_order(start: Start, directory: Path, command: str) -> None:
    api = new_api()
    flags = ["--dp", str(api.dht_port), "--aph", str(api.api_port), "-b", HOST]
    with NotifySocket(directory) as systemd:
        environment = {"NOTIFY_SOCKET": systemd.path, "WATCHDOG_USEC": "600000"}
        process = start([*COMMANDS[command], *flags], environment, stdin=subprocess.DEVNULL)
        process.wait_for("READY", lambda: systemd.messages)
        assert api.answers()
        assert systemd.messages == [["READY=1", "STATUS=alone, no bootstrap nodes, 0 contacts, 0 services, 0 items"]]
        assert api.call("announce", ["rest:util:net", 1337]) == 1
        process.wait_for("a new STATUS", lambda: systemd.statuses[-1].endswith(", 0 contacts, 1 service, 0 items"))
        pings = systemd.pings
        process.wait_for("WATCHDOG", lambda: systemd.pings > pings + 1)
        process.signal(signal.SIGHUP)
        process.wait_for("the reload", lambda: len(systemd.messages) == 3)
        (reloading, monotonic), ready = systemd.messages[1:]
        assert (reloading, ready) == ("RELOADING=1", ["READY=1"])
        assert re.fullmatch(r"MONOTONIC_USEC=\d{7,}", monotonic)
        process.signal(signal.SIGTERM)
        process.ended()
        # What it sent at its end has been received once this test's own message comes after it.
        until("STOPPING", lambda: len(systemd.messages) == 4)
    assert systemd.first_lines == ["READY=1", "RELOADING=1", "READY=1", "STOPPING=1"]


@BOTH
def test_systemd_is_told_why_a_grape_cannot_start(start: Start, directory: Path, command: str) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as taken, NotifySocket(directory) as systemd:
        taken.bind((HOST, 0))
        port = str(taken.getsockname()[1])
        process = start([*COMMANDS[command], "--dp", port, "--aph", "0", "-b", HOST], {"NOTIFY_SOCKET": systemd.path})
        assert process.ended() == 69
        until("STATUS", lambda: systemd.statuses)
        assert systemd.statuses[0].startswith(f"cannot listen on UDP port {port} of {HOST}: ")
        assert systemd.messages == []


@BOTH
def test_drain_serves_until_it_is_over_or_a_second_signal_comes(start: Start, directory: Path, command: str) -> None:
    api = new_api()
    flags = ["--dp", str(api.dht_port), "--aph", str(api.api_port), "-b", HOST, "--drain", "3600"]
    with NotifySocket(directory) as systemd:
        process = start([*COMMANDS[command], *flags], {"NOTIFY_SOCKET": systemd.path}, stdin=subprocess.DEVNULL)
        process.wait_for("READY", lambda: systemd.messages)
        process.signal(signal.SIGTERM)
        process.wait_for("STOPPING", lambda: len(systemd.messages) == 2)
        assert systemd.messages[1] == ["STOPPING=1", "EXTEND_TIMEOUT_USEC=3610000000", "STATUS=stopping"]
        process.wait_for("a line", lambda: "goes on for 3600 s before it stops" in process.output)
        assert api.call("announce", ["rest:util:net", 1337]) == 1
        process.signal(signal.SIGTERM)
        assert process.ended() == (0 if command == "grape" else -signal.SIGTERM)
        assert len(systemd.messages) == 2


@pytest.fixture
def sockets(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket]]:
    """The sockets of a DHT and of an HTTP API, blocking, as systemd opens them; on loopback without a parameter."""
    with socket.socket(type=socket.SOCK_DGRAM) as dht, socket.socket() as api:
        for one in (dht, api):
            one.bind((getattr(request, "param", HOST), 0))
        api.listen(512)
        yield dht, api


Sockets = tuple[socket.socket, socket.socket]


def begin(start: Start, sockets: Sockets, command: str, *flags: str, names: str = "dht:api") -> Process:
    handing, descriptors = with_sockets([*COMMANDS[command], "--state", ":memory:", *flags], *sockets)
    return start(handing, {"LISTEN_FDNAMES": names}, pass_fds=descriptors, stdin=subprocess.DEVNULL)


def ask(port: int) -> tuple[int, bytes]:
    return post(port, "/lookup", b'{"data":"nobody"}', SECONDS)


class Traffic:
    """Sends pings and calls at a steady rate until it is told to stop, and counts what is answered."""

    def __init__(self, dht_port: int, api_port: int) -> None:
        self._dht, self._api_port = (HOST, dht_port), api_port
        self._is_over = Event()
        self.pings_sent = 0
        self.pings_answered: set[bytes] = set()
        self.calls: list[Future[tuple[int, bytes]]] = []
        self._pool = ThreadPoolExecutor(80)
        self._senders = [self._pool.submit(self._ping), self._pool.submit(self._call)]

    def answered(self) -> int:
        """Returns the number of pings and calls that were answered so far."""
        return len(self.pings_answered) + sum(call.done() for call in self.calls)

    def end(self) -> None:
        """Stops, and waits for the last answers."""
        self._is_over.set()
        for sender in self._senders:
            sender.result()
        self._pool.shutdown()

    def _ping(self) -> None:
        with socket.socket(type=socket.SOCK_DGRAM) as client:
            client.bind((HOST, 0))
            client.settimeout(1 / PINGS_PER_SECOND)
            ends = None
            while ends is None or (len(self.pings_answered) < self.pings_sent and time.monotonic() < ends):
                if self._is_over.is_set():
                    ends = ends or time.monotonic() + SECONDS
                else:
                    number = b"%06d" % self.pings_sent
                    client.sendto(b"d1:ad2:id20:%be1:q4:ping1:t6:%b1:y1:qe" % (b"p" * 20, number), self._dht)
                    self.pings_sent += 1
                due = time.monotonic() + 1 / PINGS_PER_SECOND
                while time.monotonic() < due:
                    try:
                        received = client.recv(1_500)
                    except TimeoutError:
                        break
                    # The grape pings this client, too.
                    if b"1:y1:re" in received:
                        self.pings_answered.add(received.partition(b"1:t6:")[2][:6])

    def _call(self) -> None:
        while not self._is_over.wait(1 / CALLS_PER_SECOND):
            self.calls.append(self._pool.submit(ask, self._api_port))


@BOTH
@pytest.mark.parametrize("sockets", [HOST, "0.0.0.0"], indirect=True)
def test_restart_loses_no_datagram_and_refuses_no_connection(start: Start, sockets: Sockets, command: str) -> None:
    dht, api = (one.getsockname()[1] for one in sockets)
    first = begin(start, sockets, command)
    assert ask(api) == (200, b"[]")
    traffic = Traffic(dht, api)
    until("traffic", lambda: traffic.answered() > 100)
    first.signal(signal.SIGTERM)
    first.ended()
    before = traffic.answered()
    second = begin(start, sockets, command)
    until("traffic after the restart", lambda: traffic.answered() > before + 100)
    traffic.end()
    assert len(traffic.pings_answered) == traffic.pings_sent
    assert {call.result() for call in traffic.calls} == {(200, b"[]")}
    host, note = sockets[0].getsockname()[0], " (all addresses)" if sockets[0].getsockname()[0] == "0.0.0.0" else ""
    assert f"DHT udp {host}:{dht}{note}, HTTP API listening on {host}:{api}{note}, " in second.output


@pytest.mark.parametrize("command", COMMANDS)
def test_sockets_are_those_of_systemd_whatever_the_flags_say(start: Start, sockets: Sockets, command: str) -> None:
    dht, api = (one.getsockname()[1] for one in sockets)
    process = begin(start, sockets, command, "--dp", "1", "--aph", "2")
    assert ask(api) == (200, b"[]")
    process.wait_for("a line", lambda: f"UDP socket from systemd: it is bound to {HOST} port {dht}" in process.output)
    assert f"TCP socket from systemd: it is bound to {HOST} port {api}" in process.output


@pytest.mark.parametrize("command", COMMANDS)
def test_wrong_socket_is_refused_with_one_line(start: Start, sockets: Sockets, command: str) -> None:
    process = begin(start, sockets, command, names="api:dht")
    assert process.ended() == 78
    (line,) = process.stderr.splitlines()
    assert line.startswith("grape: socket 'api' (descriptor 3) from systemd is no TCP socket that listens")


def test_daemon_of_twistd_says_a_taken_port_on_the_terminal(start: Start, directory: Path) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as taken:
        taken.bind((HOST, 0))
        port = str(taken.getsockname()[1])
        twistd = [COMMANDS["twistd -n grape"][0], "--pidfile=", "--logfile=twistd.log", "grape"]
        process = start([*twistd, "--dp", port, "--aph", "0", "-b", HOST, "--state", ":memory:"])
        assert process.ended() == 1
    sentence = f"grape: cannot listen on UDP port {port} of {HOST}: Address already in use (--dp chooses another port)"
    assert process.stderr.splitlines()[0] == sentence
    assert "Traceback" not in process.output
    until("the log", lambda: sentence in (directory / "twistd.log").read_text())


@pytest.fixture(scope="module")
def units(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the installed units."""
    for tool in ("systemd-analyze", "make"):
        if which(tool) is None:
            unavailable(f"{tool} is missing; Debian: apt install systemd make")
    root = tmp_path_factory.mktemp("root")
    prefix = Path(sys.executable).parents[1]
    command = ["make", "-s", "install-systemd", f"DESTDIR={root}", f"PREFIX={prefix}", "UNITDIR=/units"]
    subprocess.run(command, cwd=REPOSITORY, check=True)
    return root / "units"


def test_units_are_valid(units: Path) -> None:
    assert sorted(unit.name for unit in units.iterdir()) == sorted(UNITS)
    names = [str(units / name.replace("@", "@a")) for name in UNITS]
    verified = subprocess.run(["systemd-analyze", "verify", *names], capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")


@pytest.mark.parametrize("unit", ["grape.service", "grape@.service"])
def test_units_are_hardened(units: Path, unit: str) -> None:
    command = ["systemd-analyze", "security", "--no-pager", "--offline=true", str(units / unit)]
    judged = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    found = re.search(r"Overall exposure level for .*: ([\d.]+)", judged)
    assert found is not None, judged
    assert float(found[1]) <= MAX_EXPOSURE, judged


def test_units_of_instances_are_those_of_the_one_grape_but_for_its_name() -> None:
    one, many = ((REPOSITORY / "contrib" / "systemd" / name).read_text().partition("[Unit]")[2] for name in UNITS[:2])
    assert many == (
        one.replace("Grenache grape (", "Grenache grape %i (")
        .replace("grape.toml", "%i.toml")
        .replace("%S/grape", "%S/grape-%i")
        .replace("StateDirectory=grape", "StateDirectory=grape-%i")
    )


def test_file_of_settings_is_kept_and_fits_the_grape(start: Start, tmp_path: Path) -> None:
    prefix = Path(sys.executable).parents[1]
    command = ["make", "-s", "install-systemd", f"DESTDIR={tmp_path}", f"PREFIX={prefix}"]
    subprocess.run(command, cwd=REPOSITORY, check=True)
    settings = tmp_path / "etc" / "grape" / "grape.toml"
    checked = start([COMMANDS["grape"][0], "config", "check", "--config", str(settings)])
    assert checked.ended() == 0
    settings.write_text("dht_port = 7\n")
    subprocess.run(command, cwd=REPOSITORY, check=True)
    assert settings.read_text() == "dht_port = 7\n"


def test_install_without_the_program_is_refused_with_one_line(tmp_path: Path) -> None:
    command = ["make", "-s", "install-systemd", f"PREFIX={tmp_path}", f"SYSCONFDIR={tmp_path}/etc"]
    made = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert made.returncode != 0
    assert f"there is no {tmp_path}/bin/twistd" in made.stderr
    assert list(tmp_path.iterdir()) == []
