"""Measures what keeping state in SQLite costs: our grape with a state file beside our grape without one."""

from __future__ import annotations

from benchmarks import http, krpc
from benchmarks.figures import IN_MEMORY, Figure
from benchmarks.run import Group


def _figure(measure: str, name: str, what: str, unit: str) -> Figure:
    return Figure(name, f"{what}, state in SQLite", measure, unit, IN_MEMORY, at_least=0.95)


LOOKUPS = Group((_figure("http-lookup", "state-lookup", "POST /lookup", "requests/s"),), http.measure, tools=("wrk",))
QUERIES = Group((_figure("get_peers", "state-get_peers", "get_peers", "queries/s"),), krpc.measure, tools=("cc",))
