"""Reads what a grape tells of itself at ``GET /status``, whichever version it has."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import cast

import attrs

from grape.client.answers import Json

_ID = re.compile("[0-9a-f]{40}")
_ADDRESS = re.compile(r"[^:]+:[0-9]{1,5}")


@attrs.frozen
class Told:
    """The status of a grape, as far as it told it; None is what it did not tell. Times are in seconds."""

    version: str | None = None
    #: 40 hex digits.
    node_id: str | None = None
    #: Each check of its readiness that is not ok: its word (``isolated``, for instance) and a sentence.
    problems: Mapping[str, str] = attrs.field(factory=dict)
    uptime: float | None = None
    #: The "host:port" that the UDP socket is bound to.
    dht_address: str | None = None
    #: The "host:port" under which others know it.
    advertised: str | None = None
    contacts: int | None = None
    bootstrap: tuple[str, ...] | None = None
    peer_max_age: float | None = None
    is_read_only: bool = False
    #: Its wall clock, in seconds since 1970.
    time: float | None = None
    #: None: it keeps no state.
    state_file: str | None = None
    #: Why the file cannot be written.
    state_problem: str | None = None
    descriptors_open: int | None = None
    descriptors_limit: int | None = None
    connections_open: int | None = None
    connections_limit: int | None = None
    #: By the name of the counter.
    limits_hit: Mapping[str, int] | None = None


def told_of(status: Json) -> Told:
    """Returns the status in a JSON document; what has another type than it should is not told."""
    told = _members(status)
    contacts, state = _members(told.get("contacts")), _members(told.get("state"))
    descriptors, connections = _members(told.get("descriptors")), _members(told.get("connections"))
    good, questionable = _whole(contacts.get("good")), _whole(contacts.get("questionable"))
    bootstrap, limits = told.get("bootstrap"), told.get("limits_hit")
    return Told(
        version=_text(told.get("version")),
        node_id=_matching(_ID, told.get("node_id")),
        problems=_problems(_members(told.get("readiness"))),
        uptime=_number(told.get("uptime")),
        dht_address=_matching(_ADDRESS, told.get("dht_address")),
        advertised=_matching(_ADDRESS, told.get("advertised")),
        contacts=good + questionable if good is not None and questionable is not None else None,
        bootstrap=tuple(map(str, bootstrap)) if isinstance(bootstrap, list) else None,
        peer_max_age=_number(told.get("peer_max_age")),
        is_read_only=told.get("read_only") is True,
        time=_number(told.get("time")),
        state_file=_text(state.get("file")),
        state_problem=_text(state.get("problem")),
        descriptors_open=_whole(descriptors.get("open")),
        descriptors_limit=_whole(descriptors.get("limit")),
        connections_open=_whole(connections.get("open")),
        connections_limit=_whole(connections.get("limit")),
        limits_hit={name: int(cast("int", number)) for name, number in limits.items() if _whole(number)}
        if isinstance(limits, dict)
        else None,
    )


def _problems(readiness: Mapping[str, Json]) -> dict[str, str]:
    checks = readiness.get("checks")
    found = [_members(check) for check in checks] if isinstance(checks, list) else []
    return {str(check.get("state")): str(check.get("text")) for check in found if check.get("state") != "ok"}


def _members(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, dict) else {}


def _text(value: Json) -> str | None:
    return value if isinstance(value, str) else None


def _matching(pattern: re.Pattern[str], value: Json) -> str | None:
    return value if isinstance(value, str) and pattern.fullmatch(value) else None


def _whole(value: Json) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number(value: Json) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
