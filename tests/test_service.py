"""grape.service: an embedder's view of node and HTTP API together."""

from __future__ import annotations

import json
from typing import Any

from treq.testing import StubTreq

from grape.testing import MemoryNetwork, make_grapes


def test_stats_count_what_happens_in_the_http_api(network: MemoryNetwork) -> None:
    grape = make_grapes(network, 2, max_calls=1)[1]
    client: Any = StubTreq(grape.resource())
    for name in ("a", "b"):
        client.post("http://grape/lookup", json.dumps({"data": name}).encode())
    network.clock.advance(3)
    client.flush()
    assert grape.stats().counters["overloads"] == 1
