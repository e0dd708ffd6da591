"""Measures how many KRPC queries a node answers a second, with 200 contacts, 1,000 keys and 500 items stored."""

from __future__ import annotations

import random
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from hashlib import sha1
from pathlib import Path

import attrs
from bencode2 import bencode

from benchmarks.builds import HERE, Build
from benchmarks.contacts import NODE_BYTES, Contacts, id_sharing, ids_for
from benchmarks.figures import LIBTORRENT, REFERENCE, BenchmarkError, Figure, Sample
from benchmarks.processes import START_SECONDS, Process, command_of, cost_of, run_json
from benchmarks.run import Group, Run
from benchmarks.tools import krpc_load
from gauntlet.machine import Ports, free_port

WINDOW = 32
CONTACTS = 200
KEYS = 1_000
ITEMS = 500
TARGETS = 1_000
LOAD_BITS = 12
MORE_SECONDS = 10.0
# The reference answers find_node with all its contacts, so that it is fastest in a ring of three.
FEW = "find_node-ring"
FEW_CONTACTS = 2
METHODS = ("ping", "find_node", "get_peers", "get")
# The argument that carries the target.
ARGUMENTS = {"ping": "-", "find_node": "target", "get_peers": "info_hash", "get": "target"}


def keys() -> list[bytes]:
    """Returns keys of 20 bytes, which every node accepts."""
    return [sha1(b"key %d" % n).digest() for n in range(KEYS)]


def items() -> dict[bytes, bytes]:
    """Returns values by their hash."""
    values = [b"item %03d " % n + b"." * 90 for n in range(ITEMS)]
    return {sha1(bencode(value)).digest(): value for value in values}


@attrs.frozen
class Target:
    """Describes a node under load: its process and port, its contacts, and the node id and port of the load."""

    process: Process
    port: int
    contacts: Contacts
    load_id: bytes
    load_port: int

    def store(self) -> None:
        """Announces the keys and puts the items. Raises BenchmarkError."""
        for key in keys():
            self.contacts.announce(key)
        for value in items().values():
            self.contacts.put(value)

    def check(self) -> None:
        """Checks that it returns an announced peer, an item and enough nodes. Raises BenchmarkError."""
        key, hash = keys()[-1], next(reversed(items()))
        if not self.contacts.ask(b"get_peers", info_hash=key).get(b"values"):
            raise BenchmarkError("an announced peer is not found")
        if self.contacts.ask(b"get", target=hash).get(b"v") != items()[hash]:
            raise BenchmarkError("an item is not found")
        if (
            len(self.contacts.ask(b"find_node", target=key)[b"nodes"])
            < min(len(self.contacts.addresses), 8) * NODE_BYTES
        ):
            raise BenchmarkError("find_node returns too few nodes")

    def load(self, method: str, run: Run) -> dict[str, float]:
        """Runs krpcload and returns its figures; ``share`` is its processor time / the node's."""
        dice = random.Random(2)
        targets = {
            "ping": [],
            "find_node": [dice.randbytes(20) for _ in range(TARGETS)],
            "get_peers": keys(),
            "get": list(items()),
        }[method]
        with tempfile.NamedTemporaryFile(prefix="grape-bench-") as file:
            file.write(b"".join(targets))
            file.flush()
            command = [
                *(str(krpc_load()), str(self.port), str(self.load_port), str(WINDOW)),
                *(f"{run.warm_seconds:.3f}", f"{run.seconds:.3f}", method, ARGUMENTS[method]),
                *(self.load_id.hex(), str(Path(file.name))),
            ]
            before = self.process.cpu_seconds()
            result: dict[str, float] = run_json(command, run.warm_seconds + run.seconds + MORE_SECONDS)
            result["share"] = result["cpu"] / max(self.process.cpu_seconds() - before, 1e-9)
        if result["lost"] > result["responses"] / 100:
            raise BenchmarkError(f"{method}: {result['lost']:,} of {result['responses']:,} queries were lost")
        return result


@contextmanager
def node(side: str, *flags: str, build: Build = HERE) -> Iterator[tuple[Process, Ports]]:
    """A lone node of one side. Its UDP port is open when it answers. ``build`` is what ours runs."""
    ports = Ports()
    stdin = subprocess.PIPE if side == LIBTORRENT else subprocess.DEVNULL
    code = {"PYTHONPATH": str(build.path)}
    with Process(command_of(side, ports, (), *flags, build=build), code, stdin=stdin) as process:
        yield process, ports
        process.check()


