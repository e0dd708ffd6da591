"""Issues and checks write tokens (BEP 5): a valid one proves that its sender receives at the address it sends from."""

from __future__ import annotations

from hashlib import blake2s
from hmac import compare_digest

import attrs

from grape.dht.bounded import BoundedDict
from grape.dht.nodeid import RandomBytes

TOKEN_BYTES = 8
TOKEN_ROTATION_SECONDS = 300.0
SECRET_BYTES = 32
CACHED_ADDRESSES = 4_096


@attrs.frozen
class Secrets:
    """Holds the current secret, the one before, and when they were rotated (seconds on the caller's clock)."""

    current: bytes
    previous: bytes
    rotated_at: float


class Tokens:
    """Issues and checks tokens with two rotating secrets.

    A token is eight bytes of keyed BLAKE2s over the sender's IP address alone, as in the reference: it is valid for
    any key, method and port. It is accepted for 5 to 10 minutes: under the current secret and the one before.
    """

    def __init__(self, random_bytes: RandomBytes, now: float) -> None:
        self._random_bytes = random_bytes
        self._current = random_bytes(SECRET_BYTES)
        self._previous = random_bytes(SECRET_BYTES)
        self._rotated_at = now
        self._issued: BoundedDict[str, bytes] = BoundedDict(CACHED_ADDRESSES)

    def issue(self, host: str, now: float) -> bytes:
        """Returns the token for ``host`` at ``now`` (seconds on any steady clock)."""
        if now - self._rotated_at >= TOKEN_ROTATION_SECONDS:
            self._rotate(now)
        token = self._issued.get(host)
        if token is None:
            token = _token(self._current, host)
            self._issued.put(host, token)
        return token

    def accepts(self, token: bytes, host: str, now: float) -> bool:
        """Returns True if ``token`` was issued to ``host`` under the current or the previous secret."""
        return compare_digest(token, self.issue(host, now)) or compare_digest(token, _token(self._previous, host))

    def secrets(self, now: float) -> Secrets:
        """Returns the secrets at ``now``, to be saved."""
        if now - self._rotated_at >= TOKEN_ROTATION_SECONDS:
            self._rotate(now)
        return Secrets(self._current, self._previous, self._rotated_at)

    def restore(self, secrets: Secrets, now: float) -> None:
        """Continues with saved secrets: tokens issued under them stay valid as long as they would have."""
        self._current, self._previous = secrets.current, secrets.previous
        self._rotated_at = min(secrets.rotated_at, now)
        self._issued.clear()

    def _rotate(self, now: float) -> None:
        periods = int((now - self._rotated_at) / TOKEN_ROTATION_SECONDS)
        # After two periods or more no token that was ever issued may be valid.
        self._previous = self._current if periods == 1 else self._random_bytes(SECRET_BYTES)
        self._current = self._random_bytes(SECRET_BYTES)
        self._rotated_at += periods * TOKEN_ROTATION_SECONDS
        self._issued.clear()


def _token(secret: bytes, host: str) -> bytes:
    return blake2s(host.encode(), key=secret, digest_size=TOKEN_BYTES).digest()
