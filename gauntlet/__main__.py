"""Runs the gauntlet and prints one table: ``python -m gauntlet``. The exit status is 1 if any row fails."""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gauntlet import about, abuse, baddays, browsers, chart, clock, hostile, hosts, live, mutated, simulated, survival
from gauntlet.faults import FAULTS
from gauntlet.machine import ROOT
from gauntlet.page import rows as page
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
    *page.ROWS,
    *mutated.ROWS,
    *hosts.ROWS,
    *reversed(simulated.ROWS),
)
# The longest rows, which start first, so that all processors are busy to the end.
LONGEST = ("steps-10000", "mutated", "hour", "harsh", "steps-1000", "amplification", "loss", "again", "poisoning")
# Rows that run at the same time: one more than two processors, because several rows mostly wait.
LANES = 3


class Progress:
    """Shows progress on stderr: one line that is rewritten on a terminal, else one line for each row that ends."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._began = time.monotonic()
        self._under_way: dict[str, str] = {}
        self._lock = threading.Lock()
        self._terminal = sys.stderr.isatty()

    def say(self, row: str, text: str) -> None:
        """Shows what a row is doing."""
        with self._lock:
            self._under_way[row] = text
            self._show()

    def done(self, record: Record) -> None:
        """Shows the result of a row."""
        with self._lock:
            self._under_way.pop(record.name, None)
            self._done += 1
            text = f"[{self._done}/{self._total}] {record.result} {record.name}, {record.seconds:.1f} s"
            sys.stderr.write(("\r\x1b[K" if self._terminal else "") + text + "\n")
            self._show()

    def _show(self) -> None:
        if self._terminal:
            under_way = "; ".join(f"{row}: {text}" for row, text in self._under_way.items())
            sys.stderr.write(f"\r\x1b[K{time.monotonic() - self._began:.0f} s  {under_way}"[:150])
            sys.stderr.flush()


def measured(row: Row, short: bool, progress: Progress) -> Record:
    """Runs a row and returns its record. An exception counts as a missed goal.

    A row that this machine cannot measure is skipped, except where CI is set: what it needs is installed there, and its
    absence counts as a missed goal.
    """
    progress.say(row.name, "starts")
    began = time.monotonic()
    reason = row.reason_missing()
    if reason and not os.environ.get("CI"):
        record = Record(row.name, row.what, row.goal, {}, (), 0.0, reason)
        progress.done(record)
        return record
    try:
        if reason:
            raise RuntimeError(reason)
        finding = row.measure(Run(short, lambda text: progress.say(row.name, text)))
    except Exception as error:
        finding = Finding({}, (f"could not be measured: {error!r}"[:600],))
    seconds = round(time.monotonic() - began, 1)
    record = Record(row.name, row.what, row.goal, finding.figures, finding.misses, seconds)
    progress.done(record)
    return record


def run(rows: Sequence[Row], short: bool) -> list[Record]:
    """Runs first the rows that must run alone, then the others at the same time; returns records in row order."""
    progress = Progress(len(rows))
    records = {row.name: measured(row, short, progress) for row in rows if row.alone}
    beside = [row for row in rows if not row.alone]
    beside.sort(key=lambda row: LONGEST.index(row.name) if row.name in LONGEST else len(LONGEST))
    with ThreadPoolExecutor(LANES) as pool:
        futures = [pool.submit(measured, row, short, progress) for row in beside]
        try:
            for future in futures:
                record = future.result()
                records[record.name] = record
        except BaseException:
            # After Ctrl-C only the rows under way go on to their end.
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [records[row.name] for row in rows]


def chosen(only: Sequence[str] | None, short: bool) -> list[Row]:
    """Returns the rows that are to run: those whose name or group is in ``only``, else all for this length of run."""
    if only:
        return [row for row in ROWS if row.name in only or row.group in only]
    return [row for row in ROWS if not (short and row.full_only)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    width = max(len(row.name) for row in ROWS) + 2
    parser = argparse.ArgumentParser(
        prog="python -m gauntlet",
        description="Tests grapes under failures, load and attacks: processes on loopback, hosts in network\n"
        "namespaces, and simulated networks. "
        "Takes about fourteen minutes. Status: 0 every goal is reached, 1 one is missed.",
        epilog="rows:\n" + "\n".join(f"  {row.name:<{width}}{row.what}" for row in ROWS),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--short",
        action="store_true",
        help="run smaller sizes, without "
        + ", ".join(dict.fromkeys(row.group or row.name for row in ROWS if row.full_only)),
    )
    groups = sorted({row.group for row in ROWS} - {""})
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="ROW",
        choices=[*(row.name for row in ROWS), *groups],
        help=f"run only these rows, or groups of rows: {', '.join(groups)}",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results to FILE as JSON, too")
    parser.add_argument(
        "--results", type=Path, metavar="DIRECTORY", help="write gauntlet.json and a chart (SVG) to DIRECTORY, too"
    )
    options = parser.parse_args(arguments)
    rows = chosen(options.only, options.short)
    where = about.about() | {"interpreter": about.interpreter(sys.executable, os.environ | {"PYTHONPATH": str(ROOT)})}
    began = time.monotonic()
    records = run(rows, options.short)
    seconds = time.monotonic() - began
    sys.stderr.flush()
    sys.stdout.write("\n" + table(records, FAULTS) + f"{seconds:.0f} s\n")
    written = as_json(records, FAULTS, options.short, seconds, where)
    if options.json is not None:
        options.json.write_text(written)
    if options.results is not None:
        options.results.mkdir(parents=True, exist_ok=True)
        (options.results / chart.RESULTS).write_text(written)
        sys.stderr.write(f"chart: {chart.draw(written, options.results)}\n")
    return 0 if all(record.ok for record in records) else 1


if __name__ == "__main__":
    sys.exit(main())
