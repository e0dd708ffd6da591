"""Provides UDP ports for a node: one quicker than Twisted's, and one for all addresses that answers from each of them.

A socket that is bound to all addresses sends from the one that the kernel chooses, the primary address, whichever was
asked; a node that asked at another one ignores the answer. ``WildcardPort`` answers from the address that was asked. To
learn it, and to send from it, takes 0.9 us more (recvmsg and sendmsg), so ports of their own, bound to 127.0.0.1 and to
the primary address, receive the usual traffic: the kernel gives a datagram to the most specific.

On Linux, ICMP errors about queries are read, too (``krpc.icmp``). They cost nothing until one arrives.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from twisted.internet import udp
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.error import CannotListenError, ConnectionDone
from twisted.internet.protocol import DatagramProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from grape.dht.compact import Address
from grape.krpc.icmp import IP_RECVERR, refused_query
from grape.krpc.interfaces import LOOPBACK, primary_address
from grape.reactor import Reactor

RECEIVE_BUFFER_BYTES = 1_048_576
MAX_DATAGRAM_BYTES = 65_535
# Then the reactor's other sockets get their turn, however many datagrams are left.
DATAGRAMS_PER_TURN = 64
ERRORS_PER_TURN = 64

IS_LINUX = sys.platform == "linux"
# From <linux/in.h>, where they are the same on all machines: Python before 3.14 does not name them.
IP_PKTINFO = 8
IP_MTU_DISCOVER, IP_PMTUDISC_DONT = 10, 0
# From <asm-generic/socket.h> and <linux/sock_diag.h>, since Linux 4.12: nine numbers of 32 bits, the last of which is
# SK_MEMINFO_DROPS.
SO_MEMINFO, MEMINFO_BYTES, DROPS = 55, 36, slice(32, 36)
# For a struct in_pktinfo (12 bytes) and a struct sock_extended_err with a struct sockaddr_in (32 bytes).
ANCILLARY_BYTES = socket.CMSG_SPACE(12) + socket.CMSG_SPACE(32) if IS_LINUX else 0
# Linux quotes 520 bytes of a datagram in an ICMP message. A query that is cut off gives no hint.
QUOTE_BYTES = 1_024
# Where the local address that was asked stands in a struct in_pktinfo, between an interface's number and the
# address in the datagram's header (ipi_spec_dst, ip(7)).
ASKED_AT, ASKED_END = 4, 8

SendTo = Callable[[bytes, Address], object]

log = Logger(namespace="grape.krpc")


class AnsweringProtocol(DatagramProtocol):
    """A datagram protocol that answers from the address that was asked, and is told of queries that found nobody.

    While ``datagramReceived`` runs, ``reply_by`` is the function to send an answer by; it is valid later, too. It is
    None if the port is not one of this module, as in a test: answers then leave as queries do.
    """

    reply_by: SendTo | None = None

    def unreachable(self, address: Address, transaction_id: bytes) -> None:
        """Called when an ICMP message says that no process is at ``address``; it quotes a query's transaction id."""


