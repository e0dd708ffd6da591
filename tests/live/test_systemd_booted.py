"""The units under a real systemd, which is booted in a container; skipped, with the reason, where none can be."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.live.booted import PREFIX, Machine, Unavailable, booted, container, install
from tests.live.processes import until

RING = {"one": 21_001, "two": 21_002, "three": 21_003}
# Of systemd.exec(5): the ids of dynamic users.
DYNAMIC_IDS = range(61_184, 65_520)
MAX_STOP_SECONDS = 2.0

_PING = """
import socket
with socket.socket(type=socket.SOCK_DGRAM) as client:
    client.settimeout(20)
    client.sendto(b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe", ("127.0.0.1", 20001))
    print(client.recv(1500))
"""


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine on which grape.service is enabled."""
    root = tmp_path_factory.mktemp("machine") / "root"
    try:
        kept = container()
        subprocess.run(["cp", "-a", "--reflink=auto", str(kept), str(root)], check=True)
        install(root)
        subprocess.run(["systemctl", f"--root={root}", "enable", "grape.service"], check=True, capture_output=True)
        with booted(root) as made:
            yield made
    except Unavailable as reason:
        pytest.skip(str(reason))
    finally:
        subprocess.run(["rm", "-rf", "--one-file-system", str(root)], check=False)


@pytest.fixture
def grape(machine: Machine) -> Machine:
    """The machine, with grape.service running."""
    machine.run("systemctl", "stop", "grape.socket", "grape-api.socket")
    machine.run("systemctl", "start", "grape.service")
    return machine


def main_pid(machine: Machine) -> str:
    return machine.shown("grape", "MainPID")


def test_enabled_unit_runs_after_the_boot_and_says_how_it_is(machine: Machine) -> None:
    machine.wait_for("grape", "ActiveState", "active")
    status = machine.run("systemctl", "status", "--no-pager", "grape")
    assert 'Status: "alone, no bootstrap nodes, 0 contacts, 0 services, 0 items"' in status
    assert machine.call("lookup", "nobody") == []
    assert "try: curl -d" in machine.journal("grape")


def test_user_is_dynamic_and_its_state_survives_a_restart(grape: Machine) -> None:
    assert grape.call("announce", ["rest:util:net", 1337]) == 1
    until("STATUS", lambda: "1 service" in grape.shown("grape", "StatusText"))
    owner = grape.run("stat", "-c", "%u", f"/proc/{main_pid(grape)}")
    assert int(owner) in DYNAMIC_IDS
    assert grape.run("ls", "/var/lib/private/grape").startswith("grape-20001.sqlite")
    before = main_pid(grape)
    grape.run("systemctl", "restart", "grape")
    assert main_pid(grape) != before
    assert grape.call("lookup", "rest:util:net") == ["127.0.0.1:1337"]


def test_killed_grape_is_started_again(grape: Machine) -> None:
    before = main_pid(grape)
    grape.run("systemctl", "kill", "-s", "KILL", "grape")
    until("another process", lambda: main_pid(grape) not in (before, "0"), 40.0)
    grape.wait_for("grape", "ActiveState", "active")
    assert grape.call("lookup", "nobody") == []


def test_grape_whose_loop_stands_still_is_started_again_by_the_watchdog(grape: Machine) -> None:
    dropin = "/run/systemd/system/grape.service.d"
    grape.run("mkdir", "-p", dropin)
    grape.run("sh", "-c", f"printf '[Service]\\nWatchdogSec=3s\\nTimeoutStopSec=3s\\n' >{dropin}/short.conf")
    grape.run("systemctl", "daemon-reload")
    grape.run("systemctl", "restart", "grape")
    before = main_pid(grape)
    grape.run("kill", "-STOP", before)
    until("another process", lambda: main_pid(grape) not in (before, "0"), 40.0)
    grape.wait_for("grape", "ActiveState", "active")
    assert "Watchdog timeout" in grape.journal("grape")
    grape.run("rm", "-r", dropin)
    grape.run("systemctl", "daemon-reload")
    grape.run("systemctl", "restart", "grape")


def test_reload_changes_settings_of_the_same_process(grape: Machine) -> None:
    settings = grape.root / "etc" / "grape" / "grape.toml"
    before, text = main_pid(grape), settings.read_text()
    settings.write_text(f'{text}\nlog_level = "warn"\ndht_concurrency = 3\n')
    grape.run("systemctl", "reload", "grape")
    until("the reload", lambda: "SIGHUP: changed log_level from info to warn" in grape.journal("grape"))
    assert "SIGHUP: takes a restart: dht_concurrency" in grape.journal("grape")
    settings.write_text(text)
    grape.run("systemctl", "reload", "grape")
    until("the way back", lambda: "SIGHUP: changed log_level from warn to info" in grape.journal("grape"))
    assert (main_pid(grape), grape.shown("grape", "ActiveState")) == (before, "active")


def test_stop_is_quick_and_clean(grape: Machine) -> None:
    grape.run("systemctl", "stop", "grape")
    assert (grape.shown("grape", "ActiveState"), grape.shown("grape", "Result")) == ("inactive", "success")
    began, ended = (int(grape.shown("grape", f"{name}TimestampMonotonic")) for name in ("ActiveExit", "InactiveEnter"))
    assert (ended - began) / 1e6 < MAX_STOP_SECONDS


def test_wrong_setting_is_not_tried_again(grape: Machine) -> None:
    settings = grape.root / "etc" / "grape" / "grape.toml"
    text = settings.read_text()
    grape.run("systemctl", "stop", "grape")
    settings.write_text("dht_port = 99999\n")
    grape.run("systemctl", "start", "grape", check=False)
    assert (grape.shown("grape", "ActiveState"), grape.shown("grape", "ExecMainStatus")) == ("failed", "78")
    settings.write_text(text)
    grape.run("systemctl", "start", "grape")


@pytest.mark.parametrize("first", ["datagram", "connection"])
def test_sockets_start_the_grape_and_outlive_it(grape: Machine, first: str) -> None:
    grape.run("systemctl", "stop", "grape")
    grape.run("systemctl", "start", "grape.socket")
    assert grape.shown("grape-api.socket", "ActiveState") == "active"
    assert grape.shown("grape", "ActiveState") == "inactive"
    if first == "datagram":
        assert "1:rd" in grape.run("python3", "-c", _PING)
    assert grape.call("lookup", "nobody") == []
    assert "1:rd" in grape.run("python3", "-c", _PING)
    before = main_pid(grape)
    grape.run("systemctl", "restart", "grape")
    assert main_pid(grape) != before
    assert grape.call("lookup", "nobody") == []
    assert "1:rd" in grape.run("python3", "-c", _PING)
    # They are bound to what the settings say.
    assert "socket from systemd" not in grape.journal("grape")


def test_three_instances_are_a_ring(machine: Machine) -> None:
    nodes = ", ".join(f'"127.0.0.1:{port}"' for port in RING.values())
    for name, port in RING.items():
        settings = machine.root / "etc" / "grape" / f"{name}.toml"
        settings.write_text(f'host = "127.0.0.1"\ndht_port = {port}\napi_port = {port}\ndht_bootstrap = [{nodes}]\n')
    units = [f"grape@{name}" for name in RING]
    machine.run("systemctl", "start", *units)
    until("the ring", lambda: all("2 contacts" in machine.shown(unit, "StatusText") for unit in units), 40.0)
    assert machine.call("announce", ["of the first", 7], RING["one"]) == 2
    assert machine.call("lookup", "of the first", RING["three"]) == ["127.0.0.1:7"]
    assert sorted(machine.run("ls", "/var/lib/private").split()) == ["grape", *sorted(f"grape-{name}" for name in RING)]
    machine.run("systemctl", "stop", *units)
    assert f"ExecStart={PREFIX}/bin/twistd" in machine.run("systemctl", "cat", "grape@one")
