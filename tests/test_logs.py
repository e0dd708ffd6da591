"""grape.logs: the log on stderr, and the Node grape's debug lines."""

from __future__ import annotations

import io
import re
import subprocess
import sys

import pytest
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, Logger, formatEvent, textFileLogObserver
from zope.interface import provider

from grape import logs
from grape.config import Config
from grape.logs import RepeatCounter, RepeatFilter, counting_repeats
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


LOGGING = """
from grape.logs import log_to_stderr
from twisted.logger import Logger

repeats = log_to_stderr()
Logger(namespace="grape").debug("one")
Logger(namespace="grape").info("two {number}", number=2)
Logger(namespace="twisted.web.http").info("three")
Logger(namespace="log_legacy").info("four")
Logger(namespace="twisted.web.http").warn("five")
for _ in range(3):
    Logger(namespace="grape").info("two {number}", number=3)
for _ in range(2):
    Logger(namespace="grape").info("asked", is_answer=True)
print("six")
repeats.flush(at_end=True)
"""


def test_log_has_a_line_with_its_time_for_what_an_operator_needs() -> None:
    ran = subprocess.run([sys.executable, "-c", LOGGING], capture_output=True, text=True, timeout=30, check=True)
    assert ran.stdout == "six\n"
    lines = ran.stderr.splitlines()
    assert [line.partition(" ")[2] for line in lines] == [
        "[info] two 2",
        "[warn] five",
        "[info] two 3",
        "[info] asked",
        "[info] asked",
        "[info] repeated 2 times: two 3",
    ]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} .*", line) for line in lines)


def test_repeat_counter_writes_a_line_once_in_its_time() -> None:
    lines = RepeatCounter(60.0)
    assert [lines.is_new(line, 0.0) for line in ("a", "b", "a", "a")] == [True, True, False, False]
    assert lines.finished(59.9) == []
    assert lines.finished(60.0) == [("a", 2)]
    assert [lines.is_new(line, 61.0) for line in ("a", "b")] == [True, True]
    assert lines.finished(1e9) == []


def test_repeat_counter_remembers_a_bounded_number_of_lines() -> None:
    lines = RepeatCounter(60.0, max_lines=3)
    for line in ("0", "1", "2", "0", "3"):
        lines.is_new(line, 0.0)
    assert lines.finished(1.0) == [("0", 1)]
    assert lines.is_new("0", 1.0)
    assert lines.finished(1.0) == []
    assert not lines.is_new("2", 1.0)


class Log:
    """A RepeatFilter with a clock; ``texts`` are the lines that it passed."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.texts: list[str] = []

        @provider(ILogObserver)
        def note(event: LogEvent) -> None:
            self.texts.append(formatEvent(event))

        self.filter = RepeatFilter(note, self.clock.seconds)
        self.log = Logger(namespace="grape", observer=self.filter)


def test_repeat_filter_counts_lines_with_others_between_them() -> None:
    log = Log()
    for _ in range(3):
        log.log.info("a {n}", n=1)
        log.log.info("b")
    assert log.texts == ["a 1", "b"]
    log.clock.advance(60)
    log.log.info("c")
    assert log.texts == ["a 1", "b", "repeated 2 times: a 1", "repeated 2 times: b", "c"]


def test_repeat_filter_tells_levels_and_texts_apart() -> None:
    log = Log()
    log.log.info("a {n}", n=1)
    log.log.info("a {n}", n=2)
    assert log.texts == ["a 1", "a 2"]


def test_repeat_filter_counts_tracebacks_by_their_first_line() -> None:
    log = Log()
    for _ in range(3):
        try:
            raise ValueError("no")
        except ValueError:
            log.log.failure("it failed")
    log.filter.flush(at_end=True)
    assert log.texts == ["it failed", "repeated 2 times: it failed"]


def test_repeat_filter_writes_counts_in_time_though_nothing_else_is_logged() -> None:
    log = Log()
    log.filter.flush_by(log.clock.callLater)
    log.log.info("a")
    log.clock.advance(30)
    for _ in range(5):
        log.log.info("a")
    assert len(log.clock.getDelayedCalls()) == 1
    log.clock.advance(60)
    assert log.texts == ["a", "repeated 5 times: a"]
    assert log.clock.getDelayedCalls() == []


def test_repeat_filter_passes_answers_always() -> None:
    log = Log()
    for _ in range(2):
        log.log.info("stats", is_answer=True)
    log.filter.flush(at_end=True)
    assert log.texts == ["stats", "stats"]


def test_counting_repeats_wraps_an_observer_factory() -> None:
    out = io.StringIO()
    observer = counting_repeats(textFileLogObserver)(out)
    log = Logger(namespace="grape", observer=observer)
    for _ in range(3):
        log.info("a")
    assert out.getvalue().count("\n") == 1
