"""Sends load from a process of its own: ``python -m gauntlet.senders garbage|queries|slow PORT SECONDS NUMBER``.

Prints an empty line once the load has started, and one line of JSON at the end: what was sent.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from gauntlet.machine import HOST, ROOT
from gauntlet.wire import query

TICK_SECONDS = 0.001
POOL = 4_096
# The most datagrams in a row: a sender that was delayed must catch up slowly, or the socket's buffer overflows.
BURST = 60
CHUNK = b"%x\r\n%b\r\n" % (65_536, b"x" * 65_536)
BIG_BODY_BYTES = 50_000_000
REOPENED_PER_SECOND = 100


class Sender:
    """Runs a sender, whose command line is ``words``."""

    def __init__(self, *words: object) -> None:
        command = [sys.executable, "-m", "gauntlet.senders", *map(str, words)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self._popen = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._popen.stdout is not None
        # It prints a line once the load has started.
        self._popen.stdout.readline()

    @property
    def running(self) -> bool:
        """True while the sender runs."""
        return self._popen.poll() is None

    def result(self, seconds: float = 60.0) -> dict[str, float]:
        """Waits for its end, and returns what it sent."""
        out, _ = self._popen.communicate(timeout=seconds)
        numbers: dict[str, float] = json.loads(out)
        return numbers

    def close(self) -> None:
        """Ends it, if it still runs."""
        if self.running:
            self._popen.kill()
            self._popen.communicate()


@contextmanager
def sending(*words: object) -> Iterator[Sender]:
    """Runs a sender, and ends it with the block."""
    sender = Sender(*words)
    try:
        yield sender
    finally:
        sender.close()


def garbage(port: int, seconds: float, rate: int) -> dict[str, float]:
    """Sends random bytes, and bytes that begin like a message, ``rate`` datagrams a second."""
    dice = random.Random(1)
    starts = (b"", b"", b"d1:ad2:id20:", b"d1:rd2:id20:", b"d1:y1:q", b"l" * 20, b"i" + b"9" * 30)
    return _sent([dice.choice(starts) + dice.randbytes(dice.randrange(400)) for _ in range(POOL)], port, seconds, rate)


def queries(port: int, seconds: float, rate: int, key: bytes) -> dict[str, float]:
    """Sends get_peers queries for a key, ``rate`` datagrams a second, from 4,096 different node ids."""
    dice = random.Random(1)
    ids = [dice.randbytes(20) for _ in range(POOL)]
    return _sent([query(b"get_peers", b"aa", id=node_id, info_hash=key) for node_id in ids], port, seconds, rate)


def _sent(pool: Sequence[bytes], port: int, seconds: float, rate: int) -> dict[str, float]:
    with socket.socket(type=socket.SOCK_DGRAM) as udp:
        udp.connect((HOST, port))
        sent, began = 0, time.monotonic()
        while (now := time.monotonic()) - began < seconds:
            for _ in range(min(int((now - began) * rate) - sent, BURST)):
                with suppress(OSError):
                    udp.send(pool[sent % len(pool)])
                sent += 1
            time.sleep(TICK_SECONDS)
        return {"sent": sent, "seconds": time.monotonic() - began}


class Slow:
    """Opens connections that never send a whole request: ``number`` send nothing, as many a byte twice a second."""

    def __init__(self, port: int, number: int) -> None:
        self.port = port
        self.sockets: list[tuple[socket.socket, bool]] = []
        self.lost = self.refused = 0
        for index in range(number * 2):
            self.open(idle=index % 2 == 0)

    def open(self, *, idle: bool) -> None:
        """Opens one more connection."""
        try:
            connection = socket.create_connection((HOST, self.port), 5.0)
        except OSError:
            self.refused += 1
            return
        connection.setblocking(False)
        if not idle:
            with suppress(OSError):
                connection.send(b"POST /lookup HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
        self.sockets.append((connection, idle))

    def tick(self) -> None:
        """Sends a byte over every slow connection, and counts those that the grape closed."""
        kept, gone = [], []
        for connection, idle in self.sockets:
            try:
                if not idle:
                    connection.send(b"x")
                if not connection.recv(1_024):
                    raise ConnectionError
            except BlockingIOError:
                kept.append((connection, idle))
            except OSError:
                connection.close()
                gone.append(idle)
        self.sockets = kept
        self.lost += len(gone)


def slow(port: int, seconds: float, number: int) -> dict[str, float]:
    """Keeps slow and idle connections open, and sends bodies of 50 MB in chunks over one more."""
    connections = Slow(port, number)
    missing: list[bool] = []
    big = socket.create_connection((HOST, port), 5.0)
    big.setblocking(False)
    big.send(b"POST /lookup HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n")
    sys.stdout.write("\n")
    sys.stdout.flush()
    body, offset, bodies, cut = 0, 0, 1, 0
    began = ticked = time.monotonic()
    while (now := time.monotonic()) - began < seconds:
        try:
            # Goes on where the last send ended within the chunk.
            sent = big.send(CHUNK[offset:])
            body, offset = body + sent, (offset + sent) % len(CHUNK)
        except BlockingIOError:
            time.sleep(TICK_SECONDS)
        except OSError:
            cut += 1
            big.close()
            time.sleep(0.05)
            big = socket.create_connection((HOST, port), 5.0)
            big.setblocking(False)
            with suppress(OSError):
                big.send(b"POST /lookup HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n")
            body, offset, bodies = 0, 0, bodies + 1
        if body >= BIG_BODY_BYTES:
            with suppress(OSError):
                big.send(b"0\r\n\r\n")
            body = 0
        if now - ticked > 0.5:
            ticked = now
            lost = connections.lost
            connections.tick()
            missing += [index % 2 == 0 for index in range(connections.lost - lost)]
            for _ in range(min(len(missing), REOPENED_PER_SECOND // 2)):
                connections.open(idle=missing.pop())
    return {
        "opened": number * 2,
        "lost": connections.lost,
        "refused": connections.refused,
        "bodies": bodies,
        "cut": cut,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one sender."""
    parser = argparse.ArgumentParser(prog="python -m gauntlet.senders")
    parser.add_argument("kind", choices=["garbage", "queries", "slow"])
    parser.add_argument("port", type=int)
    parser.add_argument("seconds", type=float)
    parser.add_argument("number", type=int, help="datagrams a second; slow: connections of each kind")
    parser.add_argument("key", nargs="?", default="", help="the key that is queried")
    options = parser.parse_args(arguments)
    if options.kind == "slow":
        numbers = slow(options.port, options.seconds, options.number)
    else:
        sys.stdout.write("\n")
        sys.stdout.flush()
        if options.kind == "garbage":
            numbers = garbage(options.port, options.seconds, options.number)
        else:
            numbers = queries(options.port, options.seconds, options.number, options.key.encode())
    sys.stdout.write(json.dumps(numbers) + "\n")


if __name__ == "__main__":
    main()
