"""Prints what a grape answers in all recordings, state machines and under attack, for one build to be compared with.

``python -m tests.answers pure`` runs the interpreted modules even where compiled ones stand beside them. The same build
prints the same lines in every process: all randomness is seeded, the clock is virtual, and hashes are not random.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable, Iterator
from importlib.machinery import SOURCE_SUFFIXES, FileFinder, SourceFileLoader
from pathlib import Path

ROOT = Path(__file__).parent.parent
HOSTILE = 300


def without_compiled_modules() -> None:
    """Has Python import the sources of this repository alone, not what was compiled from them."""
    finder = FileFinder.path_hook((SourceFileLoader, SOURCE_SUFFIXES))

    def of_the_repository(path: str) -> object:
        if not Path(path or ".").resolve().is_relative_to(ROOT):
            raise ImportError(path)
        return finder(path)

    sys.path_hooks.insert(0, of_the_repository)  # type: ignore[arg-type]
    sys.path_importer_cache.clear()


def datagrams() -> Iterator[str]:
    """Yields each datagram between the grapes of the recordings, and what the recorded queries are answered."""
    from tests.test_wire_vectors import stage

    there = stage()
    for name, packets in there.said.items():
        for source, destination, datagram in packets:
            yield f"{name} {source} {destination} {datagram.hex()}"
    for name, answers in there.answered.items():
        yield f"{name} {[answer.hex() for answer in answers]}"


def bodies() -> Iterator[str]:
    """Yields the status and body that each recorded HTTP request gets."""
    from tests.http_vectors import VECTORS
    from tests.web.test_http_vectors import Setup, _steps

    for vector in VECTORS:
        setup = Setup(vector.setup, bootstrap=not vector.setup.startswith("one"))
        for place, step in _steps(vector):
            yield f"{place} {setup.ask(step)!r}"


def connections() -> Iterator[str]:
    """Yields what a server sends for requests that come in pieces, pipelined, and damaged."""
    from tests.web.helpers import LIMIT, Server, request

    dice = random.Random(1)
    kinds = [
        request(),
        request(b"x" * LIMIT),
        request(b"x" * (LIMIT + 1)),
        request(version=b"1.0"),
        request(method=b"GET"),
        request(headers=b"Connection: close\r\n"),
        request(headers=b"Expect: 100-continue\r\n"),
        request(headers=b"Origin: http://evil.example\r\n"),
        request(headers=b"Upgrade: h2c\r\nConnection: Upgrade\r\n"),
        b"\r\n",
        b"\x00",
    ]
    for number in range(HOSTILE):
        server = Server()
        transport = server.connect()
        data = b"".join(dice.choices(kinds, k=dice.randint(1, 5)))
        while data and not transport.ended:
            size = dice.choice([1, 7, 60, 1_000, len(data)])
            transport.send(data[:size])
            data = data[size:]
            waiting = [index for index, answer in enumerate(server.api.answers) if not answer.called]
            if waiting and dice.random() < 0.7:
                server.answer(dice.choice(waiting), b"[%d]" % number)
        if dice.random() < 0.5:
            transport.half_close()
        for index, answer in enumerate(server.api.answers):
            if not answer.called:
                server.answer(index, b"[%d]" % number)
        lines = [line for line in transport.value().split(b"\r\n") if not line.lower().startswith(b"date: ")]
        asked = [(got.method, got.target, sorted(got.headers.items()), got.body) for got in server.api.requests]
        yield f"{number} {transport.ended} {lines!r} {asked!r}"
        server.close()


def under_attack() -> Iterator[str]:
    """Yields what a grape sends when hostile, damaged and recorded datagrams come."""
    from tests import strategies
    from tests.test_hostile import MEMBER, STRANGER, Ring, cut_short, one_byte_changed

    ring, dice = Ring(), random.Random(1)
    for number, datagram in enumerate(filter(None, strategies.recorded_datagrams())):
        for damage in (None, cut_short, one_byte_changed):
            told = datagram if damage is None else damage(datagram, dice)
            sent = ring.deliver(told, dice.choice([STRANGER, MEMBER]))
            yield f"{number} {[(address, answer.hex()) for address, answer in sent]}"
        ring.network.clock.advance(0.5)
    yield repr(sorted(ring.grape.stats().counters.items()))


def machines() -> Iterator[str]:
    """Yields what the stores say while the state machines of the tests run."""
    from hypothesis import HealthCheck, settings
    from hypothesis.internal.conjecture import providers
    from hypothesis.stateful import invariant, run_state_machine_as_test

    from tests.dht.test_withdrawals import KEY, Order
    from tests.state import test_contract

    said: list[str] = []

    class Holding(Order):
        @invariant()
        def lists_what_was_announced_last(self) -> None:
            super().lists_what_was_announced_last()
            holder = self.holder
            said.append(f"{holder.found!r} {sorted(holder.withdrawals.entries.get(KEY, {}).items())!r}")

    class Storing(test_contract.MemoryMachine):
        @invariant()
        def serves_what_the_model_holds(self) -> None:
            super().serves_what_the_model_holds()
            if hasattr(self, "stores"):
                items = [(target.hex(), self.stores.items.peek(target)) for target in self.stores.items]
                said.append(f"{items!r} {list(self.stores.peers.all())!r} {list(self.stores.withdrawals.all())!r}")

    # Hypothesis draws some values from the constants in the sources that are loaded: others in each build.
    providers.is_local_module_file = lambda path: False  # type: ignore[assignment,attr-defined]
    how = settings(
        derandomize=True,
        database=None,
        max_examples=60,
        stateful_step_count=25,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Holding, settings=how)
    run_state_machine_as_test(Storing, settings=how)
    yield from said


PARTS: tuple[Callable[[], Iterator[str]], ...] = (datagrams, bodies, connections, under_attack, machines)


def main() -> None:
    """Prints the build, then all answers."""
    assert os.environ.get("PYTHONHASHSEED") == "0", "set PYTHONHASHSEED=0: sets have another order in each process"
    if sys.argv[1:] == ["pure"]:
        without_compiled_modules()
    from grape.node.status import own_build

    sys.stdout.write(f"{own_build()}\n")
    for part in PARTS:
        for line in part():
            sys.stdout.write(f"{part.__name__}: {line}\n")


if __name__ == "__main__":
    main()
