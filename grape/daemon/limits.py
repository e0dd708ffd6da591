"""Fits a process and its HTTP connections to the number of descriptors that the system allows (RLIMIT_NOFILE)."""

from __future__ import annotations

import resource
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Protocol

from twisted.internet.interfaces import IListeningPort
from twisted.internet.tcp import Port

# For sockets, state file, log, name resolution and what the interpreter opens.
RESERVED_DESCRIPTORS = 64
# A connection that is closed for a new one gives its descriptor back when the new ones of one turn are accepted.
MAX_ACCEPTED_AT_ONCE = 16
# select() knows no descriptor from this number on.
MAX_SELECT_DESCRIPTORS = 1_024
# macOS says "unlimited", and refuses to set more than this.
MAX_DARWIN_DESCRIPTORS = 10_240


class ListeningReactor(Protocol):
    """A reactor whose way to listen can be replaced."""

    listenTCP: Callable[..., IListeningPort]


class BoundedPort(Port):
    """A TCP port that accepts at most MAX_ACCEPTED_AT_ONCE connections in one turn of the reactor.

    Twisted's own accepts 100, and more while more come: at "too many open files" it closes all that wait.
    """

    @property
    def numberAccepts(self) -> int:
        """How many connections Twisted accepts in the next turn."""
        return self._number_accepts

    @numberAccepts.setter
    def numberAccepts(self, number: int) -> None:
        self._number_accepts = min(number, MAX_ACCEPTED_AT_ONCE)


def bound_accepts(reactor: ListeningReactor) -> None:
    """Has a reactor listen on TCP with a BoundedPort. Only for a reactor of our own process."""
    reactor.listenTCP = partial(_listen_tcp, reactor)


def _listen_tcp(reactor: object, port: int, factory: Any, backlog: int = 50, interface: str = "") -> IListeningPort:
    listening = BoundedPort(port, factory, backlog, interface, reactor)
    listening.startListening()
    return listening


def raise_descriptor_limit(reactor: object) -> int:
    """Raises the soft limit of descriptors to the hard one; returns how many the process may then use.

    resource.RLIM_INFINITY: no limit. A ``reactor`` that calls select() uses fewer.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limit in (hard, MAX_DARWIN_DESCRIPTORS):
        if _is_more(limit, soft) and not _is_more(limit, hard):
            with suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
                break
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    is_limited = type(reactor).__name__ == "SelectReactor" and _is_more(descriptors, MAX_SELECT_DESCRIPTORS)
    return MAX_SELECT_DESCRIPTORS if is_limited else descriptors


def connection_limit(max_connections: int, descriptors: int) -> int:
    """Returns how many HTTP connections a process may have: ``max_connections``, or fewer with few ``descriptors``.

    ``descriptors`` is the number that the process may open in all, resource.RLIM_INFINITY without a limit. Of a
    number below twice RESERVED_DESCRIPTORS connections get half.
    """
    if descriptors == resource.RLIM_INFINITY:
        return max_connections
    return max(min(max_connections, max(descriptors - RESERVED_DESCRIPTORS, descriptors // 2)), 1)


def _is_more(limit: int, than: int) -> bool:
    if than == resource.RLIM_INFINITY:
        return False
    return limit == resource.RLIM_INFINITY or limit > than
