"""Implements ``grape lookup``, ``announce``, ``unannounce`` and ``services``: services by name."""

from __future__ import annotations

import click

from grape.cli import documents
from grape.cli.documents import ServiceEntry, Trace, connect
from grape.cli.keeping import keep_announced
from grape.cli.output import age, counted, print_json, print_line, print_table, progress, say
from grape.cli.people import EXIT_NOTHING_FOUND, asks_a_grape, prints_json
from grape.cli.traces import print_trace
from grape.cli.words import NAME, PORT
from grape.client.blocking import Link
from grape.client.errors import NotSupportedError


@click.command(short_help="find the peers of a service")
@click.argument("name", type=NAME)
@click.option("--trace", is_flag=True, help="Show how the lookup went: whom it asked, and what each answered when.")
@click.option("--first", is_flag=True, help="Print one peer, drawn at random.")
@prints_json
@asks_a_grape
def lookup(name: str, urls: list[str], timeout: float, *, trace: bool, first: bool, as_json: bool) -> int:
    """Print the peers of the service NAME, each as IP:PORT on a line of its own.

    Ends with 1 if there are none.
    """
    if trace and first:
        raise click.UsageError("--trace shows all peers: --first cannot be given with it")
    with connect(urls, timeout) as link, progress(f"looking up {name}"):
        traced = _traced(link, name, as_json=as_json) if trace else None
        peers = traced["peers"] if traced is not None else link.lookup(name)
    if first:
        peers = peers[:1]
    if as_json:
        print_json(traced if traced is not None else peers)
    elif traced is not None:
        print_trace(traced)
    else:
        for peer in peers:
            print_line(peer)
    if not peers and not as_json:
        say(f"grape: no peer of {name} is known")
    return 0 if peers else EXIT_NOTHING_FOUND


def _traced(link: Link, name: str, *, as_json: bool) -> Trace | None:
    try:
        return documents.trace_of_service(link, name)
    except NotSupportedError:
        if as_json:
            # A program gets what it has asked for, or an error.
            raise
        say("grape: this grape cannot tell how a lookup went (a Node grape, or an older one): only the result follows")
        return None


@click.command(short_help="announce a service")
@click.argument("name", type=NAME)
@click.argument("port", type=PORT)
@click.option("--ttl", type=click.FloatRange(1), metavar="SECONDS", help="List it for this long at most.")
@click.option("--keep", is_flag=True, help="Repeat it until this command is ended, and withdraw it then.")
@prints_json
@asks_a_grape
def announce(
    name: str, port: int, urls: list[str], timeout: float, *, ttl: float | None, keep: bool, as_json: bool
) -> int:
    """Announce that the service NAME runs at PORT of the grape's host.

    Other nodes list it under the address that they see, for 240 s or as the network is set. PORT 0 is the grape's own
    UDP port. With several grapes it goes through one on the host of the first, as the address is the grape's.
    """
    with connect(urls, timeout) as link:
        if keep:
            return keep_announced(link, name, port, ttl, as_json=as_json)
        with progress(f"announcing {name}"):
            stored = link.announce(name, port, ttl=ttl)
    if as_json:
        print_json({"name": name, "port": port, "nodes": stored})
    else:
        print_line(f"announced: {stored} {'node has' if stored == 1 else 'nodes have'} it")
    return 0


@click.command(short_help="withdraw an announced service")
@click.argument("name", type=NAME)
@click.argument("port", type=PORT)
@prints_json
@asks_a_grape
def unannounce(name: str, port: int, urls: list[str], timeout: float, *, as_json: bool) -> int:
    """Withdraw the service NAME at PORT of the grape's host: lookups find it no longer.

    A Node grape cannot; it lists the service until its announce is too old.
    """
    with connect(urls, timeout) as link, progress(f"withdrawing {name}"):
        confirmed = link.unannounce(name, port)
    if as_json:
        print_json({"name": name, "port": port, "nodes": confirmed})
    else:
        print_line(f"withdrawn: {counted(confirmed, 'other node')} confirmed it")
    return 0


@click.command(short_help="list the services that the grape holds")
@click.argument("name", required=False, type=NAME)
@click.option(
    "--limit", type=click.IntRange(1), default=1_000, show_default=True, metavar="N", help="Print at most N services."
)
@prints_json
@asks_a_grape
def services(name: str | None, urls: list[str], timeout: float, *, limit: int, as_json: bool) -> int:
    """List the services that the grape holds for the network, or the peers of the one with this NAME.

    Each grape of a larger ring holds a part: `grape lookup` asks them all. Ends with 1 if there are none.
    """
    with connect(urls, timeout) as link, progress("listing services"):
        listed = documents.services(link, limit, name)
    if as_json:
        print_json(listed.entries)
    elif name is not None:
        _print_peers(listed.entries)
    else:
        print_table(("NAME", "PEERS", "LAST ANNOUNCED"), [_row(entry) for entry in listed.entries], numbers=("PEERS",))
        if listed.total > len(listed.entries):
            say(f"grape: {len(listed.entries)} of {listed.total} services; --limit shows more")
    return 0 if listed.entries else EXIT_NOTHING_FOUND


def _print_peers(entries: list[ServiceEntry]) -> None:
    rows = [(peer["address"], f"{age(peer['age'])} ago") for entry in entries for peer in entry["peers"]]
    print_table(("PEER", "ANNOUNCED"), rows)
    total = sum(entry["peer_count"] for entry in entries)
    if total > len(rows):
        say(f"grape: the last {len(rows)} of {total} peers")


def _row(entry: ServiceEntry) -> tuple[object, ...]:
    peers = entry["peers"]
    return entry["name"], entry["peer_count"], f"{age(peers[0]['age'])} ago" if peers else None
