"""Implements ``grape status``, ``nodes`` and ``ping``: the grape, its contacts, and any node of a DHT."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypedDict

import click

from grape.cli.asking import Reply, ask, resolve
from grape.cli.output import age, milliseconds, print_json, print_line, print_table, print_values, progress, say
from grape.cli.people import EXIT_NOTHING_FOUND, asks_a_grape, prints_json
from grape.dht.compact import Address
from grape.dht.messages import CLIENT_VERSION

if TYPE_CHECKING:
    from grape.cli.documents import NodeEntry, Status

PAUSE_SECONDS = 1.0
HEAD = ("ID", "ADDRESS", "ROUND TRIP", "LAST HEARD", "STATE")


class Pinged(TypedDict):
    """Says how a ping went: ``problem`` is why no answer came, ``round_trip`` in seconds; the rest is the answer's."""

    address: str
    answered: bool
    problem: str | None
    round_trip: float | None
    id: str | None
    software: str | None
    seen_as: str | None
    error: str | None


@click.command(short_help="tell what the grape is and does")
@prints_json
@asks_a_grape
def status(urls: list[str], timeout: float, *, as_json: bool) -> int:
    """Tell whether the grape is ready, its addresses, contacts, services and rates.

    Ends with 1 if it should not be given work.
    """
    # Imported here: `ping` asks no grape.
    from grape.cli import documents

    with documents.connect(urls, timeout) as link, progress("asking for the status"):
        told = documents.status(link)
    if as_json:
        print_json(told)
    else:
        print_values(_values(told))
    return 0 if told["readiness"]["is_ready"] else EXIT_NOTHING_FOUND


def _values(told: Status) -> list[tuple[str, object]]:
    readiness, contacts, rates, state = told["readiness"], told["contacts"], told["per_second"], told["state"]
    calls, queries_in, queries_out = rates["calls"], rates["queries_in"], rates["queries_out"]
    checks = [f"{check['name']}: {check['text']}" for check in readiness["checks"] if check["state"] != "ok"]
    file = None
    if state is not None:
        written = f"committed {age(state['last_commit'])} ago" if state["last_commit"] is not None else "no commit yet"
        file = f"{state['file']} ({state['problem'] or written})"
    return [
        ("status", "\n".join([readiness["status"], *checks])),
        ("version", told["version"]),
        ("node id", told["node_id"]),
        ("DHT address", told["dht_address"]),
        ("HTTP address", told["api_address"]),
        ("known as", told["advertised"]),
        ("up for", age(told["uptime"])),
        ("contacts", f"{contacts['good']} good, {contacts['questionable']} questionable"),
        ("services", told["services"]),
        ("items", told["items"]),
        ("a second", f"{calls:.1f} calls, {queries_in:.1f} queries in, {queries_out:.1f} queries out"),
        ("in flight", f"{told['queries_in_flight']} queries"),
        ("state file", file),
    ]


@click.command(short_help="list the grape's contacts")
@click.option(
    "--limit", type=click.IntRange(1), default=1_000, show_default=True, metavar="N", help="Print at most N contacts."
)
@prints_json
@asks_a_grape
def nodes(urls: list[str], timeout: float, *, limit: int, as_json: bool) -> int:
    """List the nodes in the grape's routing table, with their round trip and when they were last heard.

    Ends with 1 if there are none.
    """
    from grape.cli import documents

    with documents.connect(urls, timeout) as link, progress("listing contacts"):
        listed = documents.nodes(link, limit)
    if as_json:
        print_json(listed.entries)
    else:
        print_table(HEAD, [_row(node) for node in listed.entries], numbers=("ROUND TRIP",))
        if listed.total > len(listed.entries):
            say(f"grape: {len(listed.entries)} of {listed.total} contacts; --limit shows more")
    return 0 if listed.entries else EXIT_NOTHING_FOUND


def _row(node: NodeEntry) -> tuple[object, ...]:
    heard = f"{age(node['last_heard'])} ago"
    return node["id"], node["address"], milliseconds(node["round_trip"]), heard, node["state"]


@click.command(short_help="ask a node whether it is there, over UDP")
@click.argument("node", metavar="HOST:PORT")
@click.option(
    "-c", "--count", type=click.IntRange(1, 1_000), default=1, show_default=True, metavar="N", help="Ask N times."
)
@click.option(
    "--timeout",
    type=click.FloatRange(0.1, 60),
    default=2,
    show_default=True,
    metavar="SECONDS",
    help="Time to wait for each answer.",
)
@prints_json
def ping(node: str, *, count: int, timeout: float, as_json: bool) -> int:
    """Send a KRPC ping to the UDP port of a node, a grape or any other of a BitTorrent-style DHT.

    Needs no grape. PORT is 20001 if it is left out; of a name all addresses are asked. Ends with 1 if one of them does
    not answer.
    """
    told: list[Pinged] = []
    for address in resolve(node):
        for number in range(count):
            if number:
                time.sleep(PAUSE_SECONDS)
            with progress(f"waiting for {address[0]}:{address[1]}"):
                told.append(_ping(address, timeout))
            if not as_json:
                print_line(_line(told[-1], timeout))
    if as_json:
        print_json(told)
    return 0 if all(one["answered"] for one in told) else EXIT_NOTHING_FOUND


def _ping(address: Address, timeout: float) -> Pinged:
    reply: Reply | None = None
    problem = None
    try:
        reply = ask(address, seconds=timeout, is_anonymous=True)
    except ConnectionRefusedError:
        problem = "no process listens there (port unreachable)"
    except OSError as error:
        problem = error.strerror or str(error)
    node_id, seen_as = (reply.node_id, reply.seen_as) if reply is not None else (None, None)
    return {
        "address": f"{address[0]}:{address[1]}",
        "answered": reply is not None,
        "problem": (problem or "no answer") if reply is None else None,
        "round_trip": round(reply.seconds, 6) if reply is not None else None,
        "id": node_id.hex() if node_id is not None else None,
        "software": software(reply.version) if reply is not None else None,
        "seen_as": f"{seen_as[0]}:{seen_as[1]}" if seen_as is not None else None,
        "error": reply.error if reply is not None else None,
    }


def _line(told: Pinged, timeout: float) -> str:
    if not told["answered"]:
        waited = f" within {timeout:g} s" if told["problem"] == "no answer" else ""
        return f"{told['address']}: {told['problem']}{waited}"
    parts = (
        f"answered after {milliseconds(told['round_trip'])}",
        told["id"] and f"id {told['id']}",
        told["error"] and f"error {told['error']}",
        told["software"],
        told["seen_as"] and f"sees us as {told['seen_as']}",
    )
    return f"{told['address']}: {', '.join(part for part in parts if part)}"


def software(version: bytes | None) -> str | None:
    """Returns the words for the ``v`` of a KRPC message: two letters for the software, two bytes for its version."""
    if version is None:
        return None
    if version[:2] == CLIENT_VERSION[:2]:
        return "a grape of this kind"
    letters = version[:2].decode("ascii", "backslashreplace")
    return f"software {letters}{version[2:].hex()}" if letters.isprintable() else f"software {version.hex()}"
