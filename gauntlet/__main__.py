"""``python -m gauntlet [--short] [--only NAME ...] [--json FILE]``: one table, and status 1 if any row fails."""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gauntlet import abuse, baddays, browsers, clock, hostile, live, mutated, simulated, survival
from gauntlet.faults import FAULTS
from gauntlet.row import Finding, Record, Row, Run
from gauntlet.table import as_json, table

# In the order of the table.
ROWS = (
    *live.ROWS,
    *survival.ROWS,
    *baddays.ROWS,
    *clock.ROWS,
    *abuse.ROWS,
    *hostile.ROWS,
    *browsers.ROWS,
    *mutated.ROWS,
    *reversed(simulated.ROWS),
)
# The longest first, so that all processors are busy to the end.
LONGEST = ("steps-10000", "mutated", "hour", "harsh", "steps-1000", "amplification", "loss", "again", "poisoning")
# One more than processors: several rows mostly wait.
LANES = 3


class Progress:
    """What is under way, on stderr: a line that is written over on a terminal, a line for each row otherwise."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._began = time.monotonic()
        self._words: dict[str, str] = {}
        self._lock = threading.Lock()
        self._terminal = sys.stderr.isatty()

    def say(self, row: str, word: str) -> None:
        """How far a row has come."""
        with self._lock:
            self._words[row] = word
            self._show()

    def done(self, record: Record) -> None:
        """A row is done."""
        with self._lock:
            self._words.pop(record.name, None)
            self._done += 1
            text = (
                f"[{self._done}/{self._total}] {'pass' if record.ok else 'FAIL'} {record.name}, {record.seconds:.1f} s"
            )
            sys.stderr.write(("\r\x1b[K" if self._terminal else "") + text + "\n")
            self._show()

    def _show(self) -> None:
        if self._terminal:
            under_way = "; ".join(f"{row}: {word}" for row, word in self._words.items())
            sys.stderr.write(f"\r\x1b[K{time.monotonic() - self._began:.0f} s  {under_way}"[:150])
            sys.stderr.flush()


def measured(row: Row, short: bool, progress: Progress) -> Record:
    """The record of a row. What it raises is a miss."""
    progress.say(row.name, "begins")
    began = time.monotonic()
    try:
        finding = row.measure(Run(short, lambda word: progress.say(row.name, word)))
    except Exception as error:
        finding = Finding({}, (f"could not be measured: {error!r}"[:600],))
    seconds = round(time.monotonic() - began, 1)
    record = Record(row.name, row.what, row.goal, finding.figures, finding.misses, seconds)
    progress.done(record)
    return record


def run(rows: Sequence[Row], short: bool) -> list[Record]:
    """All records, in the order of the rows: first what has to run alone, then the others side by side."""
    progress = Progress(len(rows))
    records = {row.name: measured(row, short, progress) for row in rows if row.alone}
    beside = [row for row in rows if not row.alone]
    beside.sort(key=lambda row: LONGEST.index(row.name) if row.name in LONGEST else len(LONGEST))
    with ThreadPoolExecutor(LANES) as pool:
        for record in pool.map(lambda row: measured(row, short, progress), beside):
            records[record.name] = record
    return [records[row.name] for row in rows]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m gauntlet", description="What a grape has to live through.")
    parser.add_argument("--short", action="store_true", help="smaller sizes, a minute and a half")
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", choices=[row.name for row in ROWS], help="these rows alone"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table as JSON, too")
    options = parser.parse_args(arguments)
    if options.only:
        rows = [row for row in ROWS if row.name in options.only]
    else:
        rows = [row for row in ROWS if not (options.short and row.full_only)]
    began = time.monotonic()
    records = run(rows, options.short)
    seconds = time.monotonic() - began
    sys.stderr.flush()
    sys.stdout.write("\n" + table(records, FAULTS) + f"{seconds:.0f} s\n")
    if options.json is not None:
        options.json.write_text(as_json(records, FAULTS, options.short, seconds))
    return 0 if all(record.ok for record in records) else 1


if __name__ == "__main__":
    sys.exit(main())
