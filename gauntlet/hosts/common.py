"""Builds rings on the hosts of a lab, and measures lookups and answers of their members."""

from __future__ import annotations

import functools
import itertools
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import attrs

from gauntlet.lab.grapes import LabGrape, reason_without_node
from gauntlet.lab.host import Host
from gauntlet.lab.lab import Lab, Network, reason_missing
from gauntlet.machine import until
from gauntlet.row import Finding, Row, Run

GROUP = "hosts"
WHOLE_SECONDS = 20.0
# What does not come true within this is not waited for: the figure is infinity.
PATIENCE_SECONDS = 30.0
WARM_SECONDS = 3.0
WARM_LOOKUPS = 10
MEASURED_LOOKUPS = 60
POLL_SECONDS = 0.1
# Connections at a time where answers are checked and no times are taken.
LANES = 10
P50_SECONDS = 0.01

_numbers = itertools.count()


def hosts_row(
    name: str, what: str, goal: str, measure: Callable[[Run], Finding], *, alone: bool = False, node: bool = False
) -> Row:
    """Declares a row of the group; ``node``: it needs npm's grenache-grape."""
    missing = (lambda: reason_missing() or reason_without_node()) if node else reason_missing
    return Row(name, what, goal, measure, alone=alone, full_only=True, group=GROUP, reason_missing=missing)


def fresh(count: int) -> list[str]:
    """Returns names that nobody has announced or looked up."""
    return [f"nobody:{next(_numbers)}" for _ in range(count)]


def nodes(*grapes: LabGrape | str) -> tuple[str, ...]:
    """Returns the flags that make a grape join through others, or through addresses."""
    return "--bn", ",".join(grape if isinstance(grape, str) else grape.node for grape in grapes)


def start_ring(
    lab: Lab, network: Network, count: int, *flags: str, first: int = 1, node: bool = False
) -> list[LabGrape]:
    """Starts grapes on hosts of their own that each know all others, and waits until each knows all."""
    hosts = [lab.host(network=network, last=first + number) for number in range(count)]
    own = [network.address(first + number) for number in range(count)]
    grapes = [
        LabGrape(host, address, *nodes(*(f"{other}:20001" for other in own if other != address)), *flags, node=node)
        for host, address in zip(hosts, own, strict=True)
    ]
    wait_for(grapes)
    whole(grapes)
    return grapes


def wait_for(grapes: Iterable[LabGrape]) -> None:
    """Waits until all serve."""
    for grape in grapes:
        grape.wait()


def whole(grapes: Sequence[LabGrape], others: int | None = None, seconds: float = WHOLE_SECONDS) -> float:
    """Waits until an announce of each reaches so many others, by default all; returns the seconds.

    Raises TimeoutError.
    """
    wanted = len(grapes) - 1 if others is None else others
    began = time.monotonic()
    for grape in grapes:
        until(f"{grape.node} knows {wanted} others", functools.partial(_reaches, grape, wanted), seconds)
    return time.monotonic() - began


def all_listed(grapes: Sequence[LabGrape], seconds: float = WHOLE_SECONDS) -> None:
    """Waits until each lists all others, as its answers to find_node show. Raises TimeoutError.

    For rings with a far member, to which an announce is still on its way when it is answered.
    """
    ids = {grape.node: grape.id_from(grape.host) for grape in grapes}

    def lists(grape: LabGrape, other: LabGrape) -> bool:
        answer = grape.ask(grape.host, b"find_node", target=ids[other.node])
        return answer is not None and (ids[other.node], (other.address, other.dht)) in answer.nodes

    for grape, other in itertools.permutations(grapes, 2):
        until(f"{grape.node} lists {other.node}", functools.partial(lists, grape, other), seconds)


def whole_after(grapes: Sequence[LabGrape], began: float, seconds: float = PATIENCE_SECONDS) -> float:
    """Waits as ``whole`` does; returns the seconds since ``began``, infinity if it takes more than ``seconds``."""
    return seconds_until(lambda: all(_reaches(grape, len(grapes) - 1) for grape in grapes), began, seconds)


def seconds_until(holds: Callable[[], bool], began: float, seconds: float = PATIENCE_SECONDS) -> float:
    """Waits until ``holds()``; returns the seconds since ``began``, infinity if it takes more than ``seconds``."""
    while not holds():
        if time.monotonic() - began > seconds:
            return float("inf")
        time.sleep(POLL_SECONDS)
    return time.monotonic() - began


