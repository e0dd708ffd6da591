"""Fuzz the socket's side of a grape: whatever arrives, no fault is counted and nothing is logged as an error.

``python fuzz/datagrams.py -max_total_time=60`` runs it for a minute (any libFuzzer flag will do) and keeps what it
finds interesting in fuzz/corpus/. It needs atheris: ``pip install atheris``. A file that it left, crash-..., is tried
again by ``python fuzz/datagrams.py crash-...``.

One input is one or more datagrams: it is cut at each 0xFF 0xFF. Each piece is sent to a grape of a ring of two; one
that starts with 0xFE comes from the other grape's address and, if a query to it is in flight, with its transaction id.
"""

from __future__ import annotations

import random
import re
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

try:
    import atheris
except ImportError:
    sys.exit("fuzz/datagrams.py: atheris is missing: pip install atheris (Linux, CPython 3.11 to 3.13)")

with atheris.instrument_imports(include=["grape", "bencode2"]):
    from grape.dht.compact import Address
    from grape.service import Grape
    from grape.testing import MemoryNetwork, make_grapes

from make_corpus import CORPUS, make_corpus  # noqa: E402
from twisted.logger import LogEvent, LogLevel, globalLogPublisher  # noqa: E402

STRANGER = ("10.0.9.9", 6_881)
SEPARATOR = b"\xff\xff"
TRANSACTION_ID = re.compile(rb"1:t2:..", re.DOTALL)
# A ring is made anew after this many inputs: what a fuzzer puts into a store slows later inputs down.
INPUTS_PER_RING = 2_000
MAX_ANSWER_BYTES = 1_400


class Ring:
    """Two grapes, one of which is the target, and the errors that were logged."""

    def __init__(self) -> None:
        self.inputs = 0
        self.network = MemoryNetwork(seed=1)
        self.target, self.other = make_grapes(self.network, 2)
        self.address: Address = ("10.0.0.1", 20_001)
        self.asked: bytes | None = None
        self.network.sent = self._sent

    def deliver(self, data: bytes) -> None:
        """Have an input arrive, one datagram after the other."""
        self.inputs += 1
        for piece in data.split(SEPARATOR):
            port = self.network.ports[self.address]
            if piece.startswith(b"\xfe"):
                self.asked = None
                self.target.lookup(f"name {self.inputs}").addErrback(lambda _: None)
                datagram = piece[1:]
                found = TRANSACTION_ID.search(datagram)
                if self.asked is not None and found is not None:
                    datagram = datagram[: found.start()] + b"1:t2:" + self.asked + datagram[found.end() :]
                port.received(datagram, ("10.0.0.2", 20_001))
            else:
                port.received(piece, STRANGER)
        self.network.clock.advance(0.01)

    def _sent(self, source: Address, destination: Address, datagram: bytes) -> None:
        if source != self.address:
            return
        if len(datagram) > MAX_ANSWER_BYTES:
            raise AssertionError(f"sent {len(datagram)} bytes")
        found = TRANSACTION_ID.search(datagram) if destination[0] == "10.0.0.2" else None
        if found is not None and b"1:y1:q" in datagram:
            self.asked = found.group()[5:]


def faults(grape: Grape) -> int:
    """How many datagrams a grape could not handle."""
    return grape.stats().counters["faults"]


class Target:
    """What the fuzzer calls."""

    def __init__(self) -> None:
        self.errors: list[LogEvent] = []
        self.ring = Ring()
        globalLogPublisher.addObserver(self._observe)

    def __call__(self, data: bytes) -> None:
        if self.ring.inputs >= INPUTS_PER_RING:
            self.ring = Ring()
        ring = self.ring
        ring.deliver(data)
        if self.errors:
            event = self.errors[0]
            failure: Any = event.get("log_failure")
            raise AssertionError(failure.getTraceback() if failure is not None else repr(event))
        if ring.inputs % 100 == 0 or ring.inputs == 1:
            counted = faults(ring.target)
            assert counted == 0, f"{counted} faults"

    def _observe(self, event: LogEvent) -> None:
        if event.get("log_failure") is not None or event.get("log_level", LogLevel.info) >= LogLevel.error:
            self.errors.append(event)


def main() -> None:
    """Fuzz as the command line's libFuzzer flags say; in fuzz/corpus/ unless it names something else."""
    if not CORPUS.exists():
        make_corpus()
    arguments = sys.argv
    if all(argument.startswith("-") for argument in arguments[1:]):
        arguments = [*arguments, str(CORPUS), f"-seed={random.Random(1).getrandbits(31)}"]
    if not any(argument.startswith("-max_len") for argument in arguments):
        arguments = [*arguments, "-max_len=2048"]
    atheris.Setup(arguments, Target())
    atheris.Fuzz()


if __name__ == "__main__":
    main()
