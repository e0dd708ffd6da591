"""Makes, checks and verifies BEP 44 items.

The target of an immutable item is the SHA-1 of its value, that of a mutable item the SHA-1 of its public key and salt.
"""

from __future__ import annotations

from hashlib import sha1

import attrs

from grape.dht import bencoding
from grape.dht.bencoding import BValue
from grape.dht.errors import RemoteProtocolError
from grape.dht.messages import CAS_MISMATCH, PROTOCOL_ERROR, SALT_TOO_BIG, SEQUENCE_TOO_LOW, VALUE_TOO_BIG

KEY_BYTES = 32
SIGNATURE_BYTES = 64
MAX_SALT_BYTES = 64
MAX_VALUE_BYTES = 1_000
MAX_SEQ = 2**63 - 1

# Public keys of small order: one signature verifies for every message under them (OpenSSL accepts such keys,
# libsodium does not). The points of order 1, 2, 4 and 8 in every encoding that a decoder takes, without the sign bit.
_SMALL_ORDER = frozenset(
    bytes.fromhex(text)
    for text in (
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    )
)


@attrs.define(frozen=True, slots=True)
class Item:
    """Holds a value as it is stored and sent.

    ``raw`` is the bencoded value; decoded, nested lists take 48 times as much memory. ``key`` is ``None`` for an
    immutable item. For a mutable one ``key`` is the 32-byte ed25519 public key, ``signature`` 64 bytes, ``seq`` its
    sequence number and ``salt`` up to 64 bytes, empty for none.
    """

    raw: bytes
    key: bytes | None = None
    signature: bytes = b""
    seq: int = 0
    salt: bytes = b""

    @property
    def value(self) -> BValue:
        """The value; decoded at each access, which takes some microseconds."""
        return bencoding.decode(self.raw)[0]

    @property
    def target(self) -> bytes:
        """The 20-byte key that the item is stored under (BEP 44)."""
        if self.key is None:
            return sha1(self.raw).digest()
        return sha1(self.key + self.salt).digest()


def immutable(value: BValue) -> Item:
    """Makes an immutable item. Raises RemoteProtocolError 205 if the value is too big."""
    raw = bencoding.encode(value)
    _check_size(value, raw)
    return Item(raw)


def mutable(value: BValue, key: bytes, signature: bytes, seq: int, salt: bytes = b"") -> Item:
    """Makes a mutable item, whose signature it does not verify: ``is_signed`` does.

    Raises RemoteProtocolError for sizes that BEP 44 does not allow: 205 the value, 207 the salt, 203 key, signature
    and sequence number.
    """
    raw = bencoding.encode(value)
    _check_size(value, raw)
    if len(salt) > MAX_SALT_BYTES:
        raise RemoteProtocolError(SALT_TOO_BIG, "salt is too big")
    if len(key) != KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        raise RemoteProtocolError(PROTOCOL_ERROR, "`a.k` takes 32 and `a.sig` 64 bytes")
    if not -MAX_SEQ <= seq <= MAX_SEQ:
        raise RemoteProtocolError(PROTOCOL_ERROR, "`a.seq` is out of range")
    return Item(raw, key, signature, seq, salt)


def from_response(target: bytes, values: dict[bytes, BValue], salt: bytes = b"") -> Item | None:
    """Returns the item for ``target`` in the values of a ``get`` response; None if absent, invalid or badly signed."""
    if b"v" not in values:
        return None
    value = values[b"v"]
    key, signature, seq = values.get(b"k"), values.get(b"sig"), values.get(b"seq", 0)
    try:
        if isinstance(key, bytes) and isinstance(signature, bytes) and isinstance(seq, int):
            item = mutable(value, key, signature, seq, salt)
            return item if item.target == target and is_signed(item) else None
        item = immutable(value)
    except RemoteProtocolError:
        return None
    return item if item.target == target else None


def signature_input(raw: bytes, seq: int, salt: bytes) -> bytes:
    """Returns the bytes that a mutable item's signature signs (BEP 44)."""
    prefix = b"4:salt%d:%b" % (len(salt), salt) if salt else b""
    return prefix + b"3:seqi%de1:v" % seq + raw


def is_signed(item: Item) -> bool:
    """Returns True if an item is mutable and its signature valid; keys of small order have no valid signatures."""
    key = item.key
    if key is None or _without_sign(key) in _SMALL_ORDER:
        return False
    # Imported at the first signature, which takes 10 ms more: 7 MB that a node without mutable items does not need.
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        public_key = Ed25519PublicKey.from_public_bytes(key)
        public_key.verify(item.signature, signature_input(item.raw, item.seq, item.salt))
    except (InvalidSignature, ValueError):
        return False
    return True


def check_update(stored: Item, new: Item, cas: int | None) -> None:
    """Checks that ``new`` may replace ``stored`` (BEP 44); raises RemoteProtocolError 301 (cas) or 302 (seq) if not.

    The same ``seq`` with the same value is a refresh, whatever ``cas`` is: a put whose response was lost is sent
    again. Else ``cas`` is checked before ``seq``, as the reference does.
    """
    if new.seq == stored.seq and new.raw == stored.raw:
        return
    if cas is not None and cas != stored.seq:
        raise RemoteProtocolError(CAS_MISMATCH, "CAS mismatch, re-read and try again")
    if new.seq <= stored.seq:
        raise RemoteProtocolError(SEQUENCE_TOO_LOW, "sequence number less than current")


def put_arguments(item: Item) -> dict[bytes, BValue]:
    """Returns the arguments of a query that puts ``item``, without the token."""
    arguments: dict[bytes, BValue] = {b"v": item.value}
    if item.key is not None:
        arguments |= {b"k": item.key, b"seq": item.seq, b"sig": item.signature}
        if item.salt:
            arguments[b"salt"] = item.salt
    return arguments


def _check_size(value: BValue, raw: bytes) -> None:
    # The reference counts a string's own bytes, without the bencoded length before them.
    if (len(value) if isinstance(value, bytes) else len(raw)) > MAX_VALUE_BYTES:
        raise RemoteProtocolError(VALUE_TOO_BIG, "data payload too large")


def _without_sign(key: bytes) -> bytes:
    return key[:-1] + bytes((key[-1] & 0x7F,))
