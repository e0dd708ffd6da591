"""Sockets from systemd: what a grape does with sockets that it was handed, and the config that follows them."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
import pytest_twisted  # type: ignore[import-untyped]
from twisted.internet import reactor as global_reactor
from twisted.internet.threads import deferToThread

from grape import Config, Grape
from grape.daemon.activation import with_sockets

reactor: Any = global_reactor
HOST = "127.0.0.1"
SECONDS = 10.0
PING = b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe"


@pytest.fixture
def dht() -> Iterator[socket.socket]:
    with socket.socket(type=socket.SOCK_DGRAM) as opened:
        opened.bind((HOST, 0))
        opened.setblocking(False)
        yield opened


@pytest.fixture
def api() -> Iterator[socket.socket]:
    with socket.socket() as opened:
        opened.bind((HOST, 0))
        opened.listen()
        opened.setblocking(False)
        yield opened


def test_config_has_the_ports_and_addresses_of_the_sockets(dht: socket.socket, api: socket.socket) -> None:
    config = with_sockets(Config(host="10.0.0.1", max_keys=7), {"dht": dht, "api": api})
    assert (config.dht_host, config.dht_port) == dht.getsockname()
    assert (config.api_host, config.api_port) == api.getsockname()
    assert config.max_keys == 7


def test_config_that_says_the_same_stays() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as everywhere:
        everywhere.bind(("", 0))
        config = Config(dht_port=everywhere.getsockname()[1])
        assert with_sockets(config, {"dht": everywhere}) is config
    assert with_sockets(config, {}) is config


def ping(address: tuple[str, int]) -> bytes:
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        client.settimeout(SECONDS)
        client.sendto(PING, address)
        return client.recv(1_500)


def call(address: tuple[str, int]) -> bytes:
    with socket.create_connection(address, SECONDS) as client:
        body = b'{"data":"x"}'
        client.sendall(b"POST /lookup HTTP/1.0\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        return client.makefile("rb").read()


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_grape_serves_on_the_sockets_and_leaves_them_open(dht: socket.socket, api: socket.socket) -> None:
    config = with_sockets(Config(), {"dht": dht, "api": api})
    grape = Grape.from_config(config, reactor, dht_socket=dht, api_socket=api)
    for _ in range(2):
        grape.startService()
        assert (grape.dht_address, grape.api_address) == (dht.getsockname(), api.getsockname())
        assert b"1:rd" in await deferToThread(ping, dht.getsockname())
        assert (await deferToThread(call, api.getsockname())).endswith(b"[]")
        await grape.stopService()
    # While nobody serves, what comes waits.
    with socket.socket(type=socket.SOCK_DGRAM) as client, socket.create_connection(api.getsockname(), SECONDS):
        client.settimeout(SECONDS)
        client.sendto(PING, dht.getsockname())
        grape.startService()
        assert b"1:rd" in await deferToThread(client.recv, 1_500)
        await grape.stopService()
