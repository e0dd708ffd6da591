"""State files that are damaged, of another schema, missing or not regular files, and a full disk."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import attrs

from gauntlet.client import Client
from gauntlet.machine import Ports, until
from gauntlet.processes import MODULE, START_SECONDS, GrapeProcess
from gauntlet.row import Figure, Finding, Row, Run, judge, ms
from grape.state import records
from grape.state.examine import GO_BACK, examine, schema

START_GOAL_SECONDS = 2.0
FILE = "state.sqlite"
EXIT_STATE = 74
ITEMS = 60
FILLER = "x" * 500
FULL_BYTES = 300_000
MAX_PUTS_ON_A_FULL_DISK = 1_000
# Writing is retried every 10 s at the latest.
BACK_SECONDS = 15.0
REFUSED = b'"ERR_GRAPE_STATE: the item cannot be kept"'
# Offsets in the header of bytes of its magic, of the schema version and of the application id; and tenths of the file.
HEADER_PLACES = (3, 62, 70)
TENTHS = range(3, 10)


@attrs.define
class Cases:
    """The results of the cases so far. ``octets`` is an intact state file, ``items`` its items by hash."""

    folder: Path
    octets: bytes = b""
    items: dict[str, str] = attrs.Factory(dict)
    count: int = 0
    seconds: list[float] = attrs.Factory(list)
    wrong: list[str] = attrs.Factory(list)
    refused: int = 0
    back: float = float("inf")

    def place(self, octets: bytes | None = None) -> Path:
        """Returns a new folder, with these octets as its state file unless None."""
        place = Path(tempfile.mkdtemp(dir=self.folder))
        if octets is not None:
            (place / FILE).write_bytes(octets)
        return place

    def judge(self, name: str, **checks: bool) -> None:
        """Counts a case, and notes the checks that failed."""
        self.count += 1
        missed = [what.replace("_", " ") for what, holds in checks.items() if not holds]
        if missed:
            self.wrong.append(f"{name} ({', '.join(missed)})")

    @contextmanager
    def grape(self, place: Path, runner: Sequence[str] = MODULE) -> Iterator[GrapeProcess]:
        """Starts a node with the state file in ``place``; goes on when it serves."""
        began = time.monotonic()
        grape = GrapeProcess(Ports(), ("--state", FILE), directory=place, runner=runner)
        try:
            grape.wait()
            self.seconds.append(time.monotonic() - began)
            yield grape
        finally:
            grape.close()

    def refusal(self, place: Path) -> tuple[int, str]:
        """Returns the exit status and the log of a node that cannot use the state file in ``place``."""
        began = time.monotonic()
        grape = GrapeProcess(Ports(), ("--state", FILE), directory=place)
        try:
            until("the grape ended", lambda: not grape.alive, START_SECONDS)
            self.seconds.append(time.monotonic() - began)
            return grape.ended(), grape.log
        finally:
            grape.close()


def _intact(octets: bytes) -> tuple[str | None, set[str]]:
    """Returns the damage of a file (None: none), and the hashes of its intact items."""
    with tempfile.TemporaryDirectory(prefix="gauntlet-") as folder:
        path = Path(folder) / FILE
        path.write_bytes(octets)
        contents = examine(str(path), len(schema()))
    found = records.read(contents.rows)
    items = [one.item for one in found.items] + [one.item for one in found.own_items]
    return contents.damage, {item.target.hex() for item in items}


def _served(grape: GrapeProcess, items: Mapping[str, str]) -> tuple[set[str], bool]:
    """Returns the hashes of the items that a node serves, and True if each has its value."""
    served, right = set(), True
    with Client(grape.ports.api) as client:
        for hash, value in items.items():
            got = client.call("get", hash)
            if got is not None:
                served.add(hash)
                right = right and got["v"] == value
    return served, right


def _works(grape: GrapeProcess) -> bool:
    with Client(grape.ports.api) as client:
        return client.call("get", client.call("put", "new")) is not None


def _begin(cases: Cases) -> None:
    """Makes the intact file: the one of a node that was stopped after some puts."""
    place = cases.place()
    with cases.grape(place) as grape, Client(grape.ports.api) as client:
        for number in range(ITEMS):
            value = f"bad day {number} {FILLER}"
            cases.items[client.call("put", value)] = value
    cases.octets = (place / FILE).read_bytes()


def _flipped(octets: bytes, place: int) -> bytes:
    return octets[:place] + bytes([octets[place] ^ 0xFF]) + octets[place + 1 :]


def _damaged(octets: bytes) -> Iterator[tuple[str, bytes, int]]:
    """Yields damaged copies of a file: a name, the octets, and how many items must be recovered at least."""
    yield "zero length", b"", 0
    yield "garbage", os.urandom(len(octets)), 0
    yield "truncated", octets[: len(octets) // 2], 0
    yield "truncated a little", octets[: len(octets) * 9 // 10], ITEMS // 2
    yield "the header alone", octets[:100], 0
    for place in HEADER_PLACES:
        yield f"byte {place} flipped", _flipped(octets, place), 0
    for tenth in TENTHS:
        place = len(octets) * tenth // 10 + 97
        yield f"byte {place} flipped", _flipped(octets, place), ITEMS // 2


def _damage(cases: Cases) -> None:
    for name, octets, least in _damaged(cases.octets):
        damage, intact = _intact(octets)
        place = cases.place(octets)
        with cases.grape(place) as grape:
            served, right = _served(grape, cases.items)
            works, log = _works(grape), grape.log
        lines = re.findall(rf"state file \S+{FILE} is damaged \(.+\); moved to (\S+); \d+ rows recovered", log)
        cases.judge(
            name,
            # A flipped byte may lie where SQLite stores nothing: then the file is intact.
            a_line=len(lines) == (damage is not None) and (damage is None or f"({damage})" in log),
            moved_aside=all(Path(line).read_bytes() == octets for line in lines),
            intact_items_are_served=served == intact and len(served) >= least,
            nothing_wrong_is_served=right,
            it_works=works and "Traceback" not in log,
        )


def _schemas(cases: Cases) -> None:
    place = cases.place(cases.octets)
    with cases.grape(place, ("-m", "gauntlet.next")) as grape:
        served, right = _served(grape, cases.items)
        log = grape.log
    line = re.search(rf"state file \S+{FILE} upgraded; backup of the older version: (\S+{FILE}\.v1-backup-\S+)", log)
    cases.judge(
        "an older schema",
        a_line=line is not None and "damaged" not in log,
        a_backup=line is not None and _intact(Path(line[1]).read_bytes()) == (None, set(cases.items)),
        all_is_served=right and served == set(cases.items),
    )
    before = (place / FILE).read_bytes()
    status, words = cases.refusal(place)
    path = (place / FILE).resolve()
    problem = f"written by a newer version (schema 2; this version knows 1); left unchanged; {GO_BACK}"
    cases.judge(
        "a newer schema",
        a_line=words == f"grape: --state {path}: {problem}\n",
        status=status == EXIT_STATE,
        left_unchanged=(place / FILE).read_bytes() == before,
    )


def _pipe(cases: Cases) -> None:
    place = cases.place()
    os.mkfifo(place / FILE)
    status, words = cases.refusal(place)
    cases.judge(
        "a pipe",
        a_line=words == f"grape: --state {(place / FILE).resolve()}: not a regular file\n",
        status=status == EXIT_STATE,
        left_unchanged=(place / FILE).is_fifo(),
    )


def _leftover_log(cases: Cases) -> None:
    """Kills a node and removes its state file, but not SQLite's logs beside it."""
    place = cases.place()
    with cases.grape(place) as grape:
        with Client(grape.ports.api) as client:
            old = client.call("put", "old")
        grape.kill()
    (place / FILE).unlink()
    with cases.grape(place) as grape:
        log, works = grape.log, _works(grape)
        forgotten = not _served(grape, {old: "old"})[0]
        grape.kill()
    with cases.grape(place) as grape:
        cases.judge(
            "a log without its file",
            a_line=re.search(
                rf"state file \S+{FILE} is missing, but not its SQLite logs; moved these to \S+; created a new file",
                log,
            )
            is not None,
            log_moved_aside=any(name.name.endswith("-wal") for name in place.glob(f"{FILE}.leftover-*")),
            old_item_is_gone=forgotten and not _served(grape, {old: "old"})[0],
            it_works=works and "damaged" not in log + grape.log,
        )


