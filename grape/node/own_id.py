"""Keeps a node's id its own: decides what happens when another node, started from a copy of the state file, has it too.

Nodes with one id never list each other, and others list only one of them. Anybody can claim an id, so this grape takes
another one only in a case that no stranger can bring about: its id came from a state file, it has just started, it has
no contact yet, and the other node is at an address that the operator configured. Else a warning is logged.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger

from grape.dht.bounded import BoundedDict
from grape.dht.compact import Address, is_ipv4
from grape.dht.errors import QueryFailed
from grape.dht.messages import Response
from grape.dht.ratelimit import RateLimit
from grape.dht.transactions import Pending
from grape.protocol import DHTProtocol
from grape.reactor import Clock, Timer

REPLACEABLE_SECONDS = 60.0
# The first contact is listed so long after its answer, so that bootstrap nodes with our id can answer, too: several
# times its own round trip, between these limits. It is listed at once when all bootstrap nodes have answered.
ROUND_TRIPS = 4
MIN_WAIT_SECONDS = 0.02
MAX_WAIT_SECONDS = 0.2
# How long at most while a bootstrap node with our id is being pinged.
MAX_CHECK_SECONDS = 1.0
POLL_SECONDS = 0.005
MAX_KEPT = 256
MAX_WARNED = 64
# Strangers with our id cannot fill the log.
WARNINGS_AT_ONCE = 8
WARNING_PAUSE_SECONDS = 600.0

log = Logger(namespace="grape.node")


class OwnId:
    """Watches for other nodes with this node's id; ``replace(address)`` gives this node another one."""

    def __init__(self, clock: Clock, replace: Callable[[Address], object]) -> None:
        self._clock = clock
        self._bootstrap: Callable[[], frozenset[Address]] = frozenset
        self._replace = replace
        self._protocol: DHTProtocol | None = None
        self._is_replaceable = False
        self._was_replaced = False
        self._started_at = 0.0
        # The responses that are kept back, each with its query and the time when it came.
        self._kept: list[tuple[Response, Pending, float]] = []
        self._wait_until = 0.0
        self._timer: Timer | None = None
        self._warned: BoundedDict[Address, None] = BoundedDict(MAX_WARNED)
        self._warnings = RateLimit(1 / WARNING_PAUSE_SECONDS, WARNINGS_AT_ONCE)

    def start(self, protocol: DHTProtocol, bootstrap: Callable[[], frozenset[Address]], *, is_from_file: bool) -> None:
        """Begins to watch a node that starts.

        ``bootstrap()`` returns the addresses of the configured bootstrap nodes, and each name that is not resolved yet;
        the id ``is_from_file`` if the state file had it before this process.
        """
        self._protocol = protocol
        self._bootstrap = bootstrap
        self._started_at = self._clock.seconds()
        self._is_replaceable = is_from_file and not self._was_replaced and not len(protocol.table)
        if self._is_replaceable and self._bootstrap():
            protocol.intercept = self._keep

    def stop(self) -> None:
        """Ends the queries whose responses are kept back."""
        kept = self._end_wait()
        for _, pending, _ in kept:
            pending.counts.abandoned += 1
            pending.outcome.failed(pending, QueryFailed("the node is stopping"))
        self._protocol = None

    def contact_listed(self) -> None:
        """Notes that a contact was listed: the id is known to others and stays."""
        self._is_replaceable = False

    def clone_found(self, address: Address) -> None:
        """Takes another id because the node at ``address`` has ours, or logs a warning."""
        if self._protocol is None:
            return
        if self._may_replace() and address in self._bootstrap():
            self._was_replaced, self._is_replaceable = True, False
            log.warn("bootstrap node {host}:{port} has this grape's own node id, from a copy of its state file: this "
                     "grape takes a new one, and its announces of before are dropped",
                     host=address[0], port=address[1])  # fmt: skip
            self._replace(address)
            return
        if address in self._warned or not self._warnings.allows("", 1, self._clock.seconds()):
            return
        self._warned.put(address, None)
        log.warn(
            "{host}:{port} answers with this grape's own node id: other nodes can list only one of the two. They use "
            "copies of one state file: stop one of them, run 'grape state new-id FILE' on its file, and start it again",
            host=address[0],
            port=address[1],
        )

    def _may_replace(self) -> bool:
        return self._is_replaceable and self._clock.seconds() - self._started_at < REPLACEABLE_SECONDS

    # Keeping the first responses back

    def _keep(self, datagram: bytes, response: Response, pending: Pending, now: float) -> bool:
        """Keeps a response back, unless it has our own id: it would have its node listed."""
        protocol = self._protocol
        if protocol is None or response.values.get(b"id") == protocol.table.own_id:
            return False
        if not self._may_replace() or len(self._kept) >= MAX_KEPT:
            self._release()
            return False
        self._kept.append((response, pending, now))
        if self._timer is None:
            wait = min(max(ROUND_TRIPS * (now - pending.sent_at), MIN_WAIT_SECONDS), MAX_WAIT_SECONDS)
            if not all(is_ipv4(host) for host, _ in self._bootstrap()):
                # A contact of the earlier run has answered before the names are resolved.
                wait = MAX_WAIT_SECONDS
            self._wait_until = now + wait
            self._timer = self._clock.callLater(0, self._poll)
        return True

    def _poll(self) -> None:
        protocol = self._protocol
        assert protocol is not None
        now, answered = self._clock.seconds(), {pending.address for _, pending, _ in self._kept}
        is_over = now >= self._wait_until or all(
            address in answered or protocol.clones.is_checked(address) for address in self._bootstrap()
        )
        if (is_over and not protocol.clones.is_checking) or now >= self._wait_until + MAX_CHECK_SECONDS:
            self._release()
        else:
            self._timer = self._clock.callLater(POLL_SECONDS, self._poll)

    def _release(self) -> None:
        """Handles the responses that were kept back, and keeps no more."""
        protocol = self._protocol
        kept = self._end_wait()
        self._is_replaceable = False
        if protocol is not None:
            for response, pending, received_at in kept:
                protocol.queries.call(protocol.response_received, response, pending, received_at)

    def _end_wait(self) -> list[tuple[Response, Pending, float]]:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        if self._protocol is not None:
            self._protocol.intercept = None
        kept, self._kept = self._kept, []
        return kept
