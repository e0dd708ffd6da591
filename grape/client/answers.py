"""Reads a grape's answers: returns the result of a call, or raises the error that the answer tells.

Most errors come with status 200, as a JSON string in the place of the result; some come as bare text (413, 500).
"""

from __future__ import annotations

import json
import re
from typing import TypeAlias, cast

import attrs

from grape.client.errors import NOT_FOUND, AnswerError, NotSupportedError, SignatureError
from grape.client.items import Item, Storable, restored, verified
from grape.errors import GrapeError

Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"

PAYLOAD_INVALID = "ERR_GRAPE_PAYLOAD_INVALID"
MAX_SHOWN = 200
_HASH = re.compile(r"[0-9a-f]{40}")


@attrs.frozen
class Answer:
    """Holds an HTTP answer: its status and its body."""

    status: int
    body: bytes


def peers(answer: Answer) -> list[str]:
    """Returns the peers that a lookup found, as "ip:port". Raises GrapeError."""
    found = _result(answer)
    if isinstance(found, list) and all(isinstance(peer, str) for peer in found):
        return cast("list[str]", found)
    raise _unexpected(answer, "a list of peers")


def count(answer: Answer) -> int:
    """Returns the number of nodes that stored an announce. Raises GrapeError."""
    number = _result(answer)
    if isinstance(number, int) and not isinstance(number, bool):
        return number
    raise _unexpected(answer, "a number of nodes")


def withdrawn(answer: Answer) -> int:
    """Returns the number of other nodes that confirmed a withdrawal. Raises GrapeError, NotSupportedError."""
    if answer.status == 200 and _text(answer) == NOT_FOUND:
        raise NotSupportedError("unannounce")
    return count(answer)


def hash_of_put(answer: Answer) -> str:
    """Returns the hash of an item that was put, 40 hex digits. Raises GrapeError."""
    text = _text(answer)
    if answer.status == 200 and text is not None and _HASH.fullmatch(text):
        return text
    _result(answer)
    raise _unexpected(answer, "a hash")


def item(answer: Answer, *, hash: str, salt: bytes, key: bytes | None) -> Item | None:
    """Returns the item that was found, None if there is none. Raises GrapeError.

    With ``key`` it is verified: SignatureError is raised for an item of another key or with a wrong signature.
    """
    if answer.status == 200 and not answer.body:
        return None
    found = _result(answer)
    if found is None:
        return None
    if not isinstance(found, dict) or found.get("v") is None:
        raise _unexpected(answer, "an item")
    try:
        told = _octets(found.get("k"))
        made = Item(
            cast("Storable", found["v"]),
            str(found.get("id") or ""),
            told or None,
            _octets(found.get("sig")),
            _integer(found.get("seq")),
            salt if told else b"",
        )
    except ValueError:
        raise _unexpected(answer, "an item") from None
    if key is None:
        return made if made.key else restored(made, hash)
    signed = verified(made) if made.key == key else None
    if signed is None:
        raise SignatureError(
            f"the item {hash} is not signed with the key {key.hex()} (a Node grape damages lists and objects)"
        )
    return signed


def document(answer: Answer, *, call: str) -> Json:
    """Returns a document of the grape. Raises GrapeError, NotSupportedError where the grape does not have it."""
    # A Node grape reads a GET as a call, and so finds that its body is no JSON.
    if _text(answer) == NOT_FOUND or (answer.status == 500 and answer.body == PAYLOAD_INVALID.encode()):
        raise NotSupportedError(call)
    if answer.status not in {200, 503}:
        _result(answer)
    told = _parsed(answer)
    if isinstance(told, str):
        raise GrapeError(told, answer.status)
    return told


def members(answer: Answer) -> dict[str, Json]:
    """Returns the members of a grape's status. Raises GrapeError, NotSupportedError where the grape has none."""
    told = document(answer, call="status")
    if isinstance(told, dict):
        return told
    raise _unexpected(answer, "a status")


def _result(answer: Answer) -> Json:
    if answer.status == 200:
        told = _parsed(answer)
        if isinstance(told, str):
            raise GrapeError(told, 200)
        return told
    raise GrapeError(_text(answer) or _shown(answer) or f"HTTP status {answer.status}", answer.status)


def _parsed(answer: Answer) -> Json:
    try:
        return cast("Json", json.loads(answer.body))
    except (ValueError, RecursionError):
        raise _unexpected(answer, "JSON") from None


def _text(answer: Answer) -> str | None:
    try:
        told = json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
    return told if isinstance(told, str) else None


def _unexpected(answer: Answer, wanted: str) -> AnswerError:
    return AnswerError(f"status {answer.status}, and not {wanted} but {_shown(answer)!r}")


def _shown(answer: Answer) -> str:
    return answer.body[:MAX_SHOWN].decode("utf-8", "replace")


def _octets(told: Json) -> bytes:
    if told is None:
        return b""
    if isinstance(told, str):
        return bytes.fromhex(told)
    raise ValueError("not hexadecimal")


def _integer(told: Json) -> int:
    if told is None:
        return 0
    if isinstance(told, bool) or not isinstance(told, (int, float)) or int(told) != told:
        raise ValueError("no whole number")
    return int(told)
