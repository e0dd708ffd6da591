"""Maps the outcomes of writes, and other failures, to Grenache's errors.

The texts of the Node grape for a failed announce or put stand here alone.
"""

from __future__ import annotations

from typing import NoReturn

from twisted.internet.defer import FirstError
from twisted.python.failure import Failure

from grape.config import Config
from grape.dht.errors import Overloaded
from grape.dht.messages import CAS_MISMATCH, SEQUENCE_TOO_LOW
from grape.errors import GrapeError
from grape.krpc.traversal import WriteOutcome

_REFUSALS = {
    CAS_MISMATCH: "301 CAS mismatch, re-read and try again",
    SEQUENCE_TOO_LOW: "302 sequence number less than current",
}


def accepted_by(written: WriteOutcome) -> int:
    """Returns how many nodes accepted a write. Raises GrapeError if none did."""
    if written.accepted:
        return written.accepted
    if written.asked == 0:
        raise GrapeError("No nodes to query")
    for refusal in written.refusals:
        if refusal.code in _REFUSALS:
            raise GrapeError(_REFUSALS[refusal.code], refusal.code)
    raise GrapeError("All queries failed")


def may_keep_alone(written: WriteOutcome, config: Config) -> bool:
    """Returns True for a write that reached no other node, if the grape is to keep alone what it is given.

    That is one without bootstrap nodes, and an isolated one with ``ready_isolated``.
    """
    if config.ready_isolated:
        return not written.accepted and not written.refusals
    return written.asked == 0 and not config.dht_bootstrap


def overloaded() -> GrapeError:
    """Returns the error of a call that was not begun because too many queries are in flight."""
    return GrapeError("ERR_GRAPE_OVERLOADED", 503)


def raise_overloaded(failure: Failure) -> NoReturn:
    """Raises the GrapeError for a Failure with Overloaded; raises any other Failure's own error."""
    failure.trap(Overloaded)
    raise overloaded()


def first_error(failure: Failure) -> Failure:
    """Returns the failure inside the FirstError of gatherResults."""
    error = failure.value
    return error.subFailure if isinstance(error, FirstError) else failure
