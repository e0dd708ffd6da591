"""Signs mutable items (BEP 44) and verifies them; keys are raw ed25519 keys of 32 bytes.

The item of a public key and a salt has the hash ``sha1(public key + salt)``. Its signature is over
``4:salt<n>:<salt>3:seqi<seq>e1:v<bencoded value>``, without the first part if there is no salt.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha1
from typing import TypeAlias

import attrs

from grape.dht import bencoding, items
from grape.dht.errors import RemoteProtocolError
from grape.dht.messages import VALUE_TOO_BIG
from grape.encoding import to_bencode
from grape.errors import GrapeError

#: A value that can be stored: text of up to 999 bytes, whole numbers, lists and dicts of these.
Storable: TypeAlias = "str | int | float | Sequence[Storable] | Mapping[str, Storable]"

# Of a number of 64 bits with its sign.
MAX_DIGITS = 20
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)")


@attrs.frozen
class Item:
    """Holds an item as a grape answers it.

    ``value`` is text, a whole number, or a list or dict of these. ``node`` is the id of the node that had it, 40 hex
    digits. A mutable item has ``key``, ``signature`` and ``seq``, and ``salt`` if it has one.
    """

    value: Storable
    node: str = ""
    key: bytes | None = None
    signature: bytes = b""
    seq: int = 0
    salt: bytes = b""

    def is_stored_as(self, found: Item | None) -> bool:
        """True if ``found`` is this signed item."""
        return found is not None and (found.key, found.seq, found.signature) == (self.key, self.seq, self.signature)


def new_private_key() -> bytes:
    """Returns a new private key, from the system's randomness; keep it secret, there is no other copy."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.generate().private_bytes_raw()


def public_key(private_key: bytes) -> bytes:
    """Returns the public key of a private key. Raises ValueError unless that has 32 bytes."""
    # Imported at the first use: it takes longer than the rest of the client.
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(private_key).public_key().public_bytes_raw()


def salt_bytes(salt: str | bytes | None) -> bytes:
    """Returns a salt as bytes: text as UTF-8, none as no bytes. Raises ValueError for more than 64."""
    octets = salt.encode() if isinstance(salt, str) else salt or b""
    if len(octets) > items.MAX_SALT_BYTES:
        raise ValueError(f"a salt has at most {items.MAX_SALT_BYTES} bytes, not {len(octets)}")
    return octets


def mutable_hash(key: bytes, salt: str | bytes | None = None) -> str:
    """Returns the hash of the mutable item of a public key and a salt: 40 hex digits. Raises ValueError for sizes."""
    if len(key) != items.KEY_BYTES:
        raise ValueError(f"a public key has {items.KEY_BYTES} bytes, not {len(key)}")
    return sha1(key + salt_bytes(salt)).hexdigest()


def check_value(value: Storable) -> bytes:
    """Returns a value as bencode. Raises GrapeError ERR_GRAPE_PUT for what cannot be stored, a fraction for instance.

    A grape of ours refuses it too; a Node grape stores something else in its place.
    """
    try:
        return bencoding.encode(to_bencode(value))
    except ValueError as error:
        raise GrapeError("ERR_GRAPE_PUT", 400) from error


def sign(private_key: bytes, value: Storable, seq: int, salt: bytes = b"") -> Item:
    """Signs a value as the mutable item of a key.

    Raises GrapeError as a grape does for a value that is too big or cannot be stored, ValueError for a bad key or seq.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    raw = check_value(value)
    signer = Ed25519PrivateKey.from_private_bytes(private_key)
    key = signer.public_key().public_bytes_raw()
    signature = signer.sign(items.signature_input(raw, seq, salt))
    try:
        # It checks the sizes.
        items.mutable(to_bencode(value), key, signature, seq, salt)
    except RemoteProtocolError as error:
        if error.code == VALUE_TOO_BIG:
            raise GrapeError("v must be less than 1000 bytes in put()") from error
        raise ValueError(str(error)) from error
    return Item(value, "", key, signature, seq, salt)


def verified(item: Item) -> Item | None:
    """Returns a mutable item with its value as it was signed; None if the signature is wrong.

    A grape answers the number 5 as the text "5". Which of the two it is, only the signature tells.
    """
    key = item.key
    if key is None or len(key) != items.KEY_BYTES or len(item.signature) != items.SIGNATURE_BYTES:
        return None
    for value, raw in _readings(item.value):
        if items.is_signed(items.Item(raw, key, item.signature, item.seq, item.salt)):
            return attrs.evolve(item, value=value)
    return None


def restored(item: Item, hash: str) -> Item:
    """Returns an immutable item with its value as it was put, where its hash tells: a number again, not its text."""
    for value, raw in _readings(item.value):
        if sha1(raw).hexdigest() == hash.lower():
            return attrs.evolve(item, value=value)
    return item


def _readings(value: Storable) -> Iterator[tuple[Storable, bytes]]:
    candidates = [value]
    if isinstance(value, str) and len(value) <= MAX_DIGITS and _NUMBER.fullmatch(value):
        candidates.append(int(value))
    for candidate in candidates:
        try:
            yield candidate, bencoding.encode(to_bencode(candidate))
        except ValueError:
            continue
