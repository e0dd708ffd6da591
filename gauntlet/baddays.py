"""Bad days of a state file: damage of every kind, other schemas, what is no file at all, and a full disk."""

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
from gauntlet.processes import MODULE, START_SECONDS, GrapeProcess, Ports, until
from gauntlet.row import Figure, Finding, Row, Run, judge, ms
from grape.state import records
from grape.state.examine import examine, schema

START_GOAL_SECONDS = 2.0
FILE = "state.sqlite"
EXIT_STATE = 74
ITEMS = 60
FILLER = "x" * 500
FULL_BYTES = 300_000
MAX_PUTS_ON_A_FULL_DISK = 1_000
# After 10 s at the latest it is tried again.
BACK_SECONDS = 15.0
REFUSED = b'"ERR_GRAPE_STATE: the item cannot be kept"'
# The file's first bytes, the version of its schema, whose it is; and places in all tenths of it.
HEADER_PLACES = (3, 62, 70)
TENTHS = range(3, 10)


@attrs.define
class Days:
    """What came of the cases so far. ``items`` are those that the file held when it was well, by hash."""

    folder: Path
    octets: bytes = b""
    items: dict[str, str] = attrs.Factory(dict)
    cases: int = 0
    seconds: list[float] = attrs.Factory(list)
    wrong: list[str] = attrs.Factory(list)
    refused: int = 0
    back: float = float("inf")

    def place(self, octets: bytes | None = None) -> Path:
        """A folder with a state file like this, or none."""
        place = Path(tempfile.mkdtemp(dir=self.folder))
        if octets is not None:
            (place / FILE).write_bytes(octets)
        return place

    def judge(self, name: str, **checks: bool) -> None:
        """Note what of a case was not right."""
        self.cases += 1
        missed = [what.replace("_", " ") for what, holds in checks.items() if not holds]
        if missed:
            self.wrong.append(f"{name} ({', '.join(missed)})")

    @contextmanager
    def grape(self, place: Path, runner: Sequence[str] = MODULE) -> Iterator[GrapeProcess]:
        """A grape that has the file there, as soon as it serves."""
        began = time.monotonic()
        grape = GrapeProcess(Ports(), ("--state", FILE), directory=place, runner=runner)
        try:
            grape.wait()
            self.seconds.append(time.monotonic() - began)
            yield grape
        finally:
            grape.close()

    def refusal(self, place: Path) -> tuple[int, str]:
        """The status and the words of a grape that cannot have the file there."""
        began = time.monotonic()
        grape = GrapeProcess(Ports(), ("--state", FILE), directory=place)
        try:
            until("the grape ended", lambda: not grape.alive, START_SECONDS)
            self.seconds.append(time.monotonic() - began)
            return grape.ended(), grape.log
        finally:
            grape.close()


def _whole(octets: bytes) -> tuple[str | None, set[str]]:
    """What is wrong with a file, and the items in it that are whole."""
    with tempfile.TemporaryDirectory(prefix="gauntlet-") as folder:
        path = Path(folder) / FILE
        path.write_bytes(octets)
        contents = examine(str(path), len(schema()))
    found = records.read(contents.rows)
    items = [one.item for one in found.items] + [one.item for one in found.own_items]
    return contents.damage, {item.target.hex() for item in items}


def _served(grape: GrapeProcess, items: Mapping[str, str]) -> tuple[set[str], bool]:
    """Of these items those that a grape has, and whether each is what it was."""
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


def _begin(days: Days) -> None:
    """Have a grape leave a file behind."""
    place = days.place()
    with days.grape(place) as grape, Client(grape.ports.api) as client:
        for number in range(ITEMS):
            value = f"bad day {number} {FILLER}"
            days.items[client.call("put", value)] = value
    days.octets = (place / FILE).read_bytes()


def _flipped(octets: bytes, place: int) -> bytes:
    return octets[:place] + bytes([octets[place] ^ 0xFF]) + octets[place + 1 :]


def _spoilt(octets: bytes) -> Iterator[tuple[str, bytes, int]]:
    """What becomes of a file: what it is called, the file, and how many items must be left at least."""
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


def _damage(days: Days) -> None:
    for name, octets, least in _spoilt(days.octets):
        damage, whole = _whole(octets)
        place = days.place(octets)
        with days.grape(place) as grape:
            served, right = _served(grape, days.items)
            works, log = _works(grape), grape.log
        lines = re.findall(
            rf"state file \S+{FILE} is damaged \(.+\): moved to (\S+), \d+ rows of it could be saved", log
        )
        days.judge(
            name,
            # A byte that nothing needs may have flipped.
            a_line=len(lines) == (damage is not None) and (damage is None or f"({damage})" in log),
            moved_aside=all(Path(line).read_bytes() == octets for line in lines),
            what_was_whole_is_served=served == whole and len(served) >= least,
            nothing_wrong_is_served=right,
            it_works=works and "Traceback" not in log,
        )


