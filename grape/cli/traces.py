"""Prints how a lookup went, as ``grape lookup --trace`` and ``grape get --trace`` show it.

Under 60 lines: one table and one sentence, for two commands.
"""

from __future__ import annotations

from grape.cli.documents import Step, Trace
from grape.cli.output import counted, milliseconds, print_line, print_raw, print_table

HEAD = ("#", "NODE", "NAMED BY", "DISTANCE", "ASKED AT", "ANSWERED AFTER", "STATE", "GAVE")


def print_trace(trace: Trace) -> None:
    """Prints a row for each node that was asked, then the peers, then a summary."""
    steps = trace["steps"]
    print_table(HEAD, [_row(number, step) for number, step in enumerate(steps, 1)], numbers=("#", "DISTANCE"))
    print_raw("")
    for peer in trace["peers"]:
        print_line(peer)
    if trace["peers"]:
        print_raw("")
    print_line(_summary(trace))


def _summary(trace: Trace) -> str:
    answered = sum(step["answered_at"] is not None for step in trace["steps"])
    end = "" if trace["complete"] else ", and was stopped before the nodes closest to the key had answered"
    own = len(trace["own_peers"])
    return (
        f"{counted(len(trace['steps']), 'node')} asked, {answered} answered; "
        f"it took {milliseconds(trace['seconds'])}{end}."
        + (f" {counted(own, 'peer')} of the grape's own store." if own else "")
    )


def _row(number: int, step: Step) -> tuple[object, ...]:
    answered = step["answered_at"]
    return (
        number,
        step["address"],
        step["told_by"] or "routing table",
        step["distance"],
        f"{milliseconds(step['asked_at'])}{' and again' if step['asked_again_at'] is not None else ''}",
        milliseconds(answered - step["asked_at"]) if answered is not None else None,
        step["state"],
        _gave(step),
    )


def _gave(step: Step) -> str:
    if step["error"] is not None and step["answered_at"] is None:
        return step["error"]
    parts = [counted(len(step["peers"]), "peer")] if step["peers"] else []
    if step["seq"] is not None:
        parts.append(f"the item (seq {step['seq']})" if step["seq"] else "the item")
    if step["nodes"]:
        parts.append(counted(step["nodes"], "node"))
    return ", ".join(parts) or "-"
