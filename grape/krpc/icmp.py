"""Recognises the ICMP error that says that the process behind a query is gone, among all that a socket is sent.

Linux keeps the ICMP errors about a socket's datagrams in its error queue (IP_RECVERR, ip(7)). Anybody can forge one, so
most prove nothing. One is a hint if it says "port unreachable", comes from the host that was asked, and quotes a whole
query of ours: the sender of a forged one would have to know the transaction id.

Under 60 lines: it reads what strangers send, and is tested apart from sockets.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable

from grape.dht.compact import Address
from grape.dht.messages import transaction_id_of

# From <linux/in.h>, where it is the same on all machines: Python before 3.14 does not name it.
IP_RECVERR = 11
# From <linux/errqueue.h>: the error was an ICMP message; and that message's type and code (RFC 792).
ORIGIN_ICMP = 2
DESTINATION_UNREACHABLE, PORT_UNREACHABLE = 3, 3

# A struct sock_extended_err: errno, origin, type, code, padding, info, data; then a struct sockaddr_in of the offender,
# the host that the ICMP message came from: family, port (unused), address.
_ERROR = struct.Struct("=IBBBxIIHH4s")

# As ``socket.recvmsg`` returns it: rows of level, type and data.
Ancillary = Iterable[tuple[int, int, bytes]]


def refused_query(quoted: bytes, ancillary: Ancillary, address: Address) -> bytes | None:
    """Returns the transaction id of our query that found no process at ``address``; None for every other error.

    ``quoted`` is the start of the datagram that the ICMP message quotes, most hosts quote 8 to 500 bytes; ``ancillary``
    came with it from the error queue; ``address`` is where the datagram was sent to. Never raises.
    """
    for level, kind, data in ancillary:
        if level != socket.IPPROTO_IP or kind != IP_RECVERR or len(data) < _ERROR.size:
            continue
        _, origin, error, code, _, _, family, _, offender = _ERROR.unpack_from(data)
        if (
            (origin, error, code) == (ORIGIN_ICMP, DESTINATION_UNREACHABLE, PORT_UNREACHABLE)
            and family == socket.AF_INET
            and socket.inet_ntoa(offender) == address[0]
        ):
            return transaction_id_of(quoted)
    return None
