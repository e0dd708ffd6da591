"""Declares every counter of a grape once, with its help text, and the snapshot that ``stats()`` returns.

One ``Counters`` object belongs to each node and is handed by constructor to whatever counts. A count is a plain integer
in a slot, so that counting takes 0.02 us on the hot path. Names and help texts of all counters: ``help_texts()``.
"""

from __future__ import annotations

import attrs


def counter(text: str) -> int:
    """Declares a counter that starts at 0; ``text`` is its help text, a sentence."""
    return attrs.field(default=0, metadata={"help": text})


@attrs.define(slots=True)
class Counters:
    """The number of times that each thing happened since the grape was made; no counter ever decreases."""

    # The UDP socket and its queries (grape.krpc, grape.protocol)
    datagrams_in: int = counter("Datagrams received.")
    datagrams_out: int = counter("Datagrams sent.")
    malformed: int = counter("Datagrams received that are no valid KRPC message, or too big for a stranger's.")
    queries_in: int = counter("Queries received.")
    refused: int = counter("Queries answered with a KRPC error.")
    queries_out: int = counter("Queries sent.")
    answered: int = counter("Valid responses received to queries of this node.")
    slow: int = counter("Queries without an answer at their soft timeout: the lookup went on without it.")
    timed_out: int = counter("Queries without an answer after 2 s.")
    unexpected: int = counter("Responses and errors received that match no query in flight.")
    lookups: int = counter("Lookups begun over the network, those before an announce or put included.")
    repaired: int = counter("Nodes that answered a get with an older item and were sent the newer one.")
    send_errors: int = counter("Datagrams that the operating system refused to send.")
    not_sent: int = counter("Queries not sent because too many were in flight.")
    shaped: int = counter("Datagrams not sent because of the limits for addresses that never answered.")
    faults: int = counter("Exceptions while a datagram or the end of a query was handled: bugs, see the log.")
    # What is stored for others (grape.store, grape.dht)
    evicted_keys: int = counter("Keys (services) evicted with all their peers because the peer store was full.")
    evicted_peers: int = counter("Peers evicted because their key or their announcer had too many.")
    evicted_peers_of_announcer: int = counter(
        "Those of evicted_peers whose announcer, one UDP address, had more than max_peers_per_announcer."
    )
    evicted_items: int = counter("Items evicted because the item store was full.")
    # The core counts these itself, as it imports nothing of ours; ``Node.stats()`` copies the numbers.
    unverified_puts: int = counter("Puts refused unverified because too many signatures were bad.")
    withdrawals: int = counter(
        "Withdrawals of peers taken: of other nodes, of this grape's own services, and from the state file."
    )
    evicted_withdrawals: int = counter("Withdrawals of peers evicted because there were too many.")
    # What this grape repeats (grape.node)
    renewed: int = counter("Announces of this grape repeated because closer nodes appeared or holders were dropped.")
    republished: int = counter("Items put through this grape that were put again.")
    # The state file (grape.state)
    state_commits: int = counter("Transactions committed to the state file.")
    state_failures: int = counter("Transactions that could not be written to the state file.")
    state_moved_aside: int = counter("Damaged state files that were moved aside at a start.")
    # The HTTP API (grape.web)
    evicted_connections: int = counter("HTTP connections closed to make room for new ones.")
    refused_connections: int = counter("HTTP connections refused because no other could be closed for them.")
    overloads: int = counter("HTTP calls refused with 503 because too many were under way.")

    def as_dict(self) -> dict[str, int]:
        """Returns the counts by name."""
        return {name: getattr(self, name) for name in _NAMES}


_NAMES = tuple(field.name for field in attrs.fields(Counters))


def help_texts() -> dict[str, str]:
    """Returns the help text of each counter by name."""
    return {field.name: field.metadata["help"] for field in attrs.fields(Counters)}


@attrs.frozen
class Stats:
    """A snapshot of a grape: its state now, and its counters since it was made."""

    #: 40 hex digits.
    node_id: str
    #: The UDP port: the real one while the grape runs.
    dht_port: int
    #: True once joining the network was tried.
    ready: bool
    #: Nodes in the routing table.
    contacts: int
    #: How many of them each bucket holds, the most distant bucket first.
    buckets: list[int]
    #: Keys with peers announced by others, and by this grape where it stores them itself.
    services: int
    #: Items stored here.
    items: int
    queries_in_flight: int
    #: Counts by name; ``grape.metrics.help_texts()`` says what each means.
    counters: dict[str, int]
    #: Why state is not on the disk now, as the file cannot be written: puts are refused, or state is in memory only.
    #: None while all is well.
    degraded: str | None = None
