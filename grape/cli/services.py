"""Implements ``grape lookup``, ``announce``, ``unannounce`` and ``services``: services by name."""

from __future__ import annotations

import signal
import threading
from typing import Any, cast
from urllib.parse import urlencode

import click

from grape.cli.output import age, print_json, print_table, progress, say
from grape.cli.pages import MORE, pages
from grape.cli.people import EXIT_NOTHING_FOUND, asks_a_grape, prints_json
from grape.cli.traces import print_trace
from grape.client.blocking import Link
from grape.client.errors import NotSupportedError

MAX_PORT = 65_535


def connect(urls: list[str], timeout: float) -> Link:
    """Returns a link that keeps no lookups: a command shows what is true now."""
    return Link(urls, timeout=timeout, cache_seconds=0)


@click.command(short_help="find the peers of a service")
@click.argument("name")
@click.option("--trace", is_flag=True, help="Show how the lookup went: whom it asked, and what each answered when.")
@click.option("--first", is_flag=True, help="Print one peer, drawn at random.")
@prints_json
@asks_a_grape
def lookup(name: str, urls: list[str], timeout: float, *, trace: bool, first: bool, as_json: bool) -> int:
    """Print the peers of the service NAME, each as IP:PORT on a line of its own.

    Ends with 1 if there are none.
    """
    with connect(urls, timeout) as link, progress(f"looking up {name}"):
        traced = _traced(link, name) if trace else None
        peers = cast("list[str]", traced["peers"]) if traced is not None else link.lookup(name)
    if first:
        peers = peers[:1]
    if as_json:
        print_json(traced if traced is not None else peers)
    elif traced is not None:
        print_trace(traced)
    else:
        for peer in peers:
            click.echo(peer)
    if not peers and not as_json:
        say(f"grape: no peer of {name} is known")
    return 0 if peers else EXIT_NOTHING_FOUND


def _traced(link: Link, name: str) -> dict[str, Any] | None:
    try:
        return cast("dict[str, Any]", link.read("/trace?" + urlencode({"name": name})))
    except NotSupportedError:
        say("grape: this grape cannot tell how a lookup went (a Node grape, or an older one): only the result follows")
        return None


@click.command(short_help="announce a service")
@click.argument("name")
@click.argument("port", type=click.IntRange(0, MAX_PORT))
@click.option("--ttl", type=click.FloatRange(1), metavar="SECONDS", help="List it for this long at most.")
@click.option("--keep", is_flag=True, help="Repeat it until this command is ended, and withdraw it then.")
@prints_json
@asks_a_grape
def announce(
    name: str, port: int, urls: list[str], timeout: float, *, ttl: float | None, keep: bool, as_json: bool
) -> int:
    """Announce that the service NAME runs at PORT of the grape's host.

    Other nodes list it under the address that they see, for 240 s or as the network is set. PORT 0 is the grape's own
    UDP port.
    """
    with connect(urls, timeout) as link:
        if keep:
            return _keep(link, name, port, ttl)
        with progress(f"announcing {name}"):
            stored = link.announce(name, port, ttl=ttl)
    if as_json:
        print_json(stored)
    else:
        click.echo(f"announced: {stored} {'node has' if stored == 1 else 'nodes have'} it")
    return 0


def _keep(link: Link, name: str, port: int, ttl: float | None) -> int:
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: ended.set())
    with link.announcing(name, port, ttl=ttl):
        say(f"grape: {name} is announced at port {port} until this command is ended (Ctrl-C)")
        ended.wait()
    say(f"grape: {name} is announced no longer")
    return 0


@click.command(short_help="withdraw an announced service")
@click.argument("name")
@click.argument("port", type=click.IntRange(0, MAX_PORT))
@asks_a_grape
def unannounce(name: str, port: int, urls: list[str], timeout: float) -> int:
    """Withdraw the service NAME at PORT of the grape's host: lookups find it no longer.

    A Node grape cannot; it lists the service until its announce is too old.
    """
    with connect(urls, timeout) as link, progress(f"withdrawing {name}"):
        link.unannounce(name, port)
    click.echo("withdrawn")
    return 0


@click.command(short_help="list the services that the grape holds")
@click.argument("name", required=False)
@click.option(
    "--limit", type=click.IntRange(1), default=1_000, show_default=True, metavar="N", help="Print at most N services."
)
@prints_json
@asks_a_grape
def services(name: str | None, urls: list[str], timeout: float, *, limit: int, as_json: bool) -> int:
    """List the services that the grape holds for the network, or the peers of the one with this NAME.

    Each grape of a larger ring holds a part: `grape lookup` asks them all.
    """
    with connect(urls, timeout) as link, progress("listing services"):
        listed = pages(link, "services", limit, {"name": name} if name is not None else {})
    if as_json:
        print_json(listed.entries)
    elif name is not None:
        print_table(
            ("PEER", "ANNOUNCED"),
            [(peer["address"], f"{age(peer['age'])} ago") for entry in listed.entries for peer in entry["peers"]],
        )
    else:
        rows = [
            (entry["name"], entry["peer_count"], f"{age(entry['peers'][0]['age'])} ago" if entry["peers"] else None)
            for entry in listed.entries
        ]
        print_table(("NAME", "PEERS", "LAST ANNOUNCED"), rows, numbers=("PEERS",))
    if listed.total > len(listed.entries) and name is None:
        say(MORE.format(shown=len(listed.entries), total=listed.total))
    return 0 if listed.entries else EXIT_NOTHING_FOUND
