"""Provides contacts for the measured node: sockets on loopback that ping it and answer all its queries."""

from __future__ import annotations

import queue
import random
import selectors
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha1
from types import TracebackType
from typing import Any, Self

from bencode2 import bdecode, bencode

from benchmarks.figures import BenchmarkError
from gauntlet.machine import HOST

ID_BYTES = 20
BUCKET = 20
NODE_BYTES = 26
ANSWER_SECONDS = 2.0
FILL_SECONDS = 30.0
LISTED_SHARE = 0.95

Message = dict[bytes, Any]


def id_sharing(own_id: bytes, bits: int, dice: random.Random) -> bytes:
    """Returns a random node id that shares exactly the first ``bits`` bits with ``own_id``."""
    own = int.from_bytes(own_id, "big")
    low = ID_BYTES * 8 - bits
    flipped = (own >> (low - 1)) ^ 1
    return (flipped << (low - 1) | dice.getrandbits(low - 1)).to_bytes(ID_BYTES, "big")


def ids_for(own_id: bytes, first: bytes, count: int, dice: random.Random) -> list[bytes]:
    """Returns ``count`` node ids that all fit into a table with buckets of 20: 20 share no bit, 20 share one, ...

    ``first`` is the first of them.
    """
    shared = [n // BUCKET for n in range(count)]
    distance = int.from_bytes(own_id, "big") ^ int.from_bytes(first, "big")
    shared.remove(min(ID_BYTES * 8 - distance.bit_length(), shared[-1]))
    return [first, *(id_sharing(own_id, bits, dice) for bits in shared)]


class Contacts:
    """Runs ``count`` contacts of the node at ``port`` of this machine, in a thread that ends with the block.

    The first contact has its id, ``first_id``, from the beginning, and sends all queries. The others have none, and do
    not answer, until ``take``.
    """

    def __init__(self, port: int, count: int, seed: int = 1) -> None:
        self._node = (HOST, port)
        self._dice = random.Random(seed)
        self._selector = selectors.DefaultSelector()
        self._sockets = [self._open() for _ in range(count)]
        self.first_id = self._dice.randbytes(ID_BYTES)
        self._ids = {self._sockets[0]: self.first_id}
        self._answers: queue.Queue[Message] = queue.Queue()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="contacts", daemon=True)
        self._transaction = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join()
        self._selector.close()
        for opened in self._sockets:
            opened.close()

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Returns their (host, port)."""
        return [opened.getsockname() for opened in self._sockets]

    def take(self, ids: Sequence[bytes]) -> None:
        """Gives each contact its id; ``ids[0]`` must be ``first_id``."""
        assert ids[0] == self.first_id
        self._ids = dict(zip(self._sockets, ids, strict=True))

    def ask(self, method: bytes, seconds: float = ANSWER_SECONDS, **arguments: object) -> Message:
        """Sends a query, up to three times, and returns the values of the response. Raises BenchmarkError."""
        asker = self._sockets[0]
        for _ in range(3):
            self._transaction = (self._transaction + 1) % 65_536
            transaction = self._transaction.to_bytes(2, "big")
            asked = {b"id": self.first_id, **{name.encode(): value for name, value in arguments.items()}}
            query: dict[bytes, object] = {b"t": transaction, b"y": b"q", b"q": method, b"a": asked}
            asker.sendto(bencode(query), self._node)
            ends = time.monotonic() + seconds
            while (left := ends - time.monotonic()) > 0:
                with suppress(queue.Empty):
                    message = self._answers.get(timeout=left)
                    if message.get(b"t") != transaction:
                        continue
                    if message.get(b"y") != b"r":
                        raise BenchmarkError(f"{method.decode()} is refused: {message.get(b'e')!r}")
                    values: Message = message[b"r"]
                    return values
        raise BenchmarkError(f"{method.decode()} is not answered")

    def announce(self, key: bytes, port: int = 4_242) -> None:
        """Announces a port under a key. Raises BenchmarkError."""
        token = self.ask(b"get_peers", info_hash=key)[b"token"]
        self.ask(b"announce_peer", info_hash=key, port=port, token=token)

    def put(self, value: bytes) -> None:
        """Puts an immutable item. Raises BenchmarkError."""
        token = self.ask(b"get", target=sha1(bencode(value)).digest())[b"token"]
        self.ask(b"put", v=value, token=token)

    def introduce(self) -> None:
        """Pings the node from each contact."""
        for n, (opened, own_id) in enumerate(self._ids.items()):
            opened.sendto(bencode({b"t": b"i%d" % n, b"y": b"q", b"q": b"ping", b"a": {b"id": own_id}}), self._node)
            if n % 20 == 19:
                # A longer burst could overflow the socket's buffer.
                time.sleep(0.005)

    def listed(self) -> int:
        """Counts the contacts that the node returns to a find_node query for their own id."""
        count = 0
        for own_id in self._ids.values():
            nodes = self.ask(b"find_node", target=own_id).get(b"nodes", b"")
            count += own_id in {nodes[at : at + ID_BYTES] for at in range(0, len(nodes), NODE_BYTES)}
        return count

    def fill(self) -> int:
        """Waits until the node lists nearly all contacts, and returns how many. Raises BenchmarkError."""
        ends = time.monotonic() + FILL_SECONDS
        while True:
            self.introduce()
            time.sleep(0.2)
            count = self.listed()
            if count >= LISTED_SHARE * len(self._sockets):
                return count
            if time.monotonic() > ends:
                raise BenchmarkError(f"the node lists {count} of {len(self._sockets)} contacts")

    def _open(self) -> socket.socket:
        opened = socket.socket(type=socket.SOCK_DGRAM)
        opened.bind((HOST, 0))
        opened.setblocking(False)
        self._selector.register(opened, selectors.EVENT_READ)
        return opened

    def _serve(self) -> None:
        while not self._stopped.is_set():
            for key, _ in self._selector.select(0.5):
                opened = key.fileobj
                assert isinstance(opened, socket.socket)
                # OSError: the node has closed its port, which the next call reports.
                with suppress(OSError, ValueError):
                    datagram, address = opened.recvfrom(65_535)
                    self._received(opened, bdecode(datagram), address)

    def _received(self, opened: socket.socket, message: Message, address: tuple[str, int]) -> None:
        if message.get(b"y") != b"q":
            if opened is self._sockets[0]:
                self._answers.put(message)
            return
        own_id = self._ids.get(opened)
        if own_id is not None:
            answer = {b"t": message[b"t"], b"y": b"r", b"r": {b"id": own_id, b"nodes": b"", b"token": b"none"}}
            opened.sendto(bencode(answer), address)
