"""Tests the lab of hosts itself: what it leaves behind, and that its routers and links do what they are asked."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gauntlet.lab.grapes import LabGrape
from gauntlet.lab.host import Host, LabError
from gauntlet.lab.lab import Lab, reason_missing, route, translate
from gauntlet.machine import ROOT, until
from tests.live.conftest import unavailable

PORT = 20_001
ECHO = "gauntlet.lab.impostor"
NODE_ID = bytes(range(20))
ENDS_SECONDS = 10.0
ASKED = 60


@pytest.fixture(autouse=True)
def _machine() -> None:
    if reason := reason_missing():
        unavailable(reason)


@pytest.fixture
def lab() -> Iterator[Lab]:
    """Makes a lab, which ends with the test."""
    with Lab() as made:
        yield made


def answering(host: Host) -> None:
    """Starts a node that answers pings with ``NODE_ID``."""
    host.python(ECHO, NODE_ID.hex())

    def answers() -> bool:
        answer = host.ask("127.0.0.1", PORT, b"ping", 0.1)
        return answer is not None

    until("the node answers", answers, ENDS_SECONDS)


def interfaces() -> set[str]:
    return set(os.listdir("/sys/class/net"))


def is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


# What is left


def test_lab_leaves_nothing_after_an_exception() -> None:
    before = interfaces()
    pids: list[int] = []
    directories: list[Path] = []

    def fail() -> None:
        with Lab() as made:
            network = made.network()
            host = made.host(network=network, last=1)
            made.far_host(made.router(network), 0.1)
            grape = LabGrape(host, network.address(1))
            grape.wait()
            directories.append(made.directory)
            pids.extend([grape.program.pid, *(each.pid for each in made.hosts)])
            assert interfaces() == before
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert interfaces() == before
    assert all(is_gone(pid) for pid in pids)
    assert not directories[0].exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_lab_leaves_nothing_after_a_signal(number: signal.Signals, tmp_path: Path) -> None:
    program = """
import time
from gauntlet.lab.lab import Lab
with Lab() as lab:
    host = lab.host(network=lab.network(), last=1)
    asleep = host.start("sleep", "60")
    print(lab.directory, asleep.pid, *(each.pid for each in lab.hosts), flush=True)
    time.sleep(60)
"""
    lab = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        assert lab.stdout is not None
        directory, *pids = lab.stdout.readline().split()
        # To all of its process group, as a terminal does at Ctrl-C.
        os.killpg(lab.pid, number)
        lab.wait(ENDS_SECONDS)
    finally:
        lab.kill()
        lab.wait()
    until("all processes have ended", lambda: all(is_gone(int(pid)) for pid in pids), ENDS_SECONDS)
    until("the files are removed", lambda: not Path(directory).exists(), ENDS_SECONDS)


def test_labs_can_stand_beside_each_other(lab: Lab) -> None:
    with Lab() as other:
        networks = lab.network(), other.network()
        assert networks[0].address(1) == networks[1].address(1)
        here, there = lab.host(network=networks[0], last=1), other.host(network=networks[1], last=2)
        answering(here)
        assert there.ask(networks[1].address(1), PORT, b"ping", 0.2) is None


# What it does


def test_hosts_have_addresses_of_their_own(lab: Lab) -> None:
    network = lab.network()
    first, second = lab.host(network=network, last=1), lab.host(network=network, last=2)
    answering(first)
    answer = second.ask(network.address(1), PORT, b"ping")
    assert answer is not None
    assert answer.node_id == NODE_ID
    assert answer.source == (network.address(1), PORT)


def test_unplugged_host_is_silent(lab: Lab) -> None:
    network = lab.network()
    first, second = lab.host(network=network, last=1), lab.host(network=network, last=2)
    answering(first)
    lab.unplug(first)
    assert second.ask(network.address(1), PORT, b"ping", 0.3) is None


def test_far_host_is_as_far_as_asked(lab: Lab) -> None:
    network = lab.network()
    near = lab.host(network=network, last=1)
    route(near, network)
    far, address = lab.far_host(lab.router(network), 0.1)
    answering(far)
    seconds = []
    for _ in range(5):
        began = time.monotonic()
        assert near.ask(address, PORT, b"ping") is not None
        seconds.append(time.monotonic() - began)
    # Never sooner; a busy machine is later.
    assert min(seconds) >= 0.2
    assert statistics.median(seconds) < 0.4


def test_far_host_loses_the_share_that_is_asked(lab: Lab) -> None:
    network = lab.network()
    near = lab.host(network=network, last=1)
    route(near, network)
    far, address = lab.far_host(lab.router(network), 0.0, loss=0.3)
    answering(far)
    answered = sum(near.ask(address, PORT, b"ping", 0.1) is not None for _ in range(ASKED))
    # 0.7 x 0.7 of 60 are 29; the dice of the link are seeded.
    assert 0.3 * ASKED < answered < 0.7 * ASKED


def test_router_translates_addresses_and_publishes_a_port(lab: Lab) -> None:
    outside, inside = lab.network(), lab.network()
    server, asker = lab.host(network=outside, last=1), lab.host(network=outside, last=2)
    hidden = lab.host(network=inside, last=2)
    router = lab.router(outside, inside)
    route(hidden, inside)
    translate(router, "eth0", "eth1", published=(20_011, inside.address(2), PORT))
    answering(hidden)
    grape = LabGrape(server, outside.address(1))
    grape.wait()
    published = asker.ask(outside.address(254), 20_011, b"ping")
    assert published is not None
    assert published.source == (outside.address(254), 20_011)
    # Our grapes tell a querier the address that they see.
    seen = hidden.ask(outside.address(1), PORT, b"ping")
    assert seen is not None
    assert seen.message[b"ip"][:4] == bytes(map(int, outside.address(254).split(".")))
    assert asker.ask(outside.address(254), PORT, b"ping", 0.3) is None
    route(asker, outside)
    assert asker.ask(inside.address(2), PORT, b"ping", 0.3) is None


def test_host_has_names_of_its_own(lab: Lab) -> None:
    before = Path("/etc/hosts").read_text()
    # The resolver gives IPv4 addresses only to a host that has one.
    host = lab.host(network=lab.network(), last=1)
    host.set_names("10.71.1.1 ring.test", "10.71.1.2 ring.test")
    found = {line.split()[0] for line in host.run("getent", "ahostsv4", "ring.test").splitlines()}
    assert found == {"10.71.1.1", "10.71.1.2"}
    assert Path("/etc/hosts").read_text() == before


def test_failing_command_says_why(lab: Lab) -> None:
    with pytest.raises(LabError, match="Cannot find device"):
        lab.host().ip("link set nothing up")
