"""grape.daemon.service: the first line of a process, and how it ends where it cannot start."""

from __future__ import annotations

import errno
import io
import os
import sys

import pytest
from twisted.internet.error import CannotListenError

import grape
from grape import Config, Grape
from grape.daemon.service import Daemon
from grape.testing import MemoryNetwork
from tests.simulation import Remote


def test_daemon_ends_the_process_with_one_line_if_its_port_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    network = MemoryNetwork()
    Remote(network, "10.0.0.1")
    daemon = Daemon(Config(api_port=None), network.reactor("10.0.0.1"))
    for start in (daemon.privilegedStartService, daemon.startService):
        with pytest.raises(SystemExit) as raised:
            start()
        assert raised.value.code == 69
        assert isinstance(raised.value.__cause__, CannotListenError)
        err = capsys.readouterr().err
        assert err.startswith("grape: cannot listen on UDP port 20001 of 10.0.0.1: ")
        assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("dht", "api", "nodes", "line", "url"),
    [
        (
            ("0.0.0.0", 20_001),
            ("::", 30_001),
            "",
            "DHT udp 0.0.0.0:20001 (all addresses), HTTP API listening on [::]:30001 (all addresses), "
            "no bootstrap nodes",
            "http://127.0.0.1:30001/announce",
        ),
        (
            ("10.0.0.1", 20_001),
            ("0.0.0.0", 30_001),
            "a:1",
            "DHT udp 10.0.0.1:20001, HTTP API listening on 0.0.0.0:30001 (all addresses), 1 bootstrap node",
            "http://127.0.0.1:30001/announce",
        ),
        (
            ("127.0.0.1", 20_001),
            ("::1", 30_001),
            "a:1,b:2",
            "DHT udp 127.0.0.1:20001, HTTP API listening on [::1]:30001, 2 bootstrap nodes",
            "http://[::1]:30001/announce",
        ),
        (("127.0.0.1", 20_001), None, "", "DHT udp 127.0.0.1:20001, no HTTP API, no bootstrap nodes", None),
    ],
)
def test_first_line_says_what_is_bound_and_a_call_to_try(
    dht: tuple[str, int],
    api: tuple[str, int] | None,
    nodes: str,
    line: str,
    url: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Grape, "dht_address", dht)
    monkeypatch.setattr(Grape, "api_address", api)
    daemon = Daemon(Config(dht_bootstrap=nodes), MemoryNetwork().reactor("10.0.0.1"))
    call = f"""; try: curl -d '{{"data":["rest:util:net",1337]}}' {url}""" if url is not None else ""
    assert daemon.first_line() == f"grape {grape.__version__}: {line}{call}"


def test_daemon_of_twistd_tells_the_terminal_and_the_process_that_waits_on_it(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    network = MemoryNetwork()
    Remote(network, "10.0.0.1")
    reading, writing = os.pipe()
    daemon = Daemon(Config(api_port=None), network.reactor("10.0.0.1"), {"nodaemon": 0, "statusPipe": writing})
    # What is written from now on does not come to the terminal.
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    monkeypatch.setattr(sys, "__stderr__", None)
    with pytest.raises(SystemExit):
        daemon.startService()
    os.close(writing)
    # twistd leaves the first two bytes out.
    with os.fdopen(reading) as pipe:
        assert pipe.read() == "1 see above"
    assert log.getvalue() == capfd.readouterr().err
    assert log.getvalue().startswith("grape: cannot listen on UDP port 20001 of 10.0.0.1: ")
    assert log.getvalue().count("\n") == 1


def test_daemon_of_twistd_without_a_terminal_tells_the_process_that_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    network = MemoryNetwork()
    Remote(network, "10.0.0.1")
    reading, writing = os.pipe()

    def closed(_: int) -> int:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    with monkeypatch.context() as patch:
        patch.setattr(os, "dup", closed)
        daemon = Daemon(Config(api_port=None), network.reactor("10.0.0.1"), {"nodaemon": 0, "statusPipe": writing})
    with pytest.raises(SystemExit):
        daemon.startService()
    os.close(writing)
    # twistd reads 100 bytes.
    with os.fdopen(reading) as pipe:
        assert pipe.read().startswith("1 grape: cannot listen on UDP port 20001 of 10.0.0.1: ")


def test_interrupt_before_the_reactor_runs_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(grape: Grape) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Grape, "startService", interrupt)
    with pytest.raises(SystemExit) as raised:
        Daemon(Config(api_port=None), MemoryNetwork().reactor("10.0.0.1")).startService()
    assert raised.value.code == 130
