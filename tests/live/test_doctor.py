"""grape doctor on hosts of a lab: it finds each fault that is made here, and none where all is well."""

from __future__ import annotations

import json
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gauntlet.lab.grapes import LabGrape
from gauntlet.lab.host import Host
from gauntlet.lab.lab import Lab, Network, reason_missing
from gauntlet.machine import until
from tests.live.conftest import unavailable

SECONDS = 20.0
URL = "http://127.0.0.1:30001"
SKEW_SECONDS = 3_600

Findings = list[dict[str, str]]


@pytest.fixture
def lab() -> Iterator[Lab]:
    """Makes a lab, which ends with the test."""
    if reason := reason_missing():
        unavailable(reason)
    with Lab() as made:
        yield made


class Ring:
    """Three hosts in one network, and the grapes on them."""

    def __init__(self, lab: Lab) -> None:
        self.network: Network = lab.network()
        self.hosts = [lab.host(network=self.network, last=last) for last in (1, 2, 3)]
        self.grapes: list[LabGrape] = []

    def address(self, last: int) -> str:
        return self.network.address(last)

    @property
    def nodes(self) -> str:
        """The bootstrap list of all three."""
        return ",".join(f"{self.address(last)}:20001" for last in (1, 2, 3))

    @property
    def urls(self) -> list[str]:
        """The flags that name the HTTP APIs of all three, the first one examined."""
        return [word for last in (1, 2, 3) for word in ("-u", f"http://{self.address(last)}:30001")]

    def start(self, last: int, *flags: str, **options: Any) -> LabGrape:
        """Starts the grape of a host; names all three as bootstrap nodes unless flags do."""
        named = () if "--bn" in flags else ("--bn", self.nodes)
        grape = LabGrape(self.hosts[last - 1], self.address(last), *named, *flags, **options)
        grape.wait()
        self.grapes.append(grape)
        return grape

    def wait(self, contacts: int = 2) -> None:
        """Waits until each grape has so many contacts."""
        until("the ring is whole", lambda: all(has_contacts(grape, contacts) for grape in self.grapes), SECONDS)


@pytest.fixture
def ring(lab: Lab) -> Ring:
    """Three hosts without grapes."""
    return Ring(lab)


def status(grape: LabGrape) -> dict[str, Any]:
    text = grape.host.run(
        sys.executable,
        "-c",
        "import sys, urllib.request as r; print(r.urlopen(sys.argv[1], timeout=5).read().decode())",
        f"http://127.0.0.1:{grape.api}/status",
    )
    told: dict[str, Any] = json.loads(text)
    return told


def has_contacts(grape: LabGrape, number: int) -> bool:
    return bool(status(grape)["contacts"]["good"] >= number)


def examine(host: Host, *words: str) -> tuple[int, Findings]:
    """Runs the command on a host; returns its exit status and its findings."""
    code, out, errors = host.request("run", [sys.executable, "-m", "grape", "doctor", "--json", *words], "")
    assert out, errors
    assert errors == ""
    return code, json.loads(out)["findings"]


def troubles(findings: Findings) -> dict[str, str]:
    """Returns the states of those that are not well, by name; each says what to do."""
    bad = [finding for finding in findings if finding["state"] in ("warning", "failed")]
    assert all(finding["advice"].endswith(".") for finding in bad)
    return {finding["name"]: finding["state"] for finding in bad}


def found(findings: Findings, name: str) -> str:
    """Returns what the check of a name found, and its advice."""
    return "\n".join(
        f"{finding['state']} {finding['found']} {finding['advice']}" for finding in findings if finding["name"] == name
    )


def whole(ring: Ring, *flags: str) -> None:
    """Starts three grapes, the first one with flags."""
    ring.start(1, *flags)
    ring.start(2)
    ring.start(3)
    ring.wait()


