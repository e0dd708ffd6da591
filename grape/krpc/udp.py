"""Opens a node's UDP sockets and sends through them: what they are bound to, and which send errors count."""

from __future__ import annotations

import socket

from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IUDPTransport
from twisted.internet.posixbase import PosixReactorBase

from grape.dht.compact import Address, is_ipv4
from grape.krpc.port import IS_LINUX, MAX_DATAGRAM_BYTES, AnsweringProtocol, Port, SendTo, WildcardPort
from grape.reactor import Reactor, ipv4_addresses

# How often a datagram is sent again: forged ICMP messages may come in between. At 10,000 a second, in bursts, each
# try meets another one with a probability of a third, and takes 2 us.
MAX_REPETITIONS = 16
ALL_ADDRESSES = ("", "0.0.0.0")


def listen(
    reactor: Reactor, port: int, protocol: AnsweringProtocol, host: str, adopted: socket.socket | None = None
) -> IListeningPort:
    """Opens UDP sockets for ``protocol`` at ``host`` (IPv4, "" for all addresses) and ``port`` (0: any free one).

    There is one socket; on Linux, for all addresses, there are up to three, which the returned port opens and closes
    (``port.WildcardPort``). A socket that is ``adopted``, which is bound and does not block, takes the place of the one
    or of that for all addresses, and stays open when the port is closed. A reactor that has a ``listenUDP`` of its own
    opens one itself. Raises CannotListenError.
    """
    if getattr(type(reactor), "listenUDP", None) is not PosixReactorBase.listenUDP:
        return reactor.listenUDP(port, protocol, interface=host, maxPacketSize=MAX_DATAGRAM_BYTES)
    if adopted is not None:
        host, port = adopted.getsockname()[:2]
    if IS_LINUX and host in ALL_ADDRESSES:
        opened: Port = WildcardPort(port, protocol, reactor, adopted)
    else:
        opened = Port(port, protocol, host, reactor, adopted=adopted)
    opened.startListening()
    return opened


def sender(transport: IUDPTransport) -> SendTo:
    """Returns the function that sends datagrams: the socket's own ``sendto``, or ``write`` of a fake transport.

    Twisted's ``write`` parses the address each time, which costs as much as sending does.
    """
    opened: socket.socket | None = getattr(transport, "socket", None)
    return transport.write if opened is None else opened.sendto


def is_sent_again(send_to: SendTo, datagram: bytes, address: Address, error: OSError) -> bool:
    """Sends a datagram again after ``send_to`` raised ``error``. Returns False if that counts as a send error.

    An ICMP message about an earlier datagram, which may be forged, makes the kernel refuse the next one, whomever it is
    for; it refuses each message's errors once. A datagram that is too big or an unreachable network is refused again,
    and counts. A full send buffer loses the datagram, as the network may.
    """
    for _ in range(MAX_REPETITIONS):
        if isinstance(error, BlockingIOError):
            return True
        try:
            send_to(datagram, address)
        except OSError as another:
            error = another
        else:
            return True
    return isinstance(error, BlockingIOError)


def bind_address(host: str, port: int) -> str:
    """Returns the IPv4 address to bind to for a host name or address. Raises CannotListenError."""
    if not host or is_ipv4(host):
        return host
    try:
        return ipv4_addresses(host)[0]
    except (OSError, UnicodeError) as error:
        raise CannotListenError(host, port, error) from error


def is_localhost(host: str) -> bool:
    """Returns True for the name ``localhost`` and for the addresses 127.*."""
    return host == "localhost" or host.startswith("127.")