class Port(udp.Port):
    """Twisted's UDP port with less work for each datagram, and a bound on how many are read in one reactor turn.

    This class and ``udp.sender`` save 11 % of a lookup's processor time in a ring. An ICMP error does not close it.
    """

    def __init__(
        self,
        port: int,
        protocol: AnsweringProtocol,
        host: str,
        reactor: Reactor,
        lifecycle: DatagramProtocol | None = None,
        adopted: socket.socket | None = None,
    ) -> None:
        """Makes a port that is opened by ``startListening``; ``lifecycle`` is told of that instead of ``protocol``.

        ``adopted`` is a bound socket that is used instead of a new one and stays open when the port is closed.
        """
        super().__init__(port, protocol if lifecycle is None else lifecycle, host, MAX_DATAGRAM_BYTES, reactor)
        self.receiver = protocol
        if adopted is not None:
            # As in Twisted's own constructor of adopted ports.
            self._preexistingSocket = self.prepare(adopted.dup())  # type: ignore[assignment]

    def createInternetSocket(self) -> socket.socket:
        """Returns a new socket."""
        return self.prepare(super().createInternetSocket())

    def prepare(self, opened: socket.socket) -> socket.socket:
        """Returns a socket of this port's after setting the options that all have."""
        _set_options(opened)
        return opened

    def doRead(self) -> None:
        """Reads the datagrams that are waiting, at most DATAGRAMS_PER_TURN, and passes them to the protocol."""
        receiver, opened = self.receiver, self.socket
        receive, received = opened.recvfrom, receiver.datagramReceived
        receiver.reply_by = opened.sendto
        for count in range(DATAGRAMS_PER_TURN):
            try:
                datagram, address = receive(MAX_DATAGRAM_BYTES)
            except BlockingIOError:
                if not count:
                    # Why the reactor called: an error. Most reactors report one as readiness to read.
                    self._read_errors()
                return
            except OSError:
                # An ICMP error came back for an earlier datagram. What is left to read is read in the next turn.
                self._read_errors()
                return
            try:
                received(datagram, address)
            except BaseException:
                # As in Twisted's own class: the socket stays open, whatever an embedder's callback raises.
                _not_handled(address)

    @property
    def dropped(self) -> int | None:
        """The datagrams that the kernel dropped unread, mostly for a full receive buffer; None where it does not tell.

        Of a socket that is adopted, since it was made.
        """
        return _dropped(self.socket) if self.connected else None

    def connectionLost(self, reason: Failure | None = None) -> None:
        """Closes the port, unless it was called for an ICMP error, as by the poll and epoll reactors."""
        if reason is not None and self.connected and reason.check(ConnectionDone):
            self._read_errors()
            self.startReading()
        else:
            super().connectionLost(reason)

    def _read_errors(self) -> None:
        """Reads the ICMP errors that are waiting, at most ERRORS_PER_TURN, and tells the protocol the useful ones."""
        opened = self.socket
        if IS_LINUX:
            for _ in range(ERRORS_PER_TURN):
                try:
                    quoted, ancillary, _, address = opened.recvmsg(QUOTE_BYTES, ANCILLARY_BYTES, socket.MSG_ERRQUEUE)
                except OSError:
                    break
                transaction_id = refused_query(quoted, ancillary, address)
                if transaction_id is not None:
                    try:
                        self.receiver.unreachable(address, transaction_id)
                    except BaseException:
                        _not_handled(address)
        # Cleared, or the next datagram could not be sent, and the reactor would call again at once.
        opened.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


class WildcardPort(Port):
    """A port on all addresses of a Linux host, and the ports beside it on 127.0.0.1 and on the primary address.

    Each datagram is answered from the address that it was sent to, one that the host got later among them.
    """

    def __init__(
        self, port: int, protocol: AnsweringProtocol, reactor: Reactor, adopted: socket.socket | None = None
    ) -> None:
        super().__init__(port, protocol, "", reactor, adopted=adopted)
        self.beside: list[_Beside] = []
        self._reactor = reactor
        self._is_adopted = adopted is not None

    def prepare(self, opened: socket.socket) -> socket.socket:
        """Returns the socket, which is told the address that each datagram was sent to."""
        _set(super().prepare(opened), IP_PKTINFO, 1)
        return opened

    def startListening(self) -> None:
        """Opens this port, then those beside it. Raises CannotListenError only if another process has this port."""
        super().startListening()
        # Set to bind the others, and cleared on all of them: no other process can bind to this port then.
        try:
            _set_reusable(self.socket, True)
            for host in dict.fromkeys((LOOPBACK, primary_address())):
                if host is not None:
                    self._open_beside(host)
        except OSError as error:
            log.info("no UDP socket beside that of all addresses: {error}", error=error)
        finally:
            for port in (self, *self.beside):
                _set_reusable(port.socket, False)

    def doRead(self) -> None:
        """Reads as ``Port.doRead`` does, and answers each datagram from the address that it was sent to."""
        receiver, receive = self.receiver, self.socket.recvmsg
        for count in range(DATAGRAMS_PER_TURN):
            try:
                datagram, ancillary, _, address = receive(MAX_DATAGRAM_BYTES, ANCILLARY_BYTES)
            except BlockingIOError:
                if not count:
                    self._read_errors()
                return
            except OSError:
                self._read_errors()
                return
            receiver.reply_by = self._sender_from(ancillary)
            try:
                receiver.datagramReceived(datagram, address)
            except BaseException:
                _not_handled(address)

    @property
    def dropped(self) -> int | None:
        """Those of this port and of the ports beside it."""
        own = super().dropped
        return None if own is None else own + sum(port.dropped or 0 for port in self.beside)

    def stopListening(self) -> Deferred[None]:
        """Closes this port and those beside it. Fires when all are closed.

        Beside an adopted socket, in which datagrams wait for the next process, none is lost: they are read before.
        """
        beside, self.beside = self.beside, []
        if self._is_adopted:
            for port in beside:
                port.read_last()
        closing = [maybeDeferred(port.stopListening) for port in beside]
        closing.append(maybeDeferred(super().stopListening))
        return gatherResults(closing, consumeErrors=True).addCallback(lambda _: None)

    def _open_beside(self, host: str) -> None:
        number = self.getHost().port
        port = _Beside(number, self.receiver, host, self._reactor)
        try:
            port.startListening()
        except CannotListenError as error:
            log.info("no UDP socket of its own for {host}:{port}: {error}",
                     host=host, port=number, error=error.socketError)  # fmt: skip
        else:
            self.beside.append(port)

    def _sender_from(self, ancillary: list[tuple[int, int, bytes]]) -> SendTo:
        """Returns the function that sends from the address in a datagram's ancillary data."""
        for level, kind, data in ancillary:
            if level == socket.IPPROTO_IP and kind == IP_PKTINFO:
                # The address again, as the source, and any interface.
                source = bytes(4) + data[ASKED_AT:ASKED_END] + bytes(4)
                return partial(_send_from, self.socket, [(socket.IPPROTO_IP, IP_PKTINFO, source)])
        return self.socket.sendto


