"""grape.web.parameters: texts of a query become values, or say what they should be."""

from __future__ import annotations

import pytest

from grape.errors import GrapeError
from grape.web.parameters import Argument, Parameter, arguments_of

LIMIT = Parameter("limit", "", int, 100, low=1, high=1_000)
FLAG = Parameter("strict", "", bool, False)
HEX = Parameter("after", "", bytes, b"")
NAME = Parameter("name", "", is_required=True)


@pytest.mark.parametrize(
    ("parameter", "texts", "value"),
    [
        (LIMIT, [], 100),
        (LIMIT, ["1"], 1),
        (LIMIT, ["1000"], 1_000),
        (FLAG, [], False),
        (FLAG, [""], True),
        (FLAG, ["true"], True),
        (FLAG, ["True"], True),
        (FLAG, ["1"], True),
        (FLAG, ["false"], False),
        (FLAG, ["0"], False),
        (HEX, [], b""),
        (HEX, [""], b""),
        (HEX, ["ff00"], b"\xff\0"),
        (NAME, ["a b"], "a b"),
        (Parameter("x", ""), [], None),
        (Parameter("x", ""), [""], ""),
    ],
)
def test_parameter_has_a_value(parameter: Parameter, texts: list[str], value: Argument) -> None:
    found = parameter.value(texts)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("parameter", "texts", "problem"),
    [
        (LIMIT, ["0"], "limit takes a whole number from 1 to 1000, not '0'"),
        (LIMIT, ["1001"], "limit takes a whole number from 1 to 1000, not '1001'"),
        (LIMIT, [""], "limit takes a whole number from 1 to 1000, not ''"),
        (LIMIT, ["-1"], "limit takes a whole number from 1 to 1000, not '-1'"),
        (LIMIT, [" 1"], "limit takes a whole number from 1 to 1000, not ' 1'"),
        (LIMIT, ["1_0"], "limit takes a whole number from 1 to 1000, not '1_0'"),
        (LIMIT, ["\u0661"], "limit takes a whole number from 1 to 1000, not '\u0661'"),
        (LIMIT, ["9" * 10_000], f"limit takes a whole number from 1 to 1000, not '{'9' * 40}'"),
        (LIMIT, ["1", "1"], "limit is given more than once"),
        (FLAG, ["yes"], "strict takes true or false, not 'yes'"),
        (HEX, ["f"], "after takes hex digits, two for each byte, not 'f'"),
        (HEX, ["zz"], "after takes hex digits, two for each byte, not 'zz'"),
        (NAME, [], "name is missing"),
        (NAME, [""], "name is missing"),
        (NAME, ["a", "b"], "name is given more than once"),
    ],
)
def test_wrong_parameter_is_named_with_what_it_takes(parameter: Parameter, texts: list[str], problem: str) -> None:
    with pytest.raises(GrapeError) as raised:
        parameter.value(texts)
    assert (raised.value.code, raised.value.status) == (f"ERR_GRAPE_PARAMETER: {problem}", 400)


def test_undeclared_parameters_are_ignored() -> None:
    assert arguments_of([LIMIT, FLAG], {"limit": ["7"], "else": ["x", "y"]}) == {"limit": 7, "strict": False}