def _full_disk(cases: Cases) -> None:
    place = cases.place(cases.octets)
    said = dict(cases.items)
    refused: dict[bytes, int] = {}
    with cases.grape(place) as grape, Client(grape.ports.api) as client:

        def put(value: str) -> bool:
            reply = client.post("/put", json.dumps({"rid": "gauntlet", "data": value}).encode())
            if reply.status == 200:
                said[json.loads(reply.body)] = value
                return True
            answer = b"%d %b" % (reply.status, reply.body)
            refused[answer] = refused.get(answer, 0) + 1
            return False

        hard = resource.prlimit(grape.pid, resource.RLIMIT_FSIZE)[1]
        resource.prlimit(grape.pid, resource.RLIMIT_FSIZE, (FULL_BYTES, hard))
        values = (f"full {number} {FILLER}" for number in range(MAX_PUTS_ON_A_FULL_DISK))
        for value in values:
            if not put(value):
                break
        for _ in range(20):
            put(next(values))
        is_served = _served(grape, said) == (set(said), True)
        resource.prlimit(grape.pid, resource.RLIMIT_FSIZE, (hard, hard))
        began = time.monotonic()
        until("puts are taken again", lambda: put("back"), BACK_SECONDS)
        cases.back = time.monotonic() - began
        cases.refused = sum(refused.values())
        log = grape.log
        grape.kill()
    with cases.grape(place) as grape:
        cases.judge(
            "a full disk",
            a_line=len(re.findall(r"state file \S+ cannot be written \(.+\); puts are refused until it can", log)) == 1,
            a_line_when_it_is_over=len(re.findall(r"state file \S+ can be written again", log)) == 1,
            puts_are_refused=set(refused) == {b"503 " + REFUSED} and cases.refused > 20,
            memory_is_served=is_served,
            acknowledged_items_are_durable=_served(grape, said) == (set(said), True),
            nothing_is_damaged="damaged" not in grape.log and "Traceback" not in log,
        )


