"""Fuzzes the UDP socket of a grape: no datagram may be counted as a fault, log an error or get a long answer.

``python fuzz/datagrams.py -max_total_time=60`` runs it for a minute (any libFuzzer flag is accepted) and keeps new
inputs in fuzz/corpus/. It needs atheris: ``pip install atheris``. An input that failed is written to a file, crash-...;
``python fuzz/datagrams.py crash-...`` tries it again.

One input is one or more datagrams, separated by 0xFF 0xFF, which are delivered to one of two grapes. A datagram that
starts with 0xFE comes from the other grape's address and, if a query to that grape is in flight, has its transaction
id.
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
# Inputs to one pair of grapes: what they store slows later inputs down.
INPUTS_PER_PAIR = 2_000
MAX_ANSWER_BYTES = 1_400


class Pair:
    """Runs two grapes on a network in memory; the first is the target."""

    def __init__(self) -> None:
        self.inputs = 0
        self.network = MemoryNetwork(seed=1)
        self.target, self.other = make_grapes(self.network, 2)
        self.address: Address = ("10.0.0.1", 20_001)
        self.asked: bytes | None = None
        self.network.sent = self._sent

    def deliver(self, data: bytes) -> None:
        """Delivers an input, one datagram after the other."""
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
    """Returns how many datagrams a grape could not handle."""
    return grape.stats().counters["faults"]


class Target:
    """Delivers each input of the fuzzer, and raises AssertionError for a fault or a logged error."""

    def __init__(self) -> None:
        self.errors: list[LogEvent] = []
        self.pair = Pair()
        globalLogPublisher.addObserver(self._observe)

    def __call__(self, data: bytes) -> None:
        if self.pair.inputs >= INPUTS_PER_PAIR:
            self.pair = Pair()
        pair = self.pair
        pair.deliver(data)
        if self.errors:
            event = self.errors[0]
            failure: Any = event.get("log_failure")
            raise AssertionError(failure.getTraceback() if failure is not None else repr(event))
        if pair.inputs % 100 == 0 or pair.inputs == 1:
            counted = faults(pair.target)
            assert counted == 0, f"{counted} faults"

    def _observe(self, event: LogEvent) -> None:
        if event.get("log_failure") is not None or event.get("log_level", LogLevel.info) >= LogLevel.error:
            self.errors.append(event)


def main() -> None:
    """Runs libFuzzer with the flags of the command line, on fuzz/corpus/ unless it names another corpus or file."""
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
