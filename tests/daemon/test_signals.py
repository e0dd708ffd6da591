"""grape.daemon.signals: what the handlers do, with a reactor that only notes its calls."""

from __future__ import annotations

import io
import os
import pty
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest
from twisted.internet.error import ReactorNotRunning
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from zope.interface import provider

from grape import Config, Grape
from grape.daemon import signals as module
from grape.daemon.service import Daemon
from grape.daemon.signals import Signals, stats_line
from grape.metrics import Counters, Stats
from grape.testing import MemoryNetwork

NUMBERS = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGINT)
STATS = Stats("ab" * 20, 20_001, True, 2, [0, 2], 3, 4, 5, {**Counters().as_dict(), "datagrams_in": 6})


class Reactor:
    """A reactor that runs when the test says so, and then sets handlers as Twisted's does."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], object]] = []
        self.when_running: list[Callable[[], object]] = []
        self.heard: list[int] = []
        self.stops = 0

    def callFromThread(self, function: Callable[..., object], /, *arguments: object) -> object:
        self.calls.append(lambda: function(*arguments))
        return None

    def callWhenRunning(self, function: Callable[..., object], /, *arguments: object) -> object:
        self.when_running.append(lambda: function(*arguments))
        return None

    def stop(self) -> None:
        self.stops += 1
        if self.stops > 1:
            raise ReactorNotRunning

    def hear(self, number: int, frame: object = None) -> None:
        self.heard.append(number)

    def run(self) -> None:
        signal.signal(signal.SIGTERM, self.hear)
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self.hear)
        for function in self.when_running:
            function()

    def turn(self) -> None:
        calls, self.calls = self.calls, []
        for call in calls:
            call()


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    """Returns the reactor. Handlers are the default ones, and afterwards those from before."""
    before = {number: signal.getsignal(number) for number in NUMBERS}
    for number in NUMBERS:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    yield Reactor()
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """Returns the lines that are logged."""
    said: list[str] = []

    @provider(ILogObserver)
    def note(event: LogEvent) -> None:
        said.append((event.get("log_format") or "").format(**event))

    globalLogPublisher.addObserver(note)
    yield said
    globalLogPublisher.removeObserver(note)


@pytest.fixture
def on_terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Puts a terminal in the place of stdin."""
    leader, follower = pty.openpty()
    monkeypatch.setattr(module, "TERMINAL_AT", follower)
    yield
    os.close(leader)
    os.close(follower)


