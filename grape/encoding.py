"""Values between Python (or JSON) and bencode, by the rules of the Node grape.

Text is UTF-8, booleans are 1 and 0, whole floats are integers, members that are null are left out. What bencode
cannot say (fractions, huge numbers, null itself) raises ValueError.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from grape.dht.bencoding import BValue

Value: TypeAlias = "str | bytes | int | float | bool | Sequence[Value] | Mapping[str, Value] | None"
Json: TypeAlias = "str | int | list[Json] | dict[str, Json]"

MAX_INTEGER = 2**63 - 1
MAX_DEPTH = 100


def text_to_bytes(text: str) -> bytes:
    """UTF-8; a lone surrogate becomes U+FFFD, as in Node."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def to_bencode(value: Value, depth: int = 0) -> BValue:
    """The bencode value that ``value`` is stored as."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return text_to_bytes(value)
    if isinstance(value, (int, float)):
        return _whole(value)
    if depth >= MAX_DEPTH:
        raise ValueError("nested too deep")
    if isinstance(value, Mapping):
        members = {text_to_bytes(key): member for key, member in value.items() if member is not None}
        # In bencode's order, so that the grape that stored it reads it as all others do.
        return {key: to_bencode(member, depth + 1) for key, member in sorted(members.items())}
    if isinstance(value, Sequence):
        return [to_bencode(item, depth + 1) for item in value if item is not None]
    raise ValueError(f"{type(value).__name__} cannot be stored")


def to_json(value: BValue) -> Json:
    """What a stored value reads as in an answer: text for strings and numbers, the same shape for the rest.

    Raises ValueError for what is nested so deep that ``to_bencode`` would not store it.
    """
    return str(value) if isinstance(value, int) else _shape(value)


def _shape(value: BValue, depth: int = 0) -> Json:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, int):
        return value
    if depth >= MAX_DEPTH:
        raise ValueError("nested too deep")
    if isinstance(value, list):
        return [_shape(item, depth + 1) for item in value]
    return {key.decode("utf-8", "replace"): _shape(member, depth + 1) for key, member in value.items()}


def _whole(number: float) -> int:
    # Infinity and NaN have no integer ratio: is_integer() is false for both.
    whole = int(number) if isinstance(number, int) or number.is_integer() else None
    if whole is None or abs(whole) > MAX_INTEGER:
        raise ValueError(f"{number!r} is not a whole number of 64 bits")
    return whole
