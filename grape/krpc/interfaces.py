"""Reads this host's IPv4 addresses from the system: the primary one, and all of them. Nothing is sent.

Both functions take some microseconds and never raise; a host without a network has no primary address.
"""

from __future__ import annotations

import array
import socket
import struct
import sys

# An address of TEST-NET-2 (RFC 5737), which exists nowhere: only the route to it is looked up.
ELSEWHERE = ("198.51.100.1", 9)
LOOPBACK = "127.0.0.1"
# From <linux/sockios.h>: lists the addresses of all interfaces as an array of struct ifreq, which has 16 bytes for the
# interface's name and then, for its address, a struct sockaddr_in in a union of 24 bytes (16 with pointers of 4 bytes).
SIOCGIFCONF = 0x8912
_NAME_BYTES = 16
_IFREQ_BYTES = _NAME_BYTES + (24 if struct.calcsize("P") == 8 else 16)
# The address in a struct sockaddr_in, after its family and port.
_HOST = slice(_NAME_BYTES + 4, _NAME_BYTES + 8)
_FIRST_COUNT, _MAX_COUNT = 64, 16_384


def primary_address() -> str | None:
    """Returns the IPv4 address that datagrams to other hosts leave from; None if there is none but loopback.

    That is the source address of the default route, without one the first address of an interface.
    """
    routed = _source_address()
    if routed is not None:
        return routed
    return next((host for host in local_addresses() if not host.startswith("127.")), None)


def local_addresses() -> list[str]:
    """Returns the IPv4 addresses of this host's interfaces, each once, in the system's order.

    Systems other than Linux, and a failure, give 127.0.0.1 and the source address of the default route.
    """
    if sys.platform == "linux":
        try:
            listed = _interface_addresses()
        except (ImportError, OSError):
            listed = []
        if listed:
            return listed
    routed = _source_address()
    return [LOOPBACK] if routed is None else [LOOPBACK, routed]


def _source_address() -> str | None:
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
            opened.connect(ELSEWHERE)
            host: str = opened.getsockname()[0]
    except OSError:
        return None
    return None if host == "0.0.0.0" or host.startswith("127.") else host


def _interface_addresses() -> list[str]:
    import fcntl  # Missing on Windows.

    count = _FIRST_COUNT
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        while True:
            rows = array.array("B", bytes(count * _IFREQ_BYTES))
            request = struct.pack("iP", len(rows), rows.buffer_info()[0])
            (used,) = struct.unpack_from("i", fcntl.ioctl(opened, SIOCGIFCONF, request))
            # A full list may have been cut off.
            if used < len(rows) or count >= _MAX_COUNT:
                break
            count *= 2
    listed = rows.tobytes()[:used]
    hosts = [
        socket.inet_ntoa(listed[at : at + _IFREQ_BYTES][_HOST])
        for at in range(0, len(listed) - _IFREQ_BYTES + 1, _IFREQ_BYTES)
    ]
    return list(dict.fromkeys(hosts))
