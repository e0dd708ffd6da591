"""Answers as a node with somebody else's id, and pings others: ``python -m gauntlet.lab.impostor ID NODE...``.

ID is in hex, each NODE is "host:port". It listens on port 20001, answers every query with an empty result, and pings
each NODE ten times a second. Ends on SIGTERM.
"""

from __future__ import annotations

import select
import socket
import sys
import time

from bencode2 import bencode

from gauntlet.wire import MAX_DATAGRAM_BYTES, decoded, query

PORT = 20_001
PAUSE_SECONDS = 0.1


def main(own_id: str, *nodes: str) -> None:
    """Listens and queries until the process is ended."""
    node_id = bytes.fromhex(own_id)
    addresses = [(host, int(port)) for host, _, port in (node.rpartition(":") for node in nodes)]
    with socket.socket(type=socket.SOCK_DGRAM) as port:
        port.bind(("", PORT))
        due = time.monotonic()
        while True:
            if time.monotonic() >= due:
                due += PAUSE_SECONDS
                for number, address in enumerate(addresses):
                    port.sendto(query(b"ping", b"i%d" % number, id=node_id), address)
            if not select.select([port], [], [], max(due - time.monotonic(), 0.0))[0]:
                continue
            datagram, source = port.recvfrom(MAX_DATAGRAM_BYTES)
            message = decoded(datagram)
            if message is not None and message.get(b"y") == b"q":
                response = {b"id": node_id, b"nodes": b"", b"token": b"impostor"}
                port.sendto(bencode({b"r": response, b"t": message.get(b"t", b""), b"y": b"r"}), source)


if __name__ == "__main__":
    main(*sys.argv[1:])
