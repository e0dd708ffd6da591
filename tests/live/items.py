"""Makes and signs items as a client does, and gets them over HTTP."""

from __future__ import annotations

from hashlib import sha1
from itertools import count
from typing import Any

from bencode2 import bencode
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.live.processes import Api

_numbers = count(1)


def new_name() -> str:
    """Returns a text that no other test uses, for a service or a value."""
    return f"live:{next(_numbers)} ✓"


class Signer:
    """Signs mutable items with a new ed25519 key, under a salt unless it is empty."""

    def __init__(self, salt: str = "") -> None:
        self._private = Ed25519PrivateKey.generate()
        self.salt = salt
        self.key = self._private.public_key().public_bytes_raw()
        self.target = sha1(self.key + salt.encode()).hexdigest()
        self.query = {"hash": self.target, "salt": salt} if salt else self.target

    def item(self, value: str, seq: int) -> dict[str, object]:
        """Returns the data of a put of this value with this sequence number."""
        salt = b"4:salt" + bencode(self.salt) if self.salt else b""
        signature = self._private.sign(salt + b"3:seqi%de1:v" % seq + bencode(value))
        item = {"v": value, "k": self.key.hex(), "sig": signature.hex(), "seq": seq}
        return {**item, "salt": self.salt} if self.salt else item


def got(api: Api, query: object) -> Any:
    """Gets an item through a grape and returns its value; None if it is not found."""
    answer = api.call("get", query)
    return answer and answer["v"]