def baddays(run: Run) -> Finding:
    """Runs all cases, each with a state file of its own."""
    parts: tuple[Callable[[Cases], None], ...] = (_begin, _damage, _schemas, _pipe, _leftover_log, _full_disk)
    folder = tempfile.mkdtemp(prefix="gauntlet-")
    cases = Cases(Path(folder))
    try:
        for part in parts:
            run.say(part.__name__.replace("_", " ").strip())
            part(cases)
    finally:
        shutil.rmtree(folder)
    slowest = max(cases.seconds)
    figures: dict[str, Figure] = {
        "cases": cases.count,
        "right": cases.count - len(cases.wrong),
        "wrong": "; ".join(cases.wrong) or "none",
        "slowest ms": ms(slowest),
        "refused on a full disk": cases.refused,
        "puts back after ms": ms(cases.back),
    }
    return judge(
        figures,
        {"every case right": not cases.wrong, "each start, or refusal, within 2 s": slowest <= START_GOAL_SECONDS},
    )


ROWS: Sequence[Row] = (
    Row(
        "baddays",
        "state files that are damaged in 15 ways, of other schemas, a pipe, a log without its file; a full disk",
        "the log says it, all intact items are served, nothing is acknowledged that is not durable; starts in < 2 s",
        baddays,
        alone=True,
    ),
)
