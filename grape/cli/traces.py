"""Prints how a lookup went, as ``grape lookup --trace`` and ``grape get --trace`` show it."""

from __future__ import annotations

from typing import Any

import click

from grape.cli.output import milliseconds, print_table

HEAD = ("#", "NODE", "NAMED BY", "DISTANCE", "ASKED AT", "ANSWERED AFTER", "STATE", "GAVE")


def print_trace(trace: dict[str, Any]) -> None:
    """Prints a trace as ``GET /trace`` gives it: a row for each node asked, and a summary."""
    steps = trace["steps"]
    print_table(HEAD, [_row(number, step) for number, step in enumerate(steps, 1)], numbers=("#", "DISTANCE"))
    click.echo()
    for peer in trace["peers"]:
        click.echo(peer)
    if trace["peers"]:
        click.echo()
    answered = sum(step["answered_at"] is not None for step in steps)
    end = "" if trace["complete"] else ", and was stopped before the nodes closest to the key had answered"
    own = len(trace["own_peers"])
    click.echo(
        f"{_number(len(steps), 'node')} asked, {answered} answered; it took {milliseconds(trace['seconds'])}{end}."
        + (f" {_number(own, 'peer')} of the grape's own store." if own else "")
    )


def _row(number: int, step: dict[str, Any]) -> tuple[object, ...]:
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


def _gave(step: dict[str, Any]) -> str:
    if step["error"] is not None and step["answered_at"] is None:
        return str(step["error"])
    parts = [_number(len(step["peers"]), "peer")] if step["peers"] else []
    if step["seq"] is not None:
        parts.append(f"the item (seq {step['seq']})" if step["seq"] else "the item")
    if step["nodes"]:
        parts.append(_number(step["nodes"], "node"))
    return ", ".join(parts) or "-"


def _number(count: int, thing: str) -> str:
    return f"{count} {thing}{'' if count == 1 else 's'}"
