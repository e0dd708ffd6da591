"""grape.settings.kinds: which values settings take."""

from __future__ import annotations

import math
from typing import Any

import pytest

from grape.settings.kinds import Choice, Kind, Milliseconds, Nodes, Switch, Text, Texts, Whole
from grape.settings.texts import Unfit, file_name, origin

WHOLE = Whole(1, 2**40, "bytes")
TIME = Milliseconds(100, 10**12)
FILE = Text("a file", file_name)
ORIGINS = Texts("origins", origin)
HUGE = 10**5_000
WHOLE_TAKES = "takes a whole number of bytes from 1 to 1099511627776, not "
TIME_TAKES = "takes a number of milliseconds from 100 to 1000000000000, not "


@pytest.mark.parametrize(
    ("kind", "value", "taken"),
    [
        (WHOLE, 1, 1),
        (WHOLE, 2**40, 2**40),
        (TIME, 100, 0.1),
        (TIME, 1_500.5, 1.5005),
        (TIME, 10**12, 10**9),
        (Choice(("a", "b")), "b", "b"),
        (Switch(), True, True),
        (FILE, "x", "x"),
        (ORIGINS, "http://a,, HTTP://b/ ", ("http://a", "http://b")),
        (ORIGINS, ["http://a", "", None], ("http://a",)),
        (ORIGINS, (), ()),
        (Nodes(), None, ()),
        (Nodes(), False, ()),
        (Nodes(), " , ,", ()),
        (Nodes(), "a:1, b:2,a:01", (("a", 1), ("b", 2))),
        (Nodes(), ["a:1", None, ("b", "2")], (("a", 1), ("b", 2))),
        (Nodes(), iter(["a:1"]), (("a", 1),)),
    ],
)
def test_take_returns_the_value_in_the_unit_of_the_declaration(kind: Kind, value: Any, taken: object) -> None:
    assert kind.take(value) == taken
    # A value of the declaration stays as it is.
    assert kind.keep(taken) == taken


@pytest.mark.parametrize(
    ("kind", "values", "problem"),
    [
        (WHOLE, [0, -1, 2**40 + 1, 1.0, True, None, "1", math.nan, [1], HUGE], WHOLE_TAKES),
        (Whole(0, 65_535), [-1, 65_536, False], "takes a whole number from 0 to 65535, not "),
        (TIME, [0, 99.9, -1, 10**12 + 1, math.nan, math.inf, -math.inf, True, None, "100", [100], HUGE], TIME_TAKES),
        (Choice(("a", "b")), ["c", "", None, 1, ["a"], "A"], "takes a or b, not "),
        (Switch(), [0, 1, None, "true", []], "takes True or False, not "),
        (FILE, ["", "a\0", None, 1, ["x"], b"x"], "takes a file, not "),
        (ORIGINS, ["a", ["http://a", 5], 5, None, True, b"http://a", {"http://a": 1}], "takes origins, not "),
        (Nodes(), ["a", 5, [5], b"a:1", {"a:1": 1}, 0], "takes HOST:PORT entries, not "),
    ],
)
def test_take_refuses_other_values_and_says_what_it_takes(kind: Kind, values: list[Any], problem: str) -> None:
    for value in values:
        with pytest.raises(Unfit) as raised:
            kind.take(value)
        assert str(raised.value).startswith(problem)


@pytest.mark.parametrize("value", [0.0999, 10**9 + 1, math.nan, math.inf, True, "1", None])
def test_keep_says_times_in_seconds(value: Any) -> None:
    with pytest.raises(Unfit, match=r"^takes a number of seconds from 0\.1 to 1000000000, not "):
        TIME.keep(value)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (WHOLE, "0x10", 16),
        (WHOLE, "020", 20),
        (TIME, "1500", 1_500),
        (TIME, "1500.5", 1_500.5),
        (TIME, "0x100", 256),
        (Switch(), "true", True),
        (Switch(), "false", False),
        (FILE, "a,b", "a,b"),
        (ORIGINS, "a,b", "a,b"),
    ],
)
def test_read_converts_the_text_of_a_flag(kind: Kind, text: str, value: object) -> None:
    assert kind.read(text) == value


@pytest.mark.parametrize(
    ("kind", "text"), [(WHOLE, "1.5"), (WHOLE, ""), (WHOLE, "9" * 5_000), (TIME, "abc"), (TIME, ""), (Switch(), "yes")]
)
def test_read_refuses_a_text_of_another_kind(kind: Kind, text: str) -> None:
    with pytest.raises(Unfit, match=r"^takes "):
        kind.read(text)


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        (WHOLE, 2**40, "1099511627776"),
        (TIME, 240.0, "240000"),
        (TIME, 10.0**9, "1000000000000"),
        (TIME, 0.0005, "0.5"),
        (ORIGINS, ("http://a", "http://b"), "http://a,http://b"),
        (Nodes(), (("a", 1), ("b", 2)), "a:1,b:2"),
    ],
)
def test_show_writes_a_value_in_the_users_unit(kind: Kind, value: object, text: str) -> None:
    assert kind.show(value) == text
