"""grape.logs: the Node grape's debug lines."""

from __future__ import annotations

import re

import pytest

from grape import logs
from grape.config import Config
from grape.node.node import Node
from grape.testing import MemoryNetwork


@pytest.mark.parametrize(
    ("setting", "wanted"),
    [
        ("grenache:grape", True),
        ("*", True),
        ("grenache:*", True),
        ("express,grenache:grape", True),
        ("express  grenache:*", True),
        (" , grenache:grape,", True),
        ("", False),
        ("grenache", False),
        ("grenache:grape:more", False),
        ("Grenache:Grape", False),
        ("bittorrent-dht", False),
        ("*,-grenache:grape", False),
        ("-grenache:*,*", False),
        ("*,-express", True),
        ("-express", False),
    ],
)
def test_debug_setting_is_read_as_nodes_debug_package_does(setting: str, wanted: bool) -> None:
    assert logs.is_wanted(setting) is wanted
    assert (logs.tracer({"DEBUG": setting}) is not None) is wanted


def test_tracer_is_none_without_a_setting() -> None:
    assert logs.tracer({}) is None


def test_debug_line_has_its_time_and_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    logs.write_line("starting")
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z grenache:grape starting\n", err)


def test_node_writes_the_debug_lines_of_the_node_grape() -> None:
    network = MemoryNetwork()
    said: list[list[str]] = [[], []]
    bootstrap = [(), (("10.0.0.1", 20_001),)]
    configs = [Config(dht_port=20_001 + n, dht_bootstrap=bootstrap[n]) for n in (0, 1)]
    nodes = [Node(configs[n], network.reactor(f"10.0.0.{n + 1}"), trace=said[n].append) for n in (0, 1)]
    for node in nodes:
        node.startService()
        network.result(node.when_ready())
    nodes[0].startService()
    network.clock.advance(0.1)
    network.result(nodes[1].announce("a", 1))
    for node in nodes:
        network.result(node.lookup("a"))
    network.ports["10.0.0.1", 20_001].received(b"garbage", ("10.0.0.9", 1))
    assert said[0] == [
        "starting",
        "20001 listening",
        "20001 ready",
        "20001 node",
        "skipping start, since Grape is already active",
        "20001 announce a",
        "20001 found potential peer 10.0.0.2:1 for hash: a",
        "lookup a found 1 nodes",
        "20001 warning",
    ]
    assert said[1][-2:] == [
        "20002 found potential peer 10.0.0.2:1 through 10.0.0.1:20001 for hash: a",
        "lookup a found 1 nodes",
    ]
