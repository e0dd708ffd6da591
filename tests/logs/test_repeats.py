"""grape.logs.repeats: lines that repeat within a minute are counted."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, Logger, formatEvent
from zope.interface import provider

from grape.logs.repeats import RepeatCounter, RepeatFilter


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
