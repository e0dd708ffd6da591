"""grape.logs.recent: the last warnings of the log, for those who look."""

from __future__ import annotations

import pytest
from twisted.logger import Logger, LogPublisher
from twisted.python.failure import Failure

from grape.logs.recent import MAX_CHARACTERS, MAX_LINES, RecentLines


@pytest.fixture
def publisher() -> LogPublisher:
    return LogPublisher()


def texts(lines: RecentLines) -> list[str]:
    return [line.text for line in lines.after(0)]


def test_warnings_and_worse_are_kept(publisher: LogPublisher) -> None:
    lines = RecentLines(publisher=publisher)
    lines.open()
    log = Logger(namespace="grape.node", observer=publisher)
    for level in ("debug", "info", "warn", "error", "critical"):
        getattr(log, level)("it is {what}", what=level)
    kept = lines.after(0)
    assert [line.text for line in kept] == ["it is warn", "it is error", "it is critical"]
    assert [(line.number, line.level, line.logger) for line in kept[:1]] == [(1, "warn", "grape.node")]
    assert kept[0].time > 1e9
    assert [line.number for line in lines.after(2)] == [3]


def test_lines_of_others_are_kept_in_a_process_of_its_own_alone(publisher: LogPublisher) -> None:
    own, whole = RecentLines(publisher=publisher), RecentLines(is_whole=True, publisher=publisher)
    own.open()
    whole.open()
    Logger(namespace="app", observer=publisher).warn("secret")
    Logger(namespace="grapes.of.wrath", observer=publisher).warn("another")
    assert texts(own) == []
    assert texts(whole) == ["secret", "another"]


def test_failure_is_kept_without_its_traceback(publisher: LogPublisher) -> None:
    lines = RecentLines(publisher=publisher)
    lines.open()
    Logger(namespace="grape.web", observer=publisher).failure("cannot write", Failure(OSError("disk full")))
    assert texts(lines) == ["cannot write: OSError"]


def test_number_and_length_of_lines_are_bounded(publisher: LogPublisher) -> None:
    lines = RecentLines(publisher=publisher)
    lines.open()
    log = Logger(namespace="grape.krpc", observer=publisher)
    for number in range(2 * MAX_LINES):
        log.warn("{line}", line=f"{number} " + "x" * 2 * MAX_CHARACTERS)
    assert len(texts(lines)) == MAX_LINES
    assert {len(text) for text in texts(lines)} == {MAX_CHARACTERS}
    assert lines.after(0)[-1].number == 2 * MAX_LINES


def test_nothing_is_observed_once_all_have_closed(publisher: LogPublisher) -> None:
    lines = RecentLines(publisher=publisher)
    log = Logger(namespace="grape.krpc", observer=publisher)
    for _ in range(2):
        lines.open()
    log.warn("one")
    lines.close()
    log.warn("two")
    assert texts(lines) == ["one", "two"]
    lines.close()
    log.warn("three")
    assert texts(lines) == []
    lines.open()
    assert texts(lines) == []
