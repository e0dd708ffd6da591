"""Implements ``grape put`` and ``get``: items by hash, and signed ones by key (BEP 44)."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import cast

import click

from grape.cli import documents
from grape.cli.documents import connect
from grape.cli.keys import public_key_of, read_private_key
from grape.cli.output import is_terminal, print_json, print_line, print_raw, progress, say
from grape.cli.people import EXIT_NOTHING_FOUND, asks_a_grape, prints_json
from grape.cli.traces import print_trace
from grape.cli.words import HASH, TEXT
from grape.client.items import Item, Storable, mutable_hash, public_key, verified

MAX_TEXT_BYTES = 999
MAX_INPUT_BYTES = 10_000
SEQ = click.IntRange(0)


@click.command(short_help="store a value, signed with --key")
@click.argument("value", type=TEXT)
@click.option(
    "--key",
    "key_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Sign it with this private key (grape keygen).",
)
@click.option("--salt", type=TEXT, metavar="TEXT", help="One of several items of the key; at most 64 bytes.")
@click.option("--seq", type=SEQ, metavar="N", help="The sequence number. [one more than that of the item there]")
@click.option("--cas", type=SEQ, metavar="N", help="Store it only in the place of the item with this number.")
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
    stored = _value(_input() if value == "-" else value, parse)
    private_key = read_private_key(key_file) if key_file is not None else None
    with connect(urls, timeout) as link, progress("storing the value"):
        if private_key is None:
            hash = link.put(stored)
        else:
            hash = link.put_mutable(private_key, stored, seq=seq, salt=salt, cas=cas)
    if as_json:
        print_json({"hash": hash, "key": public_key(private_key).hex() if private_key is not None else None})
    else:
        print_line(hash)
    return 0


@click.command(short_help="fetch a value by its hash or key")
@click.argument("hash", required=False, type=HASH)
@click.option("--key", "key", metavar="KEY", help="Fetch the item of this public key, 64 hex digits, and verify it.")
@click.option("--salt", type=TEXT, metavar="TEXT", help="The salt that the item was put with.")
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
    target = mutable_hash(public, salt) if public is not None else cast("str", hash)
    if trace:
        return _trace(urls, timeout, target, salt, as_json=as_json)
    with connect(urls, timeout) as link, progress("fetching the item"):
        found = link.get_mutable(public, salt) if public is not None else link.get(target, salt=salt)
    if found is None:
        if as_json:
            print_json(None)
        else:
            say("grape: no node has it")
        return EXIT_NOTHING_FOUND
    is_verified = public is not None or _is_verified(found, target)
    _print(found, is_verified=is_verified, as_json=as_json)
    return 0


def _trace(urls: list[str], timeout: float, hash: str, salt: str | None, *, as_json: bool) -> int:
    with connect(urls, timeout) as link, progress("looking the item up"):
        traced = documents.trace_of_item(link, hash, salt)
    if as_json:
        print_json(traced)
    else:
        print_trace(traced)
    return 0 if traced["seq"] is not None else EXIT_NOTHING_FOUND


def _input() -> str:
    """Returns the text on stdin, without the newline at its end. Raises ValueError if it is no text."""
    if sys.stdin is None:
        raise ValueError("stdin is closed: there is no value to read")
    octets = sys.stdin.buffer.read(MAX_INPUT_BYTES + 1)
    if len(octets) > MAX_INPUT_BYTES:
        raise ValueError(f"more than {MAX_INPUT_BYTES} bytes are on stdin: a value has at most {MAX_TEXT_BYTES}")
    try:
        return octets.decode().removesuffix("\n")
    except UnicodeDecodeError:
        raise ValueError("what is on stdin is not UTF-8 text: encode it, in base64 for instance") from None


def _value(text: str, is_parsed: bool) -> Storable:
    """Returns the value that a text stands for. Raises BadParameter for one that no grape takes."""
    if is_parsed:
        try:
            return cast("Storable", json.loads(text))
        except (ValueError, RecursionError) as error:
            raise click.BadParameter(f"it is not JSON: {error}", param_hint="VALUE") from None
    size = len(text.encode())
    if size > MAX_TEXT_BYTES:
        raise click.BadParameter(
            f"it has {size} bytes, and a value at most {MAX_TEXT_BYTES}: store parts, and a list of their hashes",
            param_hint="VALUE",
        )
    return text


def _print(found: Item, *, is_verified: bool, as_json: bool) -> None:
    if as_json:
        print_json({**_plain(found), **({} if found.key is None else {"is_verified": is_verified})})
        return
    if not is_verified:
        say("grape: the signature of this item is not right, or not for this salt: anybody may have made it")
    if not isinstance(found.value, str):
        print_raw(json.dumps(found.value))
    elif is_terminal(sys.stdout):
        for line in found.value.split("\n"):
            print_line(line.expandtabs())
    else:
        print_raw(found.value)


def _plain(found: Item) -> dict[str, object]:
    told: dict[str, object] = {"value": found.value, "node": found.node}
    if found.key is not None:
        told |= {"key": found.key.hex(), "seq": found.seq, "signature": found.signature.hex()}
        told["salt"] = found.salt.decode("utf-8", "backslashreplace")
    return told


def _is_verified(found: Item, hash: str) -> bool:
    """Returns True for an immutable item, and for one whose key has this hash and made its signature."""
    if found.key is None:
        return True
    return verified(found) is not None and mutable_hash(found.key, found.salt) == hash.lower()