@pytest.fixture
def without_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts a descriptor that is not open in the place of stdin."""
    monkeypatch.setattr(module, "TERMINAL_AT", 10**6)


@pytest.mark.usefixtures("without_terminal")
@pytest.mark.parametrize(
    ("number", "line"),
    [
        (signal.SIGHUP, "SIGHUP: nothing to reload; goes on"),
        (signal.SIGUSR1, "SIGUSR1: no log file to reopen; goes on"),
        (signal.SIGUSR2, f"SIGUSR2: {stats_line(STATS)}"),
    ],
)
def test_signal_is_answered_in_the_reactors_turn(
    reactor: Reactor, lines: list[str], number: signal.Signals, line: str
) -> None:
    Signals(reactor).install(lambda: STATS)
    for _ in range(2):
        signal.raise_signal(number)
        assert lines == []
        reactor.turn()
        assert lines.pop() == line
    assert reactor.stops == 0


@pytest.mark.usefixtures("on_terminal")
def test_hup_stops_a_process_on_a_terminal_once(reactor: Reactor, lines: list[str]) -> None:
    Signals(reactor).install(lambda: STATS)
    for _ in range(2):
        signal.raise_signal(signal.SIGHUP)
        reactor.turn()
    assert reactor.stops == 1
    assert lines == ["SIGHUP: stopping, since it was started on a terminal"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_term_and_int_stop_the_reactor_once_and_say_so(
    reactor: Reactor, lines: list[str], number: signal.Signals
) -> None:
    Signals(reactor).install(lambda: STATS)
    reactor.run()
    signal.raise_signal(number)
    signal.raise_signal(number)
    reactor.turn()
    signal.raise_signal(signal.SIGTERM)
    reactor.turn()
    assert (reactor.stops, reactor.heard) == (1, [])
    assert lines == [f"{number.name}: stopping"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_term_and_int_are_twisteds_once_where_it_ends_the_process(
    reactor: Reactor, lines: list[str], number: signal.Signals
) -> None:
    Signals(reactor, ends_by_signal=True).install(lambda: STATS)
    reactor.run()
    signal.raise_signal(number)
    signal.raise_signal(number)
    reactor.turn()
    assert (reactor.stops, reactor.heard, lines) == (0, [number], [])


@pytest.mark.parametrize("ends_by_signal", [False, True])
def test_second_signal_to_stop_ends_the_drain(reactor: Reactor, ends_by_signal: bool) -> None:
    hurried: list[None] = []
    Signals(reactor, ends_by_signal=ends_by_signal).install(lambda: STATS, lambda: hurried.append(None))
    reactor.run()
    signal.raise_signal(signal.SIGTERM)
    reactor.turn()
    assert hurried == []
    signal.raise_signal(signal.SIGINT)
    assert hurried == []
    reactor.turn()
    assert hurried == [None]


@pytest.mark.parametrize("number", NUMBERS)
def test_signal_that_was_ignored_at_the_start_stays_ignored(
    reactor: Reactor, lines: list[str], number: signal.Signals
) -> None:
    signal.signal(number, signal.SIG_IGN)
    Signals(reactor).install(lambda: STATS)
    reactor.run()
    assert signal.getsignal(number) is signal.SIG_IGN
    signal.raise_signal(number)
    assert reactor.calls == []
    assert lines == []


def test_handler_of_somebody_else_is_kept(reactor: Reactor) -> None:
    heard: list[int] = []

    def handler(number: int, frame: object) -> None:
        heard.append(number)

    # As twistd has one for USR1, and its debugger one for INT.
    for number in (signal.SIGUSR1, signal.SIGINT):
        signal.signal(number, handler)
    Signals(reactor).install(lambda: STATS)
    reactor.run()
    for number in (signal.SIGUSR1, signal.SIGINT):
        signal.raise_signal(number)
    assert heard == [signal.SIGUSR1, signal.SIGINT]
    assert reactor.calls == []


def test_handlers_are_installed_once_and_in_the_main_thread_only(reactor: Reactor) -> None:
    signals = Signals(reactor)
    thread = threading.Thread(target=signals.install, args=(lambda: STATS,))
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL
    signals.install(lambda: STATS)
    handler = signal.getsignal(signal.SIGHUP)
    signals.install(lambda: STATS)
    assert signal.getsignal(signal.SIGHUP) is handler
    assert len(reactor.when_running) == 1


def test_usr1_reopens_a_log_file_that_was_moved(reactor: Reactor, lines: list[str], tmp_path: Path) -> None:
    path, moved = tmp_path / "grape.log", tmp_path / "grape.log.1"
    with path.open("a") as file:
        assert isinstance(file, io.TextIOWrapper)
        Signals(reactor, file).install(lambda: STATS)
        file.write("before\n")
        file.flush()
        path.rename(moved)
        signal.raise_signal(signal.SIGUSR1)
        reactor.turn()
        file.write("after\n")
    assert (moved.read_text(), path.read_text()) == ("before\n", "after\n")
    assert lines == [f"SIGUSR1: log file {path} reopened"]


def test_usr1_keeps_a_log_file_that_cannot_be_reopened(reactor: Reactor, lines: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    path = folder / "grape.log"
    with path.open("a") as file:
        Signals(reactor, file).install(lambda: STATS)
        path.rename(tmp_path / "grape.log")
        folder.rmdir()
        signal.raise_signal(signal.SIGUSR1)
        reactor.turn()
        file.write("after\n")
    assert (tmp_path / "grape.log").read_text() == "after\n"
    assert lines == [f"SIGUSR1: log file {path} cannot be reopened: No such file or directory; goes on in the old one"]


def test_stats_are_one_line_under_their_own_names() -> None:
    words = stats_line(STATS).split(" ")
    assert words[:10] == [
        f"node_id={'ab' * 20}",
        "dht_port=20001",
        "ready=True",
        "contacts=2",
        "buckets=0,2",
        "services=3",
        "items=4",
        "queries_in_flight=5",
        "degraded=None",
        "datagrams_in=6",
    ]
    names = {field.name for field in attrs.fields(Stats)} - {"counters"} | {*STATS.counters}
    assert {word.partition("=")[0] for word in words} == names


def test_embedded_grape_installs_no_handler(reactor: Reactor) -> None:
    before = [signal.getsignal(number) for number in NUMBERS]
    network = MemoryNetwork()
    grape = Grape(reactor=network.reactor("10.0.0.1"))
    grape.startService()
    assert [signal.getsignal(number) for number in NUMBERS] == before
    network.result(grape.stopService())


def test_daemon_answers_signals_from_its_start(reactor: Reactor) -> None:
    network = MemoryNetwork()
    daemon = Daemon(Config(api_port=None), network.reactor("10.0.0.1"), signals=Signals(reactor))
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL
    daemon.privilegedStartService()
    assert signal.getsignal(signal.SIGHUP) is not signal.SIG_DFL
    daemon.startService()
    network.result(daemon.stopService())
