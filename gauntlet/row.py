"""Declares a row of the gauntlet, its run and its result."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import attrs

Figure = int | float | str


@attrs.frozen
class Run:
    """Holds how the gauntlet is run: ``short``, and ``say(text)``, which shows the progress of the row."""

    short: bool
    say: Callable[[str], None]

    def size(self, full: int, short: int) -> int:
        """Returns the size for this run: ``short`` in a short one, else ``full``."""
        return short if self.short else full


@attrs.frozen
class Finding:
    """Holds what a row measured: its figures by name, and the goals that it missed."""

    figures: Mapping[str, Figure]
    misses: tuple[str, ...] = ()


@attrs.frozen
class Row:
    """Declares one row: a measurement with a goal.

    ``what`` is done and ``goal`` is what must hold, in the table's words. ``alone``: nothing may run at the same time,
    because the figures are times. ``full_only``: left out of a short run. ``group`` is a name by which ``--only`` runs
    it with others. ``reason_missing()`` returns why it cannot be measured on this machine, "" if it can.
    """

    name: str
    what: str
    goal: str
    measure: Callable[[Run], Finding]
    alone: bool = False
    full_only: bool = False
    group: str = ""
    reason_missing: Callable[[], str] = str


@attrs.frozen
class Record:
    """Holds the result of a row, which took ``seconds``; ``skipped`` is why it was not measured, "" if it was."""

    name: str
    what: str
    goal: str
    figures: Mapping[str, Figure]
    misses: tuple[str, ...]
    seconds: float
    skipped: str = ""

    @property
    def ok(self) -> bool:
        """True if every goal was reached, or the row was skipped."""
        return not self.misses

    @property
    def result(self) -> str:
        """The result in the table's words."""
        if self.skipped:
            return "skip"
        return "pass" if self.ok else "FAIL"


def judge(figures: Mapping[str, Figure], goals: Mapping[str, bool]) -> Finding:
    """Makes a finding of figures, and of goals with True for each that was reached."""
    return Finding(figures, tuple(goal for goal, reached in goals.items() if not reached))


def percentile(values: Sequence[float], share: float) -> float:
    """Returns the value that a share (0 to 1) of all values does not exceed; infinity if there are none."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else float("inf")


def ms(seconds: float) -> float:
    """Converts seconds to milliseconds with two decimals."""
    return round(seconds * 1000, 2)
