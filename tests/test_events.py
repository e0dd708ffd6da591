"""grape.events: callbacks by event name."""

from __future__ import annotations

import pytest
from twisted.logger import LogEvent

from grape.events import EVENTS, Events


@pytest.mark.parametrize("event", EVENTS)
def test_callback_gets_the_arguments_of_its_event(event: str) -> None:
    events = Events()
    heard: list[tuple[object, ...]] = []
    events.on(event, lambda *arguments: heard.append(arguments))
    events.emit(event, 1, "two")
    for other in EVENTS:
        if other != event:
            events.emit(other)
    assert heard == [(1, "two")]


def test_callbacks_are_called_in_the_order_in_which_they_came() -> None:
    events = Events()
    heard: list[int] = []
    for number in range(5):
        events.on("node", lambda number=number: heard.append(number))
    events.emit("node")
    assert heard == [0, 1, 2, 3, 4]


def test_unknown_event_is_refused_by_on_and_ignored_by_off() -> None:
    events = Events()
    with pytest.raises(ValueError, match="no event 'nodes'"):
        events.on("nodes", print)
    events.off("nodes", print)
    events.off("node", print)


def test_wanted_is_true_while_an_event_has_a_callback() -> None:
    events = Events()
    assert not events.wanted("peer")
    events.on("peer", print)
    assert events.wanted("peer")
    events.off("peer", print)
    assert not events.wanted("peer")


def test_callback_may_remove_itself_while_it_is_called() -> None:
    events = Events()
    heard: list[str] = []

    def once() -> None:
        heard.append("once")
        events.off("ready", once)

    events.on("ready", once)
    events.on("ready", lambda: heard.append("always"))
    events.emit("ready")
    events.emit("ready")
    assert heard == ["once", "always", "always"]


def test_callback_that_raises_is_logged_and_the_others_are_called(logged_failures: list[LogEvent]) -> None:
    events = Events()
    heard: list[str] = []
    for _ in range(2):
        events.on("announce", lambda name: 1 / 0)
    events.on("announce", heard.append)
    events.emit("announce", "a")
    assert heard == ["a"]
    assert [event["log_failure"].type for event in logged_failures] == [ZeroDivisionError] * 2
    assert {event["event"] for event in logged_failures} == {"announce"}
    logged_failures.clear()