def _schemas(days: Days) -> None:
    place = days.place(days.octets)
    with days.grape(place, ("-m", "gauntlet.next")) as grape:
        served, right = _served(grape, days.items)
        log = grape.log
    line = re.search(rf"state file \S+{FILE} is upgraded; as it was it is (\S+{FILE}\.v1-backup-\S+)", log)
    days.judge(
        "an older schema",
        a_line=line is not None and "damaged" not in log,
        a_backup=line is not None and _whole(Path(line[1]).read_bytes()) == (None, set(days.items)),
        all_is_served=right and served == set(days.items),
    )
    before = (place / FILE).read_bytes()
    status, words = days.refusal(place)
    path = (place / FILE).resolve()
    problem = "a newer grape wrote it (schema 2; this one knows 1): it is left as it is"
    days.judge(
        "a newer schema",
        a_line=words == f"grape: --state {path}: {problem}\n",
        status=status == EXIT_STATE,
        left_as_it_is=(place / FILE).read_bytes() == before,
    )


def _no_file(days: Days) -> None:
    place = days.place()
    os.mkfifo(place / FILE)
    status, words = days.refusal(place)
    days.judge(
        "a pipe",
        a_line=words == f"grape: --state {(place / FILE).resolve()}: it is no regular file\n",
        status=status == EXIT_STATE,
        left_as_it_is=(place / FILE).is_fifo(),
    )


def _leftover(days: Days) -> None:
    """kill -9, and the file is removed, but not what SQLite has beside it."""
    place = days.place()
    with days.grape(place) as grape:
        with Client(grape.ports.api) as client:
            old = client.call("put", "old")
        grape.kill()
    (place / FILE).unlink()
    with days.grape(place) as grape:
        log, works = grape.log, _works(grape)
        forgotten = not _served(grape, {old: "old"})[0]
        grape.kill()
    with days.grape(place) as grape:
        days.judge(
            "a log without its file",
            a_line=re.search(rf"state file \S+{FILE} was gone: a new one is made", log) is not None,
            kept_aside=any(name.name.endswith("-wal") for name in place.glob(f"{FILE}.leftover-*")),
            the_old_is_gone=forgotten and not _served(grape, {old: "old"})[0],
            it_works=works and "damaged" not in log + grape.log,
        )


def _full_disk(days: Days) -> None:
    place = days.place(days.octets)
    said = dict(days.items)
    refused: dict[bytes, int] = {}
    with days.grape(place) as grape, Client(grape.ports.api) as client:

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
        days.back = until("puts are taken again", lambda: put("back"), BACK_SECONDS)
        days.refused = sum(refused.values())
        log = grape.log
        grape.kill()
    with days.grape(place) as grape:
        days.judge(
            "a full disk",
            a_line=len(re.findall(r"state file \S+ cannot be written \(.+\): puts are refused until it can", log)) == 1,
            a_line_when_it_is_over=log.count("the state file can be written again") == 1,
            puts_are_refused=set(refused) == {b"503 " + REFUSED} and days.refused > 20,
            memory_is_served=is_served,
            what_was_acknowledged_is_kept=_served(grape, said) == (set(said), True),
            nothing_is_damaged="damaged" not in grape.log and "Traceback" not in log,
        )


def baddays(run: Run) -> Finding:
    """Each case has a file of its own."""
    parts: tuple[Callable[[Days], None], ...] = (_begin, _damage, _schemas, _no_file, _leftover, _full_disk)
    folder = tempfile.mkdtemp(prefix="gauntlet-")
    days = Days(Path(folder))
    try:
        for part in parts:
            run.say(part.__name__.replace("_", " ").strip())
            part(days)
    finally:
        shutil.rmtree(folder)
    slowest = max(days.seconds)
    figures: dict[str, Figure] = {
        "cases": days.cases,
        "right": days.cases - len(days.wrong),
        "wrong": "; ".join(days.wrong) or "none",
        "slowest ms": ms(slowest),
        "refused on a full disk": days.refused,
        "puts back after ms": ms(days.back),
    }
    return judge(
        figures,
        {"every case right": not days.wrong, "each starts, or says why not, within 2 s": slowest <= START_GOAL_SECONDS},
    )


ROWS: Sequence[Row] = (
    Row(
        "baddays",
        "state files that are damaged in 15 ways, of other schemas, a pipe, a log without its file; a full disk",
        "the operator is told, all that is whole is served, nothing is acknowledged that is not kept; starts in < 2 s",
        baddays,
        alone=True,
    ),
)
