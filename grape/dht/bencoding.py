"""Encodes and decodes bencode (BEP 3): strictly with bencode2 first, then leniently as the reference does.

The Node grape accepts unsorted or repeated keys, bytes after the end and integers with leading zeros or a plus sign.
Such a message is answered too, but it is not canonical: nothing in it may be stored under its hash (BEP 44).
"""

from __future__ import annotations

from typing import TypeAlias

from bencode2 import bdecode, bencode

BValue: TypeAlias = "int | bytes | list[BValue] | dict[bytes, BValue]"

MAX_DEPTH = 32
MAX_LENIENT_BYTES = 8_192
MAX_INTEGER_DIGITS = 20

_DIGITS = b"0123456789"


def decode(data: bytes) -> tuple[BValue, bool]:
    """Decodes a value; returns it, and True if ``data`` is canonical. Raises ValueError if it is not bencode."""
    try:
        return decode_strictly(data), True
    except ValueError:
        return decode_leniently(data), False


# Decodes canonical bencode alone. Raises ValueError.
decode_strictly = bdecode


def decode_leniently(data: bytes) -> BValue:
    """Decodes a dictionary that need not be canonical, at most MAX_LENIENT_BYTES long. Raises ValueError."""
    if data[:1] != b"d" or len(data) > MAX_LENIENT_BYTES:
        raise ValueError(f"not a dictionary of at most {MAX_LENIENT_BYTES} bytes")
    return _read(data, 0, 0)[0]


def encode(value: BValue) -> bytes:
    """Returns the canonical bencoded form of ``value``."""
    return bencode(value)


def _read(data: bytes, at: int, depth: int) -> tuple[BValue, int]:
    mark = data[at : at + 1]
    if mark == b"i":
        end = data.index(b"e", at)
        digits = data[at + 1 : end]
        if len(digits) > MAX_INTEGER_DIGITS or digits.lstrip(b"+-").strip(_DIGITS) or not digits:
            raise ValueError("bad integer")
        return int(digits), end + 1
    if mark in (b"l", b"d"):
        if depth >= MAX_DEPTH:
            raise ValueError("nested too deep")
        return _read_list(data, at + 1, depth + 1) if mark == b"l" else _read_dict(data, at + 1, depth + 1)
    return _read_string(data, at)


def _read_string(data: bytes, at: int) -> tuple[bytes, int]:
    colon = data.index(b":", at, at + 8)
    digits = data[at:colon]
    if not digits.isdigit():
        raise ValueError("bad string length")
    end = colon + 1 + int(digits)
    if end > len(data):
        raise ValueError("string runs past the end")
    return data[colon + 1 : end], end


def _read_list(data: bytes, at: int, depth: int) -> tuple[BValue, int]:
    items: list[BValue] = []
    while data[at : at + 1] != b"e":
        item, at = _read(data, at, depth)
        items.append(item)
    return items, at + 1


def _read_dict(data: bytes, at: int, depth: int) -> tuple[BValue, int]:
    members: dict[bytes, BValue] = {}
    while data[at : at + 1] != b"e":
        key, at = _read_string(data, at)
        members[key], at = _read(data, at, depth)
    return members, at + 1
