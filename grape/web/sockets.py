"""Listens for, sends over and closes TCP connections where Twisted's own way does not fit."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import cast

from twisted.internet.interfaces import IListeningPort, IReactorTCP, ITransport
from twisted.internet.posixbase import PosixReactorBase
from twisted.internet.protocol import ServerFactory, connectionDone
from twisted.internet.tcp import Port, Server

from grape.reactor import Clock

BACKLOG = 512
# How many connections are accepted before the reactor closes those that were aborted for them.
MAX_ACCEPTS = 16


def listen(
    reactor: Clock, host: str, port: int, factory: ServerFactory, adopted: socket.socket | None = None
) -> IListeningPort:
    """Opens a listening TCP socket. ``::`` is all addresses, IPv4 included. Raises Twisted's CannotListenError.

    A socket that is ``adopted``, which listens and does not block, is used instead and stays open when the port is
    closed: connections wait in it.
    """
    if adopted is not None:
        taken: APIPort = APIPort._fromListeningDescriptor(reactor, adopted.fileno(), adopted.family, factory)
        taken.is_adopted = True
        taken.startListening()
        return cast("IListeningPort", taken)
    if not isinstance(reactor, PosixReactorBase):
        return cast("IReactorTCP", reactor).listenTCP(port, factory, backlog=BACKLOG, interface=host)
    listening = APIPort(port, factory, BACKLOG, host, reactor)
    listening.startListening()
    return cast("IListeningPort", listening)


class APIPort(Port):
    """A listening TCP socket, which serves IPv4, too, if it is bound to ``::``.

    Twisted leaves that to the system, which denies it where ``net.ipv6.bindv6only`` is 1. And Twisted accepts 100 and
    more connections in one turn of the reactor, while one that is aborted is only closed in the next turn: a limit on
    connections would not keep the process from running out of file descriptors.
    """

    is_adopted = False

    def createInternetSocket(self) -> socket.socket:
        """Returns the socket, not bound yet."""
        opened: socket.socket = super().createInternetSocket()
        if self.addressFamily == socket.AF_INET6:
            # Some systems (OpenBSD) have no sockets for both families: the API is on IPv6 alone there.
            with suppress(OSError):
                opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        return opened

    def doRead(self) -> None:
        """Accepts the connections that wait, MAX_ACCEPTS at most."""
        self.numberAccepts = MAX_ACCEPTS
        super().doRead()


def accept_waiting(port: IListeningPort) -> None:
    """Accepts the connections that wait at a port which is about to be closed: the system would refuse them.

    Those of an adopted socket wait for the next process.
    """
    if isinstance(port, APIPort) and port.connected and not port.is_adopted:
        port.doRead()


def read_waiting(transport: ITransport) -> None:
    """Reads what a client has sent, before its connection is closed as an idle one."""
    if type(transport) is Server and transport.connected and not transport.disconnecting:
        # What it returns once a client has gone comes again in the reactor's next turn.
        transport.doRead()


def write(transport: ITransport, data: bytes) -> None:
    """Sends ``data`` at once if nothing waits to be sent before it; Twisted sends what the socket does not take.

    Twisted's own ``write`` waits for the next turn of the reactor and asks the system twice whether it may send: a lone
    lookup costs 27 % more processor time that way. ``_tempDataBuffer`` is private to Twisted: a test pins it.
    """
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


def close(transport: ITransport) -> None:
    """Closes a connection that its client has closed: at once if nothing waits to be sent, else after that.

    That is what Twisted does for protocols without half-closed connections; its ``loseConnection`` takes one more turn
    of the reactor and two more system calls.
    """
    if (
        type(transport) is Server
        and transport.connected
        and not transport.disconnecting
        and not transport.dataBuffer
        and not transport._tempDataBuffer
    ):
        transport.connectionLost(connectionDone)
    else:
        transport.loseConnection()
