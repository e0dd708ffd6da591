"""grape.krpc.interfaces: this host's own addresses."""

from __future__ import annotations

import errno
import socket
import sys

import pytest

from grape.dht.compact import is_ipv4
from grape.krpc import interfaces
from grape.krpc.interfaces import LOOPBACK, local_addresses, primary_address


def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves no route to other hosts."""

    class Unrouted(socket.socket):
        def connect(self, address: object) -> None:
            raise OSError(errno.ENETUNREACH, "Network is unreachable")

    monkeypatch.setattr(socket, "socket", Unrouted)


def test_local_addresses_are_ipv4_addresses_each_once() -> None:
    hosts = local_addresses()
    assert hosts
    assert all(map(is_ipv4, hosts))
    assert len(set(hosts)) == len(hosts)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lists all addresses")
def test_local_addresses_can_be_bound_to() -> None:
    for host in local_addresses():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
            opened.bind((host, 0))


def test_primary_address_is_local_and_no_loopback() -> None:
    primary = primary_address()
    if primary is None:
        assert all(host.startswith("127.") for host in local_addresses())
    else:
        assert primary in local_addresses()
        assert not primary.startswith("127.")


def test_primary_address_without_a_default_route_is_the_first_of_an_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    _no_network(monkeypatch)
    monkeypatch.setattr(interfaces, "_interface_addresses", lambda: ["127.0.0.1", "10.0.0.7", "10.0.1.7"])
    monkeypatch.setattr(sys, "platform", "linux")
    assert primary_address() == "10.0.0.7"


def test_primary_address_of_a_host_without_a_network_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    _no_network(monkeypatch)
    monkeypatch.setattr(interfaces, "_interface_addresses", lambda: ["127.0.0.1"])
    assert primary_address() is None


@pytest.mark.parametrize("problem", [OSError(errno.EPERM, "no"), ImportError("no fcntl")])
def test_local_addresses_that_the_system_does_not_list(monkeypatch: pytest.MonkeyPatch, problem: Exception) -> None:
    def refuse() -> list[str]:
        raise problem

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(interfaces, "_interface_addresses", refuse)
    assert local_addresses()[0] == LOOPBACK


def test_local_addresses_of_other_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(interfaces, "_source_address", lambda: "10.0.0.7")
    assert local_addresses() == [LOOPBACK, "10.0.0.7"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lists all addresses")
def test_local_addresses_are_complete_however_many(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = local_addresses()
    monkeypatch.setattr(interfaces, "_FIRST_COUNT", 1)
    assert local_addresses() == listed
