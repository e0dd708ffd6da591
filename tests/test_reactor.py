"""grape.reactor: names and their addresses. Only names of this machine are resolved."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import CannotListenError

from grape.krpc.udp import bind_address
from grape.reactor import OnlyIPv6, ipv4_addresses, resolver


def system(monkeypatch: pytest.MonkeyPatch, **names: dict[socket.AddressFamily, list[str]]) -> None:
    """Has the system know only these names, each with its addresses by family."""

    def getaddrinfo(name: str, port: None, family: socket.AddressFamily, kind: int) -> list[Any]:
        found = names.get(name, {}).get(family)
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(family, kind, 17, "", (host, 0)) for host in found]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def test_all_ipv4_addresses_of_a_name_are_returned_each_once(monkeypatch: pytest.MonkeyPatch) -> None:
    system(monkeypatch, ring={socket.AF_INET: ["10.0.0.2", "10.0.0.1", "10.0.0.2"], socket.AF_INET6: ["fd00::1"]})
    assert ipv4_addresses("ring") == ["10.0.0.2", "10.0.0.1"]


def test_name_with_ipv6_addresses_alone_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    system(monkeypatch, six={socket.AF_INET6: ["fd00::1"]})
    with pytest.raises(OnlyIPv6, match=r"^six has only IPv6 addresses: fd00::1$"):
        ipv4_addresses("six")


def test_name_without_addresses_is_an_error_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    system(monkeypatch)
    with pytest.raises(socket.gaierror, match="not known"):
        ipv4_addresses("none")


def test_reactor_that_resolves_to_one_address_gives_a_list() -> None:
    class Resolving:
        def resolve(self, name: str) -> Deferred[str]:
            return succeed("10.0.0.1")

    reactor: Any = Resolving()
    found: list[list[str]] = []
    resolver(reactor)("a").addCallback(found.append)
    assert found == [["10.0.0.1"]]


def test_name_to_bind_to_with_ipv6_addresses_alone_is_refused_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    system(monkeypatch, six={socket.AF_INET6: ["fd00::2"]}, four={socket.AF_INET: ["10.0.0.1", "10.0.0.2"]})
    with pytest.raises(CannotListenError) as raised:
        bind_address("six", 20_001)
    assert str(raised.value.socketError) == "six has only IPv6 addresses: fd00::2"
    assert bind_address("four", 20_001) == "10.0.0.1"
