"""Converts Python and JSON values to bencode and back, as grenache-grape 1.0.0 does.

Text becomes UTF-8, booleans 1 and 0, whole floats integers; members that are None are left out. Values that bencode
cannot express (fractions, integers beyond 64 bits, None itself) raise ValueError.
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
    """Encodes text as UTF-8; a lone surrogate becomes U+FFFD, as in Node."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def to_bencode(value: object, depth: int = 0) -> BValue:
    """Converts a Python value to the bencode value that is stored for it. Raises ValueError.

    ``depth`` is how deep the value is nested in the one being converted; MAX_DEPTH is the limit.
    """
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return text_to_bytes(value)
    if isinstance(value, (int, float)):
        return _whole(value)
    if depth >= MAX_DEPTH:
        raise ValueError(f"lists and objects are nested more than {MAX_DEPTH} deep")
    if isinstance(value, Mapping):
        members = {text_to_bytes(key): member for key, member in value.items() if member is not None}
        # Sorted as bencode is, so that members come in the same order here as from any other node.
        return {key: to_bencode(member, depth + 1) for key, member in sorted(members.items())}
    if isinstance(value, Sequence):
        return [to_bencode(item, depth + 1) for item in value if item is not None]
    raise ValueError(f"{type(value).__name__} cannot be stored")


def to_json(value: BValue) -> Json:
    """Converts a stored value to JSON: bytes to text, and an integer that is the whole value to text, too.

    Bytes that are not UTF-8 become U+FFFD. Raises ValueError for a value nested deeper than ``to_bencode`` allows.
    """
    return str(value) if isinstance(value, int) else _shape(value)


def _shape(value: BValue, depth: int = 0) -> Json:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, int):
        return value
    if depth >= MAX_DEPTH:
        raise ValueError(f"lists and objects are nested more than {MAX_DEPTH} deep")
    if isinstance(value, list):
        return [_shape(item, depth + 1) for item in value]
    return {key.decode("utf-8", "replace"): _shape(member, depth + 1) for key, member in value.items()}


def _whole(number: int | float) -> int:
    # Infinity and NaN have no integer ratio: is_integer() is false for both.
    whole = int(number) if isinstance(number, int) or number.is_integer() else None
    if whole is None or abs(whole) > MAX_INTEGER:
        raise ValueError(f"{number!r} is not a whole number of 64 bits")
    return whole