def test_healthy_ring_of_three_is_well(ring: Ring) -> None:
    whole(ring)
    for host in (ring.hosts[0], ring.hosts[1]):
        code, findings = examine(host, *ring.urls)
        assert (code, [finding for finding in findings if finding["state"] != "ok"]) == (0, [])
    assert f"at {ring.address(1)}:20001" in found(findings, "UDP port")


def test_dead_bootstrap_node_is_found(ring: Ring) -> None:
    whole(ring, "--bn", f"{ring.nodes},{ring.address(9)}:20001,nowhere.invalid:20001")
    code, findings = examine(ring.hosts[0], *ring.urls)
    assert (code, troubles(findings)) == (0, {"bootstrap": "warning"})
    assert f"warning {ring.address(9)}:20001" in found(findings, "bootstrap")
    assert "nowhere.invalid cannot be resolved" in found(findings, "bootstrap")


def test_wrong_port_is_found_and_the_right_one_named(ring: Ring) -> None:
    ring.start(1, "--bn", f"{ring.address(2)}:30001,{ring.address(3)}:20002")
    ring.start(2, "--bn", ring.address(3) + ":20001")
    ring.start(3, "--bn", ring.address(2) + ":20001")
    code, findings = examine(ring.hosts[0], "-u", URL)
    said = found(findings, "bootstrap")
    assert code == 1
    assert troubles(findings)["bootstrap"] == "failed"
    assert f"{ring.address(2)}:30001: no node answers there, but HTTP does" in said
    assert f"{ring.address(3)}:20002: no process listens at this UDP port" in said
    assert f"At {ring.address(2)}:20001 a node answers." in said
    assert f"At {ring.address(3)}:20001 a node answers." in said


def test_firewall_that_keeps_answers_out_is_found_on_the_host(ring: Ring) -> None:
    firewall(ring.hosts[0], "udp dport 20001 iifname eth0 drop")
    ring.start(1)
    ring.start(2)
    ring.start(3)
    until("it is isolated", lambda: "isolated" in status(ring.grapes[0])["readiness"]["problems"], SECONDS)
    code, findings = examine(ring.hosts[0], "-u", URL)
    assert code == 1
    assert troubles(findings) == {"network": "failed", "self-test": "failed"}
    assert "Bootstrap nodes answer this command, so a firewall drops" in found(findings, "network")
    assert "open UDP port 20001" in found(findings, "network")


def test_firewall_that_lets_only_answers_in_is_found_from_another_host(ring: Ring) -> None:
    firewall(ring.hosts[0], "ct state established,related accept", "meta l4proto udp iifname eth0 drop")
    whole(ring)
    code, findings = examine(ring.hosts[1], *ring.urls)
    assert (code, troubles(findings)) == (1, {"UDP port": "failed"})
    assert f"no answer at {ring.address(1)}:20001, though its HTTP API answers" in found(findings, "UDP port")
    assert "Open UDP port 20001" in found(findings, "UDP port")


def firewall(host: Host, *rules: str) -> None:
    """Sets the rules for what comes in."""
    lines = "\n".join(rules)
    text = f"table inet doctor {{ chain input {{ type filter hook input priority 0;\n{lines}\n}}\n}}\n"
    host.run("nft", "-f", "-", text=text)


def test_clone_is_found(ring: Ring, lab: Lab) -> None:
    nodes = f"{ring.nodes},{ring.address(4)}:20001"
    first = ring.start(1, "--state", "state.sqlite", "--bn", nodes)
    ring.start(2)
    ring.start(3)
    ring.wait()
    first.stop()
    ring.grapes.remove(first)
    copy = lab.host(network=ring.network, last=4)
    copy.run("cp", str(ring.hosts[0].directory / "state.sqlite"), str(copy.directory / "state.sqlite"))
    first = ring.start(1, "--state", "state.sqlite", "--bn", nodes)
    ring.wait()
    # It names only a node with another id: one that names the first would take an id of its own.
    clone = LabGrape(copy, ring.address(4), "--bn", f"{ring.address(2)}:20001", "--state", "state.sqlite")
    clone.wait()
    assert status(clone)["node_id"] == status(first)["node_id"]
    for host, words in (
        # Found as a bootstrap node; by its HTTP API.
        (ring.hosts[0], ["-u", URL]),
        (ring.hosts[1], ["-u", f"http://{ring.address(1)}:30001", "-u", f"http://{ring.address(4)}:30001"]),
    ):
        code, findings = examine(host, *words)
        assert (code, troubles(findings)["node id"]) == (1, "failed")
        assert f"another node, at {ring.address(4)}:20001, has the id of this grape" in found(findings, "node id")
        assert "grape state new-id FILE" in found(findings, "node id")
        assert f"{ring.address(4)}:20001 answers, with the id of this grape" in found(findings, "bootstrap")
        assert f"{ring.address(1)}:20001 is this grape itself" in found(findings, "bootstrap")


