"""Declares every counter of a grape once, with its help text, and the snapshot that ``stats()`` returns.

One ``Counters`` object belongs to each node and is handed by constructor to whatever counts. A count is a plain integer
in a slot, so that counting takes 0.02 us on the hot path. Queries are counted by their methods alone: the totals are
computed when they are asked for. Names and help texts of all counters: ``help_texts()``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator

import attrs

from grape.dht.counts import ByMethod, LookupTimes, SentByMethod, Times
from grape.dht.counts import Histogram as Histogram
from grape.dht.counts import Kind as Kind


def counter(text: str, metric: str = "") -> int:
    """Declares a counter that starts at 0; ``text`` is its help text, a sentence.

    Its name among the metrics is ``grape_METRIC_total``, with its own name if no ``metric`` is given.
    """
    return attrs.field(default=0, metadata={"help": text, "metric": metric})


class Total(property):
    """A counter that is computed from others; ``text`` is its help text."""

    def __init__(self, text: str, compute: Callable[[Counters], int]) -> None:
        super().__init__(compute)
        self.text = text


class Answers:
    """The HTTP answers that were given, by the path of their route and their status.

    ``other`` stands for all paths without a route.
    """

    def __init__(self) -> None:
        #: Those of calls with status 200, by target: counted in place, as nearly all are. A server puts its targets in.
        self.of_calls: dict[bytes, int] = {}
        self._others: defaultdict[tuple[str, int], int] = defaultdict(int)

    def count(self, route: str, status: int) -> None:
        """Counts one answer."""
        self._others[route, status] += 1

    def __iter__(self) -> Iterator[tuple[str, int, int]]:
        """Returns route, status and number of all that were given at least once, in order."""
        numbers = self._others.copy()
        for target, number in self.of_calls.items():
            if number:
                numbers[target.decode(), 200] += number
        return iter(sorted((*of, number) for of, number in numbers.items()))


@attrs.define(slots=True)
class Counters:
    """The number of times that each thing happened since the grape was made; no counter ever decreases."""

    # Queries by method (grape.krpc, grape.dht): received; of these, refused with an error; sent no answer, as it would
    # be too big or a limit forbids it; of put, not answered yet, as the item is not on the disk yet; sent by this node.
    received: ByMethod = attrs.field(factory=ByMethod, eq=False)
    refusals: ByMethod = attrs.field(factory=ByMethod, eq=False)
    unanswered: ByMethod = attrs.field(factory=ByMethod, eq=False)
    waiting_puts: int = 0
    sent: SentByMethod = attrs.field(factory=SentByMethod, eq=False)
    # The round trips of queries, and how long lookups took; how late the event loop was (grape.node).
    round_trips: Times = attrs.field(factory=Times, eq=False)
    lookup_times: LookupTimes = attrs.field(factory=LookupTimes, eq=False)
    loop_lag: Times = attrs.field(factory=Times, eq=False)
    queries_in = Total("Queries received.", lambda counters: counters.received.total)
    refused = Total("Queries answered with a KRPC error.", lambda counters: counters.refusals.total)
    queries_out = Total("Queries sent.", lambda counters: counters.sent.total("sent"))
    answered = Total(
        "Valid responses received to queries of this node.", lambda counters: counters.sent.total("answered")
    )
    timed_out = Total("Queries without an answer after 2 s.", lambda counters: counters.sent.total("timed_out"))
    not_sent = Total(
        "Queries not sent because too many were in flight.", lambda counters: counters.sent.total("not_sent")
    )
    # The UDP socket (grape.krpc, grape.protocol)
    datagrams_in: int = counter("Datagrams received.")
    datagrams_out: int = counter("Datagrams sent.")
    malformed: int = counter(
        "Datagrams received that are no valid KRPC message, or too big for a stranger's.", "malformed_datagrams"
    )
    slow: int = counter(
        "Queries without an answer at their soft timeout: the lookup went on without it.", "slow_queries"
    )
    unexpected: int = counter("Responses and errors received that match no query in flight.", "unexpected_responses")
    lookups: int = counter("Lookups begun over the network, those before an announce or put included.")
    repaired: int = counter(
        "Nodes that answered a get with an older item and were sent the newer one.", "repaired_nodes"
    )
    send_errors: int = counter("Datagrams that the operating system refused to send.", "datagram_send_errors")
    shaped: int = counter(
        "Datagrams not sent because of the limits for addresses that never answered.", "shaped_datagrams"
    )
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
    renewed: int = counter(
        "Announces of this grape repeated because closer nodes appeared or holders were dropped.", "renewed_announces"
    )
    republished: int = counter("Items put through this grape that were put again.", "republished_items")
    # The state file (grape.state)
    state_commits: int = counter("Transactions committed to the state file.")
    state_failures: int = counter("Transactions that could not be written to the state file.")
    state_moved_aside: int = counter("Damaged state files that were moved aside at a start.")
    # The HTTP API (grape.web)
    answers: Answers = attrs.field(factory=Answers, eq=False)
    evicted_connections: int = counter("HTTP connections closed to make room for new ones.", "http_evicted_connections")
    refused_connections: int = counter(
        "HTTP connections refused because no other could be closed for them.", "http_refused_connections"
    )
    overloads: int = counter("HTTP calls refused with 503 because too many were under way.", "http_refused_calls")

    def as_dict(self) -> dict[str, int]:
        """Returns the counts by name."""
        return {name: getattr(self, name) for name in _TEXTS}

    def sort_times(self) -> None:
        """Sorts the times measured since the last call into their histograms; to be called every few seconds."""
        for times in (self.round_trips, self.loop_lag, *self.lookup_times.values()):
            times.histogram()


_TEXTS = {field.name: field.metadata["help"] for field in attrs.fields(Counters) if "help" in field.metadata} | {
    name: total.text for name, total in vars(Counters).items() if isinstance(total, Total)
}


def help_texts() -> dict[str, str]:
    """Returns the help text of each counter by name."""
    return dict(_TEXTS)


def metric_names() -> dict[str, str]:
    """Returns the name among the metrics of each counter that is not computed, by its own name."""
    fields = [field for field in attrs.fields(Counters) if "help" in field.metadata]
    return {field.name: f"grape_{field.metadata['metric'] or field.name}_total" for field in fields}


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
