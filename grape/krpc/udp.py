"""A node's UDP socket: what it is bound to, and how much the system keeps for it."""

from __future__ import annotations

import socket
from collections.abc import Callable

from twisted.internet import udp
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IUDPTransport
from twisted.internet.posixbase import PosixReactorBase
from twisted.internet.protocol import DatagramProtocol
from twisted.logger import Logger

from grape.dht.compact import Address, is_ipv4
from grape.reactor import Reactor

RECEIVE_BUFFER_BYTES = 1_048_576
MAX_DATAGRAM_BYTES = 65_535
# After so many the other sockets have their turn, however many more there are.
DATAGRAMS_PER_TURN = 64

log = Logger(namespace="grape")


SendTo = Callable[[bytes, Address], object]


class Port(udp.Port):
    """Twisted's UDP port; what it reads goes to the protocol with less around it, and does not keep others waiting."""

    def doRead(self) -> None:
        """Read what is there, up to DATAGRAMS_PER_TURN."""
        receive, take = self.socket.recvfrom, self.protocol.datagramReceived
        for _ in range(DATAGRAMS_PER_TURN):
            try:
                datagram, address = receive(MAX_DATAGRAM_BYTES)
            except OSError:
                # That was all; or it is the news that an earlier datagram was not taken: the query's time-out decides.
                return
            try:
                take(datagram, address)
            except BaseException:
                # As Twisted has it: the socket stays open, whatever an embedder's callback raises.
                log.failure("a datagram could not be handled")


def listen(reactor: Reactor, port: int, protocol: DatagramProtocol, host: str) -> IListeningPort:
    """Open a UDP socket; a reactor with a ``listenUDP`` of its own does it itself. Raises CannotListenError."""
    if getattr(type(reactor), "listenUDP", None) is not PosixReactorBase.listenUDP:
        return reactor.listenUDP(port, protocol, interface=host, maxPacketSize=MAX_DATAGRAM_BYTES)
    opened = Port(port, protocol, host, MAX_DATAGRAM_BYTES, reactor)
    opened.startListening()
    _make_room(opened)
    return opened


def sender(transport: IUDPTransport) -> SendTo:
    """What sends datagrams: the socket's own ``sendto``. Twisted's ``write`` looks at each address anew, which costs
    as much as sending does."""
    opened: socket.socket | None = getattr(transport, "socket", None)
    return transport.write if opened is None else opened.sendto


def sent_anyway(send_to: SendTo, datagram: bytes, address: Address, error: OSError) -> bool:
    """Whether an error of ``send_to`` does not count. Too big a datagram does, and one to where there is no way."""
    if isinstance(error, ConnectionRefusedError):
        # Left over from an earlier one: it says nothing about this one, which was not sent.
        try:
            send_to(datagram, address)
        except OSError:
            return False
        return True
    # There is no room just now: it is lost, as any datagram may be.
    return isinstance(error, BlockingIOError)


def _make_room(port: Port) -> None:
    """Let the system keep more datagrams while we are busy; a burst of a ring's answers is larger than its default."""
    try:
        port.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    except OSError as error:
        log.info("the receive buffer stays as it is: {error}", error=error)


def bindable(host: str, port: int) -> str:
    """The IPv4 address of a host to bind to. Raises CannotListenError."""
    if not host or is_ipv4(host):
        return host
    try:
        return socket.gethostbyname(host)
    except (OSError, UnicodeError) as error:
        raise CannotListenError(host, port, error) from error


def is_elsewhere(host: str) -> bool:
    """Whether a host is surely not this machine by its loopback name or address."""
    return host != "localhost" and not host.startswith("127.")
