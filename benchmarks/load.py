"""Accounts for the work of other processes while something is measured, from two snapshots of /proc.

The pure part takes snapshots; ``snapshot`` alone reads the system. Times are in ticks of the kernel's clock.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import attrs

# Other work may take so much of the machine, of all its processors together.
MOST_OTHER = 0.1
# Processes that are named.
NAMED = 3
NAME_LENGTH = 60
KERNEL_THREADS = 2
# The fields of "cpu" in /proc/stat, by proc(5). The time of guests is in user and nice, too.
USER, NICE, SYSTEM, STEAL, FIELDS = 0, 1, 2, 7, 8


@attrs.frozen
class ProcessTime:
    """Holds a process: its parent, its name, and its own ticks and those of its ended children."""

    parent: int
    name: str
    own: int
    children: int

    @property
    def total(self) -> int:
        """Ticks of the process and of its ended children."""
        return self.own + self.children


@attrs.frozen
class Snapshot:
    """Holds the ticks of all processors by kind, as /proc/stat has them, and the processes by their id."""

    ticks: tuple[int, ...]
    processes: Mapping[int, ProcessTime]


@attrs.frozen
class Load:
    """Holds other work: its share of the machine (0 to 1), and (id, name, share) of those that took most."""

    share: float
    steal: float = 0.0
    culprits: tuple[tuple[int, str, float], ...] = ()

    @property
    def is_too_much(self) -> bool:
        """True if other work took too much of the machine to judge what was measured meanwhile."""
        return self.share > MOST_OTHER

    def __str__(self) -> str:
        who = [f"{name} ({pid}) {share:.0%}" for pid, name, share in self.culprits]
        if self.steal >= 0.01:
            who.append(f"other guests of the host {self.steal:.0%}")
        return f"other work took {self.share:.0%} of the machine" + (f": {', '.join(who)}" if who else "")


def family(processes: Mapping[int, ProcessTime], root: int) -> set[int]:
    """Returns the ids of a process and of all that descend from it."""
    found = {root}
    while more := {pid for pid, process in processes.items() if process.parent in found and pid not in found}:
        found |= more
    return found


def other_work(before: Snapshot, after: Snapshot, root: int) -> Load:
    """Returns the work between two snapshots of all processes but ``root`` and its descendants.

    It is the greater of two figures that both tell too little: what the processes that can be seen used, which misses
    some that ended and those of other containers; and all time in programs and the kernel but ours, which misses what
    the kernel counts for us and for nobody. Interrupts are left out, for those are datagrams that we send ourselves.
    """
    ticks = [max(later - earlier, 0) for earlier, later in zip(before.ticks, after.ticks, strict=True)]
    whole = sum(ticks)
    if not whole:
        return Load(0.0)
    ours = family(before.processes, root) | family(after.processes, root)
    own = _used(before, after, (pid for pid in ours))
    strange = {pid for pid in {*before.processes, *after.processes} - ours if not _is_kernel(before, after, pid)}
    seen = max(_used(before, after, strange), 0)
    steal = ticks[STEAL]
    rest = ticks[USER] + ticks[NICE] + ticks[SYSTEM] - own
    used = {pid: _own(after, pid) - _own(before, pid) for pid in strange & set(after.processes)}
    most = sorted(used, key=lambda pid: used[pid], reverse=True)[:NAMED]
    return Load(
        min((max(seen, rest, 0) + steal) / whole, 1.0),
        steal / whole,
        tuple((pid, after.processes[pid].name, used[pid] / whole) for pid in most if used[pid] / whole >= 0.01),
    )


def busiest(loads: Iterable[Load]) -> Load:
    """Returns the load with the greatest share; none at all if there are no loads."""
    return max(loads, key=lambda load: load.share, default=Load(0.0))


def parse_ticks(text: str) -> tuple[int, ...]:
    """Returns the ticks of all processors from the text of /proc/stat, without those of guests."""
    fields = [int(word) for word in text.split("\n", 1)[0].split()[1 : FIELDS + 1]]
    return tuple(fields + [0] * (FIELDS - len(fields)))


def parse_process(text: str) -> ProcessTime:
    """Returns a process from the text of /proc/PID/stat. Its name may have blanks and parentheses."""
    head, _, rest = text.rpartition(")")
    fields = rest.split()
    user, system, children_user, children_system = map(int, fields[11:15])
    return ProcessTime(int(fields[1]), head.partition("(")[2], user + system, children_user + children_system)


def snapshot() -> Snapshot:
    """Returns the ticks of this machine and of its processes now."""
    processes = {}
    for directory in Path("/proc").iterdir():
        if directory.name.isdigit():
            # One that has just ended is left out.
            with suppress(OSError, ValueError, IndexError):
                processes[int(directory.name)] = parse_process((directory / "stat").read_text(errors="replace"))
    return Snapshot(parse_ticks(Path("/proc/stat").read_text()), processes)


def since(before: Snapshot) -> Load:
    """Returns the work of others since a snapshot, with the command lines of the processes that did most."""
    load = other_work(before, snapshot(), os.getpid())
    return attrs.evolve(load, culprits=tuple((pid, _command(pid) or name, share) for pid, name, share in load.culprits))


def watch() -> Callable[[], Load]:
    """Begins to watch this machine, and returns a function that returns the work of others since then."""
    before = snapshot()
    return lambda: since(before)


def _command(pid: int) -> str:
    with suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")
        text = " ".join([words[0].rpartition("/")[2], *words[1:]]).strip()
        return "".join(character if character.isprintable() else "?" for character in text)[:NAME_LENGTH]
    return ""


def _own(at: Snapshot, pid: int) -> int:
    return at.processes[pid].own if pid in at.processes else 0


def _used(before: Snapshot, after: Snapshot, pids: Iterable[int]) -> int:
    """Returns the ticks that processes used. One that ends gives its ticks to its parent: none are lost."""
    return sum(
        sum(sign * at.processes[pid].total for sign, at in ((-1, before), (1, after)) if pid in at.processes)
        for pid in pids
    )


def _is_kernel(before: Snapshot, after: Snapshot, pid: int) -> bool:
    process = after.processes.get(pid) or before.processes[pid]
    return KERNEL_THREADS in (pid, process.parent)
