"""What a write's outcome means in Grenache's words."""

from __future__ import annotations

from typing import NoReturn

from twisted.python.failure import Failure

from grape.dht.errors import Overloaded
from grape.dht.messages import CAS_MISMATCH, SEQUENCE_TOO_LOW
from grape.errors import GrapeError
from grape.krpc.traversal import WriteOutcome

_REFUSALS = {
    CAS_MISMATCH: "301 CAS mismatch, re-read and try again",
    SEQUENCE_TOO_LOW: "302 sequence number less than current",
}


def accepted(written: WriteOutcome) -> int:
    """How many nodes accepted a write. Raises GrapeError if none did."""
    if written.accepted:
        return written.accepted
    if written.asked == 0:
        raise GrapeError("No nodes to query")
    for refusal in written.refusals:
        if refusal.code in _REFUSALS:
            raise GrapeError(_REFUSALS[refusal.code], refusal.code)
    raise GrapeError("All queries failed")


def overloaded(failure: Failure) -> NoReturn:
    """The answer to a call that was not begun because too many are under way."""
    failure.trap(Overloaded)
    raise overload()


def overload() -> GrapeError:
    """The error of a call that was not begun because too many are under way."""
    return GrapeError("ERR_GRAPE_OVERLOADED", 503)
