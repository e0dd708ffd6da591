"""Bytes to a client at once: Twisted's own ``write`` waits for the next turn of its loop, and asks the system twice
whether it may."""

from __future__ import annotations

from twisted.internet.interfaces import ITransport
from twisted.internet.tcp import Server


def write(transport: ITransport, data: bytes) -> None:
    """Send ``data`` after all that was written before it; what the system does not take now goes Twisted's way."""
    if (
        type(transport) is Server
        and transport.connected
        and not transport.disconnecting
        and not transport.dataBuffer
        and not transport._tempDataBuffer
    ):
        try:
            sent = transport.socket.send(data)
        except OSError:
            # It would block, or the client is gone: Twisted's write finds out which.
            sent = 0
        data = data[sent:]
    if data:
        transport.write(data)
