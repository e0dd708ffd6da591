"""Checks and converts the arguments of the calls about services: names, ports and lives.

``Services.begin_announce`` has the same checks of name and port inline: it is one of the two most frequent calls.

Under 60 lines: it is a few checks.
"""

from __future__ import annotations

from datetime import UTC, datetime

from grape.config import MAX_PORT
from grape.dht.responder import MAX_AGE_MILLISECONDS
from grape.encoding import text_to_bytes
from grape.errors import GrapeError


def checked_name(name: object) -> str:
    """Returns the name of a service to look up. Raises GrapeError ERR_GRAPE_LOOKUP for what is none."""
    if not isinstance(name, str) or not name:
        raise GrapeError("ERR_GRAPE_LOOKUP")
    return name


def check_service(name: object, port: object, code: str) -> None:
    """Raises GrapeError ERR_GRAPE_SERVICE_PORT for a port, or ``code`` for a name, that no service can have."""
    if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= MAX_PORT:
        raise GrapeError("ERR_GRAPE_SERVICE_PORT")
    if not isinstance(name, (str, bytes)) or not name:
        raise GrapeError(code)


def key_of(name: str | bytes, timeslot: float | None) -> bytes:
    """Returns the key of a service; in a 0.x network, of its present time slot, which has ``timeslot`` seconds."""
    key = name if isinstance(name, bytes) else text_to_bytes(name)
    if timeslot is None:
        return key
    return text_to_bytes(name_in_slot(key.decode("utf-8", "replace"), timeslot, 0))


def name_in_slot(name: str, timeslot: float, ago: int) -> str:
    """Returns the name of a service in the current time slot of a 0.x network, or ``ago`` slots before."""
    length = round(timeslot * 1000)
    now = int(datetime.now(UTC).timestamp() * 1000) - ago * length
    return f"{name}-{now - now % length}"


def age_of(ttl: object, max_age: float) -> float:
    """Returns how many seconds of a peer's life are gone when it is announced to live ``ttl`` seconds.

    ``max_age`` is the network's age, 0 if peers live for ever. Raises GrapeError ERR_GRAPE_SERVICE_TTL if a peer
    cannot be announced so: for less than a second, or more than the age; or with an age of over a day, which no node
    takes.
    """
    if not isinstance(ttl, (int, float)) or isinstance(ttl, bool):
        raise GrapeError("ERR_GRAPE_SERVICE_TTL")
    if not 1 <= ttl <= max_age or (max_age - ttl) * 1000 >= MAX_AGE_MILLISECONDS:
        raise GrapeError("ERR_GRAPE_SERVICE_TTL")
    return max_age - ttl
