"""Implements ``grape put``, ``get`` and ``keygen``: items by hash, and signed ones by key (BEP 44)."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlencode

import click

from grape.cli.keys import public_key_of, read_private_key
from grape.cli.output import print_json, progress, say
from grape.cli.people import EXIT_NOTHING_FOUND, asks_a_grape, prints_json
from grape.cli.services import connect
from grape.cli.traces import print_trace
from grape.client.blocking import Link
from grape.client.items import Item, Storable, mutable_hash, public_key

MAX_FILE_BYTES = 10_000


def _value(text: str, as_json: bool) -> Storable:
    if text == "-":
        text = sys.stdin.buffer.read(MAX_FILE_BYTES + 1).decode("utf-8", "strict")
        text = text.removesuffix("\n")
    if not as_json:
        return text
    try:
        return cast("Storable", json.loads(text))
    except ValueError as error:
        raise click.BadParameter(f"the value is no JSON: {error}", param_hint="VALUE") from None


@click.command(short_help="store a value, signed with --key")
@click.argument("value")
@click.option(
    "--key",
    "key_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Sign it with this private key (grape keygen).",
)
@click.option("--salt", metavar="TEXT", help="One of several items of the key; at most 64 bytes.")
@click.option("--seq", type=int, metavar="N", help="The sequence number. [one more than that of the item there]")
@click.option("--cas", type=int, metavar="N", help="Store it only in the place of the item with this number.")
@click.option("--parse", is_flag=True, help="VALUE is JSON: a whole number, or a list or object of these and texts.")
@prints_json
@asks_a_grape
def put(
    value: str,
    urls: list[str],
    timeout: float,
    *,
    key_file: Path | None,
    salt: str | None,
    seq: int | None,
    cas: int | None,
    parse: bool,
    as_json: bool,
) -> int:
    """Store VALUE in the network, text of at most 999 bytes, and print its hash.

    With - as VALUE it is read from stdin, without the newline at its end. With --key it is a mutable item: it is found
    under the hash of the public key and the salt, and a later put replaces it.
    """
    if key_file is None and (salt is not None or seq is not None or cas is not None):
        raise click.UsageError("--salt, --seq and --cas are for items that are signed: name a --key")
    stored = _value(value, parse)
    private_key = read_private_key(key_file) if key_file is not None else None
    with connect(urls, timeout) as link, progress("storing the value"):
        if private_key is None:
            hash = link.put(stored)
        else:
            hash = link.put_mutable(private_key, stored, seq=seq, salt=salt, cas=cas)
    if as_json:
        print_json({"hash": hash, "key": public_key(private_key).hex() if private_key is not None else None})
    else:
        click.echo(hash)
    return 0


@click.command(short_help="fetch a value by its hash or key")
@click.argument("hash", required=False)
@click.option("--key", "key", metavar="KEY", help="Fetch the item of this public key, 64 hex digits, and verify it.")
@click.option("--salt", metavar="TEXT", help="The salt that the item was put with.")
@click.option("--trace", is_flag=True, help="Show how the lookup went instead of the value.")
@prints_json
@asks_a_grape
def get(
    hash: str | None,
    urls: list[str],
    timeout: float,
    *,
    key: str | None,
    salt: str | None,
    trace: bool,
    as_json: bool,
) -> int:
    """Print the value of the item with this HASH, 40 hex digits, or with this --key.

    Text is printed as it is, other values as JSON. Ends with 1 if no node has it.
    """
    if (hash is None) == (key is None):
        raise click.UsageError("a HASH or a --key is needed, and not both")
    public = public_key_of(key) if key is not None else None
    with connect(urls, timeout) as link, progress("fetching the item"):
        if trace:
            return _trace(link, hash if public is None else mutable_hash(public, salt), salt, as_json=as_json)
        found = link.get_mutable(public, salt) if public is not None else link.get(cast("str", hash), salt=salt)
    if found is None:
        say("grape: no node has it")
        return EXIT_NOTHING_FOUND
    if as_json:
        print_json(_plain(found))
    elif isinstance(found.value, str):
        click.echo(found.value)
    else:
        click.echo(json.dumps(found.value, ensure_ascii=False))
    return 0


def _trace(link: Link, hash: str | None, salt: str | None, *, as_json: bool) -> int:
    query = {"hash": hash or "", **({"salt": salt} if salt else {})}
    traced = cast("dict[str, Any]", link.read("/trace?" + urlencode(query)))
    if as_json:
        print_json(traced)
    else:
        print_trace(traced)
    return 0 if traced["seq"] is not None else EXIT_NOTHING_FOUND


def _plain(found: Item) -> dict[str, object]:
    told: dict[str, object] = {"value": found.value, "node": found.node}
    if found.key is not None:
        told |= {"key": found.key.hex(), "seq": found.seq, "signature": found.signature.hex()}
        told["salt"] = found.salt.decode("utf-8", "backslashreplace")
    return told