class _Beside(Port):
    """A port on one address beside that on all: opened and closed by it, unknown to the protocol."""

    def __init__(self, port: int, protocol: AnsweringProtocol, host: str, reactor: Reactor) -> None:
        super().__init__(port, protocol, host, reactor, _Lifecycle(host))

    def prepare(self, opened: socket.socket) -> socket.socket:
        _set_reusable(super().prepare(opened), True)
        return opened

    def read_last(self) -> None:
        """Reads what has come, and leaves what comes from now on to the port on all addresses."""
        try:
            # Connected, it takes datagrams from this one address only: its own.
            self.socket.connect(self.socket.getsockname())
        except OSError as error:
            log.info("datagrams for {host} may be lost: {error}", host=self.interface, error=error)
        with suppress(OSError):
            while True:
                self.socket.recv(1, socket.MSG_PEEK)
                self.doRead()


class _Lifecycle(DatagramProtocol):
    """Is told of the opening and closing of a port beside that on all addresses."""

    noisy = False

    def __init__(self, host: str) -> None:
        self._host = host

    def logPrefix(self) -> str:
        """Returns the name that Twisted logs."""
        return f"DHT at {self._host}"


def _send_from(opened: socket.socket, source: list[tuple[int, int, bytes]], datagram: bytes, address: Address) -> int:
    return opened.sendmsg((datagram,), source, 0, address)


def _set_options(opened: socket.socket) -> None:
    """Sets the options that all UDP sockets have.

    A large receive buffer: a burst of a ring's answers is larger than the system's default. On Linux, ICMP errors are
    queued, and routers may fragment a datagram: the ICMP message that it is too big for a link may be filtered.
    """
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    except OSError as error:
        log.info("receive buffer of the UDP socket keeps its size: {error}", error=error)
    _set(opened, IP_RECVERR, 1)
    _set(opened, IP_MTU_DISCOVER, IP_PMTUDISC_DONT)


def _set(opened: socket.socket, option: int, value: int) -> None:
    """Sets an option of Linux; a node does without it elsewhere, and in a sandbox that refuses it."""
    if IS_LINUX:
        try:
            opened.setsockopt(socket.IPPROTO_IP, option, value)
        except OSError as error:
            log.info("option {option} of the UDP socket cannot be set: {error}", option=option, error=error)


def _dropped(opened: socket.socket) -> int | None:
    try:
        told = opened.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, MEMINFO_BYTES) if IS_LINUX else b""
    except OSError:
        return None
    return int.from_bytes(told[DROPS], sys.byteorder) if len(told) == MEMINFO_BYTES else None


def _set_reusable(opened: socket.socket, value: bool) -> None:
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, value)


def _not_handled(address: Address) -> None:
    log.failure("datagram from {host}:{port} could not be handled", host=address[0], port=address[1])