def test_full_disk_is_found(ring: Ring) -> None:
    host = ring.hosts[0]
    disk = host.directory / "disk"
    host.run("mkdir", str(disk))
    host.run("mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk))
    whole(ring, "--state", str(disk / "state.sqlite"))
    code, findings = examine(host, *ring.urls)
    assert (code, troubles(findings)) == (0, {"state file": "warning"})
    host.request("run", ["dd", "if=/dev/zero", f"of={disk / 'filler'}", "bs=4k"], "")

    def is_degraded() -> bool:
        ring.grapes[0].call("put", f"{id(object())}".ljust(900))
        return status(ring.grapes[0])["state"]["problem"] is not None

    until("puts are refused", is_degraded, SECONDS)
    code, findings = examine(host, *ring.urls)
    assert (code, troubles(findings)) == (1, {"state file": "failed"})
    assert "full" in found(findings, "state file")
    assert "Free space on its filesystem" in found(findings, "state file")


def test_few_descriptors_are_found(ring: Ring) -> None:
    host = ring.hosts[0]
    flags = ["--dp", "20001", "--aph", "30001", "--state", ":memory:", "--bn", ring.nodes]
    host.start("prlimit", "--nofile=48:48", sys.executable, "-m", "grape", *flags)
    ring.start(2)
    ring.start(3)
    ring.wait()
    code, findings = examine(host, *ring.urls)
    assert (code, troubles(findings)) == (0, {"descriptors": "warning"})
    assert "of 48 are open, which are few: HTTP connections are limited to 24" in found(findings, "descriptors")


def test_loopback_bind_is_found(ring: Ring) -> None:
    ring.start(1, "-b", "127.0.0.1")
    ring.start(2)
    ring.start(3)
    code, findings = examine(ring.hosts[0], "-u", URL)
    assert code == 1
    assert troubles(findings)["UDP address"] == "failed"
    assert "bound to 127.0.0.1:20001, where no other host reaches it" in found(findings, "UDP address")


def test_isolated_grape_is_found(ring: Ring) -> None:
    whole(ring)
    for grape in ring.grapes[1:]:
        grape.kill()
    until("it is isolated", lambda: "isolated" in status(ring.grapes[0])["readiness"]["problems"], SECONDS)
    code, findings = examine(ring.hosts[0], "-u", URL)
    said = troubles(findings)
    assert (code, said["network"], said["bootstrap"]) == (1, "failed", "failed")
    assert "None of its bootstrap nodes answers" in found(findings, "network")
    assert "no process listens at this UDP port" in found(findings, "bootstrap")
    _, findings = examine(ring.hosts[0], "a service", "-u", URL)
    assert "it finds nothing, as the grape is isolated" in found(findings, "lookup of a service")


def test_wrong_clock_is_found(ring: Ring) -> None:
    flags = ["--dp", "20001", "--aph", "30001", "--state", ":memory:", "--bn", ring.nodes]
    skewed = ring.hosts[0].python("gauntlet.stepped", str(SKEW_SECONDS), *flags)
    ring.start(2)
    ring.start(3)
    ring.wait()
    skewed.signal(signal.SIGUSR1)
    code, findings = examine(ring.hosts[0], *ring.urls)
    assert (code, troubles(findings)) == (0, {"clock": "warning"})
    assert f"it is {SKEW_SECONDS} s ahead of that of http://{ring.address(2)}:30001" in found(findings, "clock")
    code, findings = examine(ring.hosts[1], "-u", f"http://{ring.address(1)}:30001")
    assert f"{SKEW_SECONDS} s ahead of this machine's" in found(findings, "clock")


@pytest.mark.parametrize(("other", "said"), [("120000", r"for about 1[12]\d s"), ("480000", "longer")])
def test_another_age_in_the_ring_is_found_on_the_wire(ring: Ring, other: str, said: str) -> None:
    ring.start(1)
    ring.start(2, "--dht_peer_maxAge", other)
    ring.start(3)
    ring.wait()
    code, findings = examine(ring.hosts[0], "-u", URL)
    assert (code, troubles(findings)) == (0, {"peers' age": "warning"})
    told = f"this grape lists a peer for 240 s, {re.escape(ring.address(2))}:20001 {said}"
    assert re.search(told, found(findings, "peers' age"))


def test_lost_large_datagrams_are_found(ring: Ring) -> None:
    for host in ring.hosts[1:]:
        firewall(host, "meta l4proto udp meta length > 1300 drop")
    whole(ring)
    code, findings = examine(ring.hosts[0], *ring.urls)
    assert (code, troubles(findings)) == (1, {"MTU": "failed"})


def test_empty_lookup_is_explained(ring: Ring) -> None:
    whole(ring)
    assert ring.grapes[1].announce("rest:util:net", 7070) == 2
    code, findings = examine(ring.hosts[0], "rest:util:net", *ring.urls)
    assert (code, troubles(findings)) == (0, {})
    assert f"1 peer: {ring.address(2)}:7070" in found(findings, "lookup of rest:util:net")
    code, findings = examine(ring.hosts[0], "rest:util:nett", *ring.urls)
    assert (code, troubles(findings)) == (1, {"lookup of rest:util:nett": "failed"})
    assert "nobody announces it, but 'rest:util:net' is announced" in found(findings, "lookup of rest:util:nett")
    code, findings = examine(ring.hosts[0], "something else", *ring.urls)
    assert "nobody has announced it within the last 240 s (2 of 2" in found(findings, "lookup of something else")


def test_refused_host_is_found(ring: Ring) -> None:
    ring.start(1, "--bn", ring.address(2) + ":20001")
    ring.hosts[1].set_names(f"{ring.address(1)} grape.example")
    code, findings = examine(ring.hosts[1], "-u", "http://grape.example:30001")
    assert code == 1
    assert "ERR_GRAPE_HOST" in found(findings, "HTTP API")
    assert "--allow-host" in found(findings, "HTTP API")


def test_node_grape_is_examined_as_far_as_it_tells(lab: Lab, ring: Ring, node: Path) -> None:
    for last in (1, 2):
        ring.start(last, "--bn", f"{ring.address(3 - last)}:20001", node=True)
    ring.grapes[0].announce("rest:util:net", 7070)
    url = f"http://{ring.address(1)}:30001"
    code, findings = examine(ring.hosts[2], "rest:util:net", "-u", url)
    assert (code, troubles(findings)) == (0, {}), findings
    for name in ("HTTP API", "network", "UDP port", "contacts", "node id", "MTU", "clock", "lookup of rest:util:net"):
        assert found(findings, name).startswith("ok"), name
    # A Node grape lists whoever queries it with an id, read-only or not.
    assert "1 of 1 contact" in found(findings, "contacts")
    for name in ("UDP address", "bootstrap", "peers' age", "state file", "descriptors", "limits"):
        assert "a Node grape, or an older one, does not tell it" in found(findings, name)
    code, findings = examine(ring.hosts[2], "-u", url)
    assert "a Node grape would list the announced name for minutes" in found(findings, "self-test")