def announce_all(grapes: Sequence[LabGrape], prefix: str, each: int = 1) -> dict[str, str]:
    """Announces services through all grapes; returns the address that others should list, by name."""
    announced: dict[str, str] = {}
    for number, grape in enumerate(grapes):
        own = {f"{prefix}:{number}:{count}": 1_000 + 100 * number + count for count in range(each)}
        grape.calls([("announce", [name, port]) for name, port in own.items()], lanes=min(each, LANES))
        announced |= {name: f"{grape.address}:{port}" for name, port in own.items()}
    return announced


@attrs.define
class Checked:
    """Counts answers: how many there were, how many were right, and the first that was wrong."""

    count: int = 0
    right: int = 0
    wrong: str = ""

    def check(self, where: str, answer: object, wanted: object) -> None:
        """Counts an answer."""
        self.count += 1
        if answer == wanted:
            self.right += 1
        elif not self.wrong:
            self.wrong = f"{where}: {answer}, not {wanted}"[:200]

    @property
    def ok(self) -> bool:
        """True if all were right, and there was one."""
        return self.right == self.count > 0

    @property
    def text(self) -> str:
        """The count in the table's words."""
        return f"{self.right} of {self.count}" + (f" ({self.wrong})" if self.wrong else "")


def check_lookups(grapes: Iterable[LabGrape], announced: Mapping[str, str], checked: Checked | None = None) -> Checked:
    """Looks all names up at all grapes: each answer must be the one address, once, and nothing else."""
    checked = Checked() if checked is None else checked
    for grape in grapes:
        answers = grape.look_up(announced, lanes=min(len(announced), LANES))
        for (name, address), answer in zip(announced.items(), answers, strict=True):
            checked.check(f"{name} at {grape.node}", answer.value, [address])
    return checked


def lookup_times(grape: LabGrape, names: Sequence[str]) -> list[float]:
    """Looks names up one after another; returns the seconds of each, infinity where it failed."""
    return [answer.seconds if answer.ok else float("inf") for answer in grape.look_up(names)]


def half_and_half(announced: Iterable[str], count: int) -> list[str]:
    """Returns so many names, in turn one that was announced and one that was not."""
    known = itertools.cycle(announced)
    return [name for _ in range(count // 2) for name in (next(known), *fresh(1))]


def settled_p50(grapes: Sequence[LabGrape], announced: Mapping[str, str]) -> list[float]:
    """Measures at each grape, after warming all up, the p50 of lookups in seconds.

    That is the larger of two: of names that were announced, and of names that were not, whose lookups wait longer.
    """
    end = time.monotonic() + WARM_SECONDS
    with ThreadPoolExecutor(len(grapes)) as pool:
        while time.monotonic() < end:
            for _ in pool.map(lambda grape: lookup_times(grape, half_and_half(announced, WARM_LOOKUPS)), grapes):
                pass
            time.sleep(POLL_SECONDS)
    found = []
    for grape in grapes:
        times = lookup_times(grape, half_and_half(announced, MEASURED_LOOKUPS))
        found.append(max(statistics.median(times[::2]), statistics.median(times[1::2])))
    return found


def loopback_in(addresses: object) -> int:
    """Counts the addresses that begin with 127 among "host:port" or (host, port)."""
    if not isinstance(addresses, (list, tuple, set)):
        return 0
    return sum((each if isinstance(each, str) else str(each[0])).startswith("127.") for each in addresses)


def told_over_dht(grape: LabGrape, at: Host, name: str) -> list[str]:
    """Returns all addresses that a grape tells a host over the DHT of a name: its peers and nodes, "host:port" each."""
    told: list[str] = []
    for method, arguments in ((b"get_peers", {"info_hash": name.encode()}), (b"find_node", {"target": bytes(20)})):
        answer = grape.ask(at, method, **arguments)
        if answer is not None:
            told += [*answer.peers, *(f"{host}:{port}" for _, (host, port) in answer.nodes)]
    return told


def complaints(grapes: Iterable[LabGrape]) -> list[str]:
    """Returns the errors in the logs of all grapes."""
    return [line for grape in grapes for line in grape.complaints()]


def _reaches(grape: LabGrape, others: int) -> bool:
    reached = grape.announce("lab:ring", 1)
    return isinstance(reached, int) and reached >= others
