"""Reports what happens in a node: as events, as the Node grape's debug lines, in the log, and by ``when_ready``."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from grape.dht.compact import Address
from grape.dht.withdrawals import Withdrawals
from grape.errors import not_running
from grape.events import Events
from grape.store import MemoryPeers

Trace = Callable[[str], object]
# Of a service's name in the log.
MAX_NAME_CHARACTERS = 200

log = Logger(namespace="grape.node")


class Reporter:
    """Emits a node's events and passes the Node grape's debug lines to ``trace`` (None: nobody reads them).

    ``dht_port()`` gives the UDP port, which begins most lines.
    """

    def __init__(self, events: Events, trace: Trace | None, dht_port: Callable[[], int]) -> None:
        self._events = events
        self._trace = trace
        self._dht_port = dht_port
        self._waiting: list[Deferred[None]] = []
        #: True from the first attempt to join the network until the node is stopped.
        self.is_ready = False

    def say(self, line: str) -> None:
        """Passes a debug line to ``trace``; logs what that raises."""
        try:
            if self._trace is not None:
                self._trace(line)
        except Exception:
            log.failure("trace callback {trace} raised", trace=self._trace)

    def listening(self) -> None:
        """Reports that the UDP socket is open."""
        self.say(f"{self._dht_port()} listening")
        self._events.emit("listening")

    def ready(self) -> None:
        """Reports that joining the network was tried, and fires the Deferreds of ``when_ready``."""
        self.is_ready = True
        self.say(f"{self._dht_port()} ready")
        self._events.emit("ready")
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.callback(None)

    def stopped(self) -> None:
        """Notes that the node is stopped; the Deferreds of ``when_ready`` fail with GrapeError."""
        self.is_ready = False
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.errback(not_running())

    def when_ready(self) -> Deferred[None]:
        """Fires once ``ready`` was called. Fails with GrapeError if the node is stopped before."""
        if self.is_ready:
            return succeed(None)
        waiting: Deferred[None] = Deferred(lambda cancelled: self._waiting.remove(cancelled))
        self._waiting.append(waiting)
        return waiting

    def contact_listed(self, address: Address) -> None:
        """Reports a node that was added to the routing table."""
        self.say(f"{self._dht_port()} node")
        self._events.emit("node", _text(address))

    def warned(self, reason: str, address: Address) -> None:
        """Reports a datagram that was malformed or that matches no query."""
        self.say(f"{self._dht_port()} warning")
        if self._events.wanted("warning"):
            self._events.emit("warning", reason, _text(address))

    # Implements services.Observer.

    @property
    def is_watching(self) -> bool:
        """True while anybody wants to know the peers that lookups see."""
        return self._trace is not None or self._events.wanted("peer")

    def peer_stored(self, key: bytes, peer: Address) -> None:
        """Reports a peer that was stored here, announced by another node or through this grape."""
        if self._trace is None and not self._events.wanted("announce"):
            return
        name = key.decode("utf-8", "replace")
        self.say(f"{self._dht_port()} announce {name}")
        self._events.emit("announce", name)

    def peers_seen(self, peers: list[Address], name: str, through: Address | None) -> None:
        """Reports the peers of a service in one answer to a lookup; ``through`` is the node, None for this grape."""
        by = _text(through) if through is not None else None
        for peer in map(_text, peers):
            line = f"{self._dht_port()} found potential peer {peer}"
            self.say(f"{line}{f' through {by}' if by else ''} for hash: {name}")
            self._events.emit("peer", peer, name, by)

    def looked_up(self, name: str, answered: int) -> None:
        """Reports the end of a lookup, in which ``answered`` nodes answered."""
        if self._trace is not None:
            self.say(f"lookup {name} found {answered} nodes")


def watch_announces(store: MemoryPeers, withdrawals: Withdrawals, is_wanted: bool) -> None:
    """Has announces, withdrawals and expired peers logged, or no longer (``log_announces``).

    Those by HTTP are logged where the client is known (``grape.web.api``). Names are strangers' words: they are
    written in quotes, with their control characters escaped, and shortened.
    """
    store.on_announce, store.on_expiry = (log_announce, log_expiry) if is_wanted else (None, None)
    withdrawals.on_query = log_withdrawal if is_wanted else None


def log_announce(key: bytes, peer: Address, announcer: Address | None, age: float) -> None:
    """Logs an announce of another node; one that is repeated for a service says how old it is."""
    if announcer is not None:
        repeated = f" (made {age:.0f} s ago)" if age else ""
        # Each is a line of its own, however often it comes.
        log.info("announce of {name!r}: peer {peer}, by UDP {client}{repeated}", name=shown_name(key),
                 peer=_text(peer), client=_text(announcer), repeated=repeated, is_answer=True)  # fmt: skip


def log_withdrawal(key: bytes, peer: Address, sender: Address, age: float) -> None:
    """Logs a withdrawal of another node; one that is repeated says how old it is."""
    repeated = f" (made {age:.0f} s ago)" if age >= 1 else ""
    log.info("withdrawal of {name!r}: peer {peer}, by UDP {client}{repeated}", name=shown_name(key), peer=_text(peer),
             client=_text(sender), repeated=repeated, is_answer=True)  # fmt: skip


def log_expiry(key: bytes, peer: Address, announcer: Address) -> None:
    """Logs a peer that was not announced again in time."""
    log.info("expired: {name!r}: peer {peer}, announced by UDP {client}", name=shown_name(key), peer=_text(peer),
             client=_text(announcer), is_answer=True)  # fmt: skip


def shown_name(name: str | bytes) -> str:
    """Returns the name of a service for the log, not too long."""
    text = name.decode("utf-8", "replace") if isinstance(name, bytes) else name
    return text if len(text) <= MAX_NAME_CHARACTERS else f"{text[:MAX_NAME_CHARACTERS]}..."


def _text(address: Address) -> str:
    return f"{address[0]}:{address[1]}"
