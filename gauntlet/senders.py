"""Those who send a lot, as processes of their own: ``python -m gauntlet.senders garbage|asking|slow PORT ...``.

Each writes a line of JSON at its end.
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

from gauntlet.processes import HOST, ROOT
from gauntlet.wire import query

TICK_SECONDS = 0.001
POOL = 4_096
# A sender that was held up catches up slowly: what is tried is a rate, not how much a socket holds.
BURST = 60
CHUNK = b"%x\r\n%b\r\n" % (65_536, b"x" * 65_536)
BIG_BODY_BYTES = 50_000_000
REOPENED_PER_SECOND = 100


class Sender:
    """A sender under way."""

    def __init__(self, *words: object) -> None:
        command = [sys.executable, "-m", "gauntlet.senders", *map(str, words)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self._popen = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._popen.stdout is not None
        # It says so when it is in full swing.
        self._popen.stdout.readline()

    @property
    def running(self) -> bool:
        return self._popen.poll() is None

    def result(self, seconds: float = 60.0) -> dict[str, float]:
        """What it sent, once it has ended."""
        out, _ = self._popen.communicate(timeout=seconds)
        numbers: dict[str, float] = json.loads(out)
        return numbers

    def close(self) -> None:
        if self.running:
            self._popen.kill()
            self._popen.communicate()


@contextmanager
def sending(*words: object) -> Iterator[Sender]:
    """A sender, ended with the block."""
    sender = Sender(*words)
    try:
        yield sender
    finally:
        sender.close()


def garbage(port: int, seconds: float, rate: int) -> dict[str, float]:
    """Random bytes, and bytes that begin like a message, at an even rate."""
    dice = random.Random(1)
    starts = (b"", b"", b"d1:ad2:id20:", b"d1:rd2:id20:", b"d1:y1:q", b"l" * 20, b"i" + b"9" * 30)
    return _sent([dice.choice(starts) + dice.randbytes(dice.randrange(400)) for _ in range(POOL)], port, seconds, rate)


def asking(port: int, seconds: float, rate: int, key: bytes) -> dict[str, float]:
    """Queries for the peers of a key, at an even rate, each in the name of another node."""
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
    """Connections that never bring a whole request: ``idle`` ones nothing, the others a byte now and then."""

    def __init__(self, port: int, number: int) -> None:
        self.port = port
        self.sockets: list[tuple[socket.socket, bool]] = []
        self.lost = self.refused = 0
        for index in range(number * 2):
            self.open(idle=index % 2 == 0)

    def open(self, *, idle: bool) -> None:
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
        """A byte on every slow connection; who was thrown out comes again, a few each time."""
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
    """Slow and idle connections, and one that sends a very big body in chunks."""
    crowd = Slow(port, number)
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
            # From where the last chunk was cut.
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
            lost = crowd.lost
            crowd.tick()
            missing += [index % 2 == 0 for index in range(crowd.lost - lost)]
            for _ in range(min(len(missing), REOPENED_PER_SECOND // 2)):
                crowd.open(idle=missing.pop())
    return {"opened": number * 2, "lost": crowd.lost, "refused": crowd.refused, "bodies": bodies, "cut": cut}


def main(arguments: Sequence[str] | None = None) -> None:
    """Send, and say what was sent."""
    parser = argparse.ArgumentParser(prog="python -m gauntlet.senders")
    parser.add_argument("kind", choices=["garbage", "asking", "slow"])
    parser.add_argument("port", type=int)
    parser.add_argument("seconds", type=float)
    parser.add_argument("number", type=int, help="datagrams a second; slow: connections of each kind")
    parser.add_argument("key", nargs="?", default="", help="what is asked for")
    options = parser.parse_args(arguments)
    if options.kind == "slow":
        numbers = slow(options.port, options.seconds, options.number)
    else:
        sys.stdout.write("\n")
        sys.stdout.flush()
        if options.kind == "garbage":
            numbers = garbage(options.port, options.seconds, options.number)
        else:
            numbers = asking(options.port, options.seconds, options.number, options.key.encode())
    sys.stdout.write(json.dumps(numbers) + "\n")


if __name__ == "__main__":
    main()