@contextmanager
def known(process: Process, side: str, port: int, count: int = CONTACTS) -> Iterator[Contacts]:
    """Fills a node's routing table with contacts, which run until the block ends."""
    with Contacts(port, count) as contacts:
        own_id = _id_of(process, contacts)
        dice = random.Random(3)
        if side == LIBTORRENT:
            # Its buckets far from its own id are larger: random ids fit in.
            contacts.take([contacts.first_id, *(dice.randbytes(20) for _ in range(count - 1))])
            stdin = process.popen.stdin
            assert stdin is not None
            stdin.write(b"".join(b"%d\n" % at[1] for at in contacts.addresses))
            stdin.flush()
        else:
            contacts.take(ids_for(own_id, contacts.first_id, count, dice))
        contacts.fill()
        yield contacts


def _id_of(process: Process, contacts: Contacts) -> bytes:
    """Waits until the node answers, and returns its id. Raises BenchmarkError."""
    ends = time.monotonic() + START_SECONDS
    while True:
        process.check()
        try:
            own_id = contacts.ask(b"ping", seconds=0.2)[b"id"]
        except BenchmarkError:
            if time.monotonic() > ends:
                raise
        else:
            assert isinstance(own_id, bytes)
            return own_id


@contextmanager
def target(side: str, run: Run, count: int = CONTACTS, build: Build = HERE) -> Iterator[Target]:
    """Starts a node of one side with so many contacts, and with the keys and items."""
    with node(side, build=build) as (process, ports):
        run.say(f"{side}: fills the table with {count} contacts")
        with known(process, side, ports.dht, count) as contacts:
            load_id = id_sharing(_id_of(process, contacts), LOAD_BITS, random.Random(4))
            under_load = Target(process, ports.dht, contacts, load_id, free_port())
            run.say(f"{side}: stores {KEYS:,} keys and {ITEMS:,} items")
            under_load.store()
            yield under_load


def measure(run: Run, sides: Sequence[str], measures: frozenset[str]) -> Iterator[Sample]:
    """Measures one round: all nodes run, and are loaded in turn; then those with two contacts."""
    methods = [method for method in METHODS if method in measures]
    if methods:
        with ExitStack() as stack:
            targets = {side: stack.enter_context(target(side, run, build=run.build(side))) for side in sides}
            for method in methods:
                for side, under_load in targets.items():
                    yield _sample(method, side, under_load, method, run)
    if FEW in measures:
        with ExitStack() as stack:
            both = [side for side in sides if side != LIBTORRENT]
            targets = {side: stack.enter_context(target(side, run, FEW_CONTACTS, run.build(side))) for side in both}
            for side, under_load in targets.items():
                yield _sample(FEW, side, under_load, "find_node", run)


def _sample(measure: str, side: str, under_load: Target, method: str, run: Run) -> Sample:
    """Measures the queries answered a second, and what each costs."""
    run.say(f"{side}: {method}")
    under_load.check()
    results: list[dict[str, float]] = []

    def load() -> float:
        results.append(under_load.load(method, run))
        return results[-1]["responses"] / results[-1]["seconds"]

    # krpcload warms up by itself; that time counts.
    cost = cost_of(under_load.process, load, run.warm_seconds + run.seconds)
    under_load.check()
    (result,) = results
    size = result["bytes"] / max(result["responses"], 1)
    run.say(f"{side}: answers of {size:.0f} bytes; the load took {result['share']:.0%} of the node's time")
    return Sample(measure, side, cost.rate, cost)


def _figures(peer: str, prefix: str, goals: Sequence[tuple[float, float, float | None]]) -> list[Figure]:
    what = {
        "ping": "ping, 32 queries outstanding",
        "find_node": "find_node, 200 contacts",
        "get_peers": "get_peers, 1,000 keys stored",
        "get": "get, 500 items stored",
    }
    return [
        Figure(
            f"{prefix}{method}", what[method], method, "queries/s", peer, at_least=pure, aim=aim, compiled_at_least=fast
        )
        for method, (pure, fast, aim) in zip(METHODS, goals, strict=True)
    ]


GROUP = Group(
    (
        *_figures(REFERENCE, "", [(1.6, 2.2, 2.5)] * 4),
        Figure(FEW, "find_node in a ring of three: 2 contacts", FEW, "queries/s", REFERENCE),
        *_figures(LIBTORRENT, "lt-", [(0.85, 1.0, None), (1.0, 1.2, None), (0.95, 1.2, None), (1.0, 1.2, None)]),
    ),
    measure,
    tools=("cc",),
)
