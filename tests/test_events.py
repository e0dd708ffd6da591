"""grape.events: callbacks by event name."""

from __future__ import annotations

import pytest
from twisted.logger import LogEvent

from grape.events import EVENTS, Events


@pytest.mark.parametrize("event", EVENTS)
def test_a_callback_hears_its_event_with_the_arguments(event: str) -> None:
    events = Events()
    heard: list[tuple[object, ...]] = []
    events.on(event, lambda *arguments: heard.append(arguments))
    events.emit(event, 1, "two")
    for other in EVENTS:
        if other != event:
            events.emit(other)
    assert heard == [(1, "two")]


def test_callbacks_hear_in_the_order_of_their_coming() -> None:
    events = Events()
    heard: list[int] = []
    for number in range(5):
        events.on("node", lambda number=number: heard.append(number))
    events.emit("node")
    assert heard == [0, 1, 2, 3, 4]


def test_an_unknown_event_is_refused_and_taking_back_what_is_not_there_is_not() -> None:
    events = Events()
    with pytest.raises(ValueError, match="no event 'nodes'"):
        events.on("nodes", print)
    events.off("nodes", print)
    events.off("node", print)


def test_whether_anybody_listens_is_known() -> None:
    events = Events()
    assert not events.wanted("peer")
    events.on("peer", print)
    assert events.wanted("peer")
    events.off("peer", print)
    assert not events.wanted("peer")


def test_a_callback_may_take_itself_back_while_it_hears() -> None:
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


def test_callbacks_that_raise_are_logged_each(logged_failures: list[LogEvent]) -> None:
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
