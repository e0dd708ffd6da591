"""Implements ``grape keygen``, and reads the keys of signed items: ed25519, private ones in PEM files (PKCS #8)."""

from __future__ import annotations

import os
from pathlib import Path

import click

from grape.cli.output import print_json, print_line, say
from grape.cli.people import prints_json
from grape.client.items import new_private_key, public_key

KEY_BYTES = 32
MAX_FILE_BYTES = 10_000
PRIVATE = 0o600


@click.command(short_help="make a private key for signed values")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@prints_json
def keygen(file: Path, *, as_json: bool) -> int:
    """Write a new private key (ed25519, PEM) to FILE, and print its public key, 64 hex digits.

    The file must not exist. Whoever has it can replace the items that are signed with it.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private = new_private_key()
    text = Ed25519PrivateKey.from_private_bytes(private).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    _write_new(file, text)
    public = public_key(private).hex()
    if as_json:
        print_json({"key": public})
    else:
        print_line(public)
        say(f"grape: the private key is in {file}; keep it secret and keep a copy")
    return 0


def read_private_key(file: Path) -> bytes:
    """Returns the 32 bytes of a private key in a PEM file, or in a file with its 64 hex digits. Raises ValueError."""
    try:
        with file.open("rb") as opened:
            text = opened.read(MAX_FILE_BYTES)
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}") from error
    private = _from_hex(text.decode("ascii", "replace"))
    return private if private is not None else _from_pem(file, text)


def public_key_of(text: str) -> bytes:
    """Returns the 32 bytes of a public key in hex. Raises ValueError."""
    public = _from_hex(text)
    if public is None:
        raise ValueError("a public key has 64 hex digits: grape keygen prints it")
    return public


def _write_new(file: Path, text: bytes) -> None:
    """Writes a file that only its owner may read. Raises ValueError if it exists or cannot be written."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE)
    except FileExistsError:
        raise ValueError(f"{file} exists: a key is never overwritten") from None
    except OSError as error:
        raise ValueError(f"{file} cannot be written: {error.strerror}") from error
    try:
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(text)
    except OSError as error:
        # Half a key is none.
        file.unlink(missing_ok=True)
        raise ValueError(f"{file} cannot be written: {error.strerror}") from error


def _from_pem(file: Path, text: bytes) -> bytes:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(text, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError(f"{file} holds no private key in PEM without a password (grape keygen makes one)") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError(f"{file} holds a key of another kind: items are signed with ed25519")
    return key.private_bytes_raw()


def _from_hex(text: str) -> bytes | None:
    try:
        octets = bytes.fromhex(text)
    except ValueError:
        return None
    return octets if len(octets) == KEY_BYTES else None
