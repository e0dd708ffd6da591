"""Reads the JSON of request bodies as the Node grape reads it, and writes the JSON of answers."""

from __future__ import annotations

import json
import math
from typing import NoReturn, TypeAlias

from grape.encoding import Value, text_to_bytes
from grape.errors import GrapeError

Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"


class Missing:
    """The type of MISSING, which stands for a member that a body does not have."""


MISSING = Missing()

# Some editors and clients write it before UTF-8 text; JSON.parse refuses it.
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def parse(body: bytes) -> Json:
    """Returns the JSON of a body as JSON.parse reads it: bytes that are not UTF-8 become U+FFFD. Raises ValueError."""
    try:
        text = body.decode("utf-8", "replace")
        if text.startswith("{"):
            value, end = _READER.raw_decode(text)
            if end == len(text):
                return value  # type: ignore[no-any-return]
        # There is something around it, or it is no JSON at all.
        return _READER.decode(text)  # type: ignore[no-any-return]
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def dump(value: object) -> bytes:
    """Returns a value as JSON without spaces, in UTF-8; lone surrogates become U+FFFD."""
    return text_to_bytes(_WRITER.encode(value))


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def _number(digits: str) -> int | float:
    # JavaScript's numbers are doubles; those that are exact either way stay integers.
    return int(digits) if len(digits) < 20 else float(digits)


_READER = json.JSONDecoder(parse_constant=_no_constant, parse_int=_number)
_WRITER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def storable(value: Json, refused: GrapeError) -> Value:
    """Returns a value that can be stored. Raises ``refused`` for null, which bencode does not have."""
    if value is None:
        raise refused
    return value


def integer(value: Json) -> int | None:
    """Returns a JSON number without a fraction as an int, None for anything else; 5.0 is 5, as in JavaScript."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return int(value) if isinstance(value, int) or value.is_integer() else None


def integer_member(options: dict[str, Json], name: str) -> object:
    """Returns a member as an int, None if it is absent, and what is no integer as it is, which the node refuses."""
    if name not in options:
        return None
    value = options[name]
    whole = integer(value)
    if whole is not None:
        return whole
    # JSON's null is a wrong value; None would be an absent one.
    return False if value is None else value


def ttl_of(value: Json) -> int | float:
    """Returns a number of seconds as it is; NaN, which the node refuses, for anything else."""
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan


def octets(value: Json) -> bytes | None:
    """Returns the bytes of an array of byte values or of a Buffer's JSON form; None for anything else."""
    if isinstance(value, dict) and value.get("type") == "Buffer":
        value = value.get("data")
    if not isinstance(value, list):
        return None
    integers = [integer(item) for item in value]
    return bytes(item & 0xFF for item in integers if item is not None) if None not in integers else None


def buffer(value: Json, encoding: str, refused: GrapeError) -> bytes | None:
    """Returns the bytes of what the Node grape makes a Buffer of; None for what is absent, empty, false or zero.

    That is text in ``encoding`` ("hex" or "utf-8"), an array of byte values, a Buffer's JSON form, or text that is
    the JSON of any of these. Raises ``refused`` for a wrong type.
    """
    if value is None or value is False or value == "" or value == 0:
        return None
    if isinstance(value, str):
        try:
            inner = parse(value.encode("utf-8", "surrogatepass"))
        except ValueError:
            inner = None
        inner_octets = octets(inner)
        if inner_octets is not None:
            return inner_octets
        return _decode(inner if isinstance(inner, str) else value, encoding)
    value_octets = octets(value)
    if value_octets is None:
        raise refused
    return value_octets


def _decode(text: str, encoding: str) -> bytes:
    if encoding != "hex":
        return text_to_bytes(text)
    # As Node does it: up to the first pair that is not hexadecimal.
    decoded = bytearray()
    for start in range(0, len(text) - 1, 2):
        pair = text[start : start + 2]
        if not all(digit in "0123456789abcdefABCDEF" for digit in pair):
            break
        decoded.append(int(pair, 16))
    return bytes(decoded)
