"""Defines a finding: what a check has found, and what to do about it.

Under 60 lines: one class and its states.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

OK = "ok"
WARNING = "warning"
FAILED = "failed"
SKIPPED = "skipped"
STATES = (FAILED, WARNING, SKIPPED, OK)


@attrs.frozen
class Finding:
    """A finding of the check ``name``; ``found`` says what was found, ``advice`` what to do, "" if nothing."""

    name: str
    state: str
    found: str
    advice: str = ""


def skip(name: str, reason: str) -> Finding:
    """Returns the finding of a check that could not be made."""
    return Finding(name, SKIPPED, reason)


def listed(things: Iterable[str], most: int = 5) -> str:
    """Returns things with commas between them, the first of many."""
    shown = list(things)
    more = f" and {len(shown) - most} more" if len(shown) > most else ""
    return ", ".join(shown[:most]) + more


def has_failed(findings: Iterable[Finding]) -> bool:
    """Returns True if one of the checks failed."""
    return any(finding.state == FAILED for finding in findings)
