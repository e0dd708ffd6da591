"""grape.logs.lines: events as text and as JSON."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import LogEvent, LogLevel
from twisted.python.failure import Failure

from grape.logs import Counted
from grape.logs.lines import json_line, text_line, with_priority

AT = 1_764_048_000.25


def event(text: str, level: str = "info", **fields: object) -> LogEvent:
    """Returns an event as a Logger makes it."""
    return {
        "log_format": text,
        "log_level": LogLevel.levelWithName(level),
        "log_namespace": "grape.node",
        "log_time": AT,
        "log_source": object(),
        **fields,
    }


def failed(text: str) -> LogEvent:
    """Returns an event with a failure."""
    try:
        raise ValueError("no")
    except ValueError:
        return event(text, "critical", log_failure=Failure())


def test_text_has_time_level_and_text() -> None:
    line = text_line(event("{count} contacts", "warn", count=2))
    assert line.partition(" ")[2] == "[warn] 2 contacts"
    assert text_line(event("one"), has_time=False) == "[info] one"


def test_text_is_coloured_by_its_level() -> None:
    assert text_line(event("one", "error"), is_coloured=True, has_time=False) == "\x1b[31m[error]\x1b[0m one"
    assert text_line(event("one"), is_coloured=True, has_time=False) == "[info] one"


def test_text_of_a_failure_has_its_traceback() -> None:
    assert "\nbuiltins.ValueError: no" in text_line(failed("it failed"))


def test_text_without_words_is_no_line() -> None:
    assert text_line({"log_level": LogLevel.info}) == json_line({"log_level": LogLevel.info}) == ""


def test_number_has_its_noun_in_the_text_and_is_a_number_in_json() -> None:
    logged = event("{contacts} in {minutes}", contacts=Counted(2_000, "contact"), minutes=Counted(1, "minute"))
    assert text_line(logged, has_time=False) == "[info] 2,000 contacts in 1 minute"
    line = json.loads(json_line(logged))
    assert (line["message"], line["contacts"], line["minutes"]) == ("2,000 contacts in 1 minute", 2_000, 1)


def test_json_has_the_members_and_the_plain_fields_of_the_event() -> None:
    line = json_line(event("{peer} of {count}", peer="10.0.0.1:1", count=2, at=0.5, ok=True, none=None, what=b"x"))
    assert json.loads(line) == {
        "time": "2025-11-25T05:20:00.250000Z",
        "level": "info",
        "logger": "grape.node",
        "message": "10.0.0.1:1 of 2",
        "peer": "10.0.0.1:1",
        "count": 2,
        "at": 0.5,
        "ok": True,
        "none": None,
    }


def test_json_says_a_whole_line_once() -> None:
    found = json.loads(json_line(event("{line}", line="SIGHUP: goes on", is_answer=True)))
    assert set(found) == {"time", "level", "logger", "message"}


def test_json_of_a_failure_is_one_line_with_the_traceback_in_a_member() -> None:
    line = json_line(failed("it failed"))
    found = json.loads(line)
    assert "\n" not in line
    assert (found["message"], found["level"]) == ("it failed", "critical")
    assert "ValueError: no" in found["traceback"]
    assert json.loads(json_line(failed("")))["message"] == "no"


def test_json_of_twisteds_old_log_keeps_its_own_members() -> None:
    old = {"log_format": "{log_text}", "log_text": "said", "message": ("said",), "time": 1.0, "system": "-"}
    found = json.loads(json_line({**old, "log_namespace": "log_legacy", "log_time": AT, "level": "x", "logger": "y"}))
    assert (found["message"], found["level"], found["logger"]) == ("said", "info", "log_legacy")


@pytest.mark.parametrize(
    "value",
    ["half \ud800", "pair \ud83d\ude00", "a\nb\x00\x1b", math.nan, -math.inf, 10**5000, "\u2028"],
    ids=["half", "pair", "control", "nan", "infinity", "huge", "separator"],
)
def test_json_is_valid_whatever_a_field_holds(value: object) -> None:
    line = json_line(event("a {value}", value=value))
    assert line.isascii()
    assert "\n" not in line
    found = json.loads(line, parse_constant=lambda name: pytest.fail(name))
    found["message"].encode()
    if isinstance(value, str):
        found["value"].encode()


@given(st.dictionaries(st.text(), st.none() | st.text() | st.integers() | st.floats() | st.binary()), st.text())
def test_json_is_one_valid_line_for_any_event(fields: dict[str, Any], text: str) -> None:
    line = json_line({"log_format": text, **fields})
    assert "\n" not in line
    if line:
        json.loads(line, parse_constant=lambda name: pytest.fail(name))["message"].encode()


def test_text_has_no_lone_surrogates() -> None:
    text_line(event("{name}", name="half \ud800")).encode()


@pytest.mark.parametrize(("level", "priority"), [("debug", 7), ("info", 6), ("warn", 4), ("error", 3), ("critical", 2)])
def test_priority_begins_each_line_for_journald(level: str, priority: int) -> None:
    assert with_priority("a\nb", event("", level)) == f"<{priority}>a\n<{priority}>b"
