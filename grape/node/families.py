"""Declares the metrics of a grape, each once: name, kind, labels, meaning, and how it is read from the figures.

Names follow Prometheus' conventions: base units, ``_total`` for counters. Labels have few values, which are known
beforehand: never a service, a peer or an address. The documentation's table is made from here, and ``grape.web``
serves them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Literal, TypeAlias

import attrs

from grape.metrics import Histogram, help_texts, metric_names
from grape.node.figures import Figures

#: The values of the labels, in their order.
Labels: TypeAlias = "tuple[str, ...]"
#: One value, none, or those by their labels.
Values: TypeAlias = "float | Histogram | Mapping[Labels, float | Histogram] | None"


@attrs.frozen
class Family:
    """A metric: ``read`` returns its values. An ``info`` has the value 1 and says something by its labels."""

    name: str
    kind: Literal["counter", "gauge", "histogram", "info"]
    help: str
    read: Callable[[Figures], Values]
    labels: tuple[str, ...] = ()

    def samples(self, figures: Figures) -> Iterable[tuple[Labels, float | Histogram]]:
        """Returns each value with the values of its labels."""
        values = self.read(figures)
        if values is None:
            return ()
        return values.items() if isinstance(values, Mapping) else (((), values),)


def _received(figures: Figures) -> Values:
    counters = figures.counters
    refused, unanswered = dict(counters.refusals), dict(counters.unanswered)
    values: dict[Labels, float | Histogram] = {}
    for method, received in counters.received:
        waiting = counters.waiting_puts if method == "put" else 0
        values[method, "answered"] = received - refused[method] - unanswered[method] - waiting
        values[method, "refused"] = refused[method]
        values[method, "unanswered"] = unanswered[method]
    return values


def _ended(figures: Figures) -> Values:
    ends = {
        "answered": "answered",
        "errors": "error",
        "timed_out": "timed_out",
        "invalid": "invalid",
        "abandoned": "abandoned",
        "not_sent": "not_sent",
        "send_errors": "send_error",
    }
    return {
        (method, outcome): getattr(sent, field)
        for method, sent in figures.counters.sent.by_name()
        for field, outcome in ends.items()
    }


def _counter(name: str, figures: Figures) -> Values:
    value: int = getattr(figures.counters, name)
    return value


def _plain_counters() -> list[Family]:
    texts = help_texts()
    return [Family(metric, "counter", texts[name], partial(_counter, name)) for name, metric in metric_names().items()]


FAMILIES = (
    Family("grape_build_info", "info", "The version of the program.", lambda f: {(f.version,): 1}, ("version",)),
    Family("grape_ready", "gauge", "1 if the grape should be given work, as /readyz says.", lambda f: f.is_ready),
    Family(
        "grape_isolated", "gauge", "1 if bootstrap nodes are given and no other node answers.", lambda f: f.is_isolated
    ),
    Family("grape_degraded", "gauge", "1 if the state file cannot be written.", lambda f: f.is_degraded),
    Family(
        "grape_queries_in_total",
        "counter",
        "Queries received: answered, refused with a KRPC error, or left without an answer (too big, over a limit).",
        _received,
        ("method", "outcome"),
    ),
    Family(
        "grape_queries_out_total",
        "counter",
        "Queries sent.",
        lambda f: {(method,): sent.sent for method, sent in f.counters.sent.by_name()},
        ("method",),
    ),
    Family(
        "grape_query_outcomes_total",
        "counter",
        "How queries of this node ended: answered; error (of KRPC); timed_out, after 2 s; invalid, a response without "
        "a usable node id; abandoned at a stop; not_sent, as too many were in flight; send_error, of the system.",
        _ended,
        ("method", "outcome"),
    ),
    Family("grape_queries_in_flight", "gauge", "Queries sent that have not ended.", lambda f: f.queries_in_flight),
    Family(
        "grape_queries_in_flight_limit",
        "gauge",
        "Queries in flight at most: setting max_pending.",
        lambda f: f.config.max_pending,
    ),
    Family(
        "grape_round_trip_seconds",
        "histogram",
        "The time from a query to its response; pings of unlisted nodes are left out.",
        lambda f: f.counters.round_trips.histogram(),
    ),
    Family(
        "grape_lookup_duration_seconds",
        "histogram",
        "How long lookups over the network took, by what they looked for: peers, item, nodes, or where to write.",
        lambda f: {(kind,): times for kind, times in f.lookup_times.items()},
        ("kind",),
    ),
    Family(
        "grape_event_loop_lag_seconds",
        "histogram",
        "How late a timer was called that is due every 2 s.",
        lambda f: f.counters.loop_lag.histogram(),
    ),
    Family(
        "grape_contacts",
        "gauge",
        "Nodes in the routing table: good, or questionable (silent for 15 minutes, or the last query failed).",
        lambda f: {(state,): number for state, number in f.contacts.items()},
        ("state",),
    ),
    Family("grape_buckets", "gauge", "Buckets of the routing table that hold contacts.", lambda f: f.buckets),
    Family("grape_services", "gauge", "Services (keys) with peers that are stored here.", lambda f: f.services),
    Family("grape_services_limit", "gauge", "Services stored at most: setting max_keys.", lambda f: f.config.max_keys),
    Family("grape_peers", "gauge", "Peers of all services stored here.", lambda f: f.peers),
    Family("grape_peer_store_bytes", "gauge", "About the memory that services take.", lambda f: f.peer_store_bytes),
    Family(
        "grape_peer_store_limit_bytes",
        "gauge",
        "Memory for services at most: setting max_store_bytes.",
        lambda f: f.config.max_store_bytes,
    ),
    Family("grape_items", "gauge", "Items stored here.", lambda f: f.items),
    Family(
        "grape_items_limit", "gauge", "Items stored at most: setting dht_max_values.", lambda f: f.config.dht_max_values
    ),
    Family("grape_item_store_bytes", "gauge", "About the memory that items take.", lambda f: f.item_store_bytes),
    Family(
        "grape_item_store_limit_bytes",
        "gauge",
        "Memory for items at most: setting max_item_bytes.",
        lambda f: f.config.max_item_bytes,
    ),
    Family("grape_own_announces", "gauge", "Announces of this grape that it repeats.", lambda f: f.own_announces),
    Family(
        "grape_own_announces_limit",
        "gauge",
        "Announces repeated at most: setting max_announces.",
        lambda f: f.config.max_announces,
    ),
    Family("grape_own_items", "gauge", "Items put through this grape that it puts again.", lambda f: f.own_items),
    Family(
        "grape_state_commit_age_seconds",
        "gauge",
        "How long ago something was committed to the state file, as a rule at most 10 s; absent before the first time.",
        lambda f: f.state_commit_age,
    ),
    Family(
        "grape_http_requests_total",
        "counter",
        "HTTP requests answered, by the path of their route (other: none; /page: files of the page) and the status.",
        lambda f: {(route, str(status)): number for route, status, number in f.counters.answers},
        ("route", "code"),
    ),
    Family("grape_http_connections", "gauge", "Open connections to the HTTP API.", lambda f: f.http_connections),
    Family(
        "grape_http_connections_limit",
        "gauge",
        "HTTP connections at most: setting max_connections, or fewer if the process may open few files.",
        lambda f: f.http_connections_limit,
    ),
    Family("grape_http_calls", "gauge", "HTTP calls under way.", lambda f: f.http_calls),
    Family(
        "grape_http_calls_limit",
        "gauge",
        "HTTP calls under way at most: setting max_calls.",
        lambda f: f.config.max_calls,
    ),
    Family(
        "grape_dropped_datagrams_total",
        "counter",
        "Datagrams that the kernel dropped unread, as a rule because the receive buffer was full; Linux only.",
        lambda f: f.dropped_datagrams,
    ),
    *_plain_counters(),
)


def table() -> str:
    """Returns the table of all metrics for the documentation, in Markdown."""
    lines = ["| metric | kind | labels | meaning |", "|---|---|---|---|"]
    lines += [
        f"| `{family.name}` | {family.kind} | {', '.join(f'`{label}`' for label in family.labels)} | {family.help} |"
        for family in FAMILIES
    ]
    return "".join(f"{line}\n" for line in lines)
