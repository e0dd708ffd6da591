"""Runs libtorrent's DHT node without its limits, until stdin closes: ``python -m benchmarks.libtorrentnode PORT``.

Each line of stdin is the port of a node on loopback, which it pings, and lists if it answers.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

from gauntlet.machine import HOST

NO_LIMIT = 500_000_000
# Settings for a DHT on loopback, and only there; the live tests use them too.
ON_LOOPBACK: dict[str, object] = {
    "enable_dht": True,
    "dht_bootstrap_nodes": "",
    "enable_upnp": False,
    "enable_natpmp": False,
    "enable_lsd": False,
    # All nodes have the same address here, and ids that do not follow from it.
    "dht_restrict_routing_ips": False,
    "dht_restrict_search_ips": False,
    "dht_ignore_dark_internet": False,
    "dht_enforce_node_id": False,
    "dht_prefer_verified_node_ids": False,
    "dht_extended_routing_table": True,
}
SETTINGS: dict[str, object] = {
    **ON_LOOPBACK,
    "alert_mask": 0,
    # Rates of sending and receiving, in all and for one address.
    "dht_upload_rate_limit": NO_LIMIT,
    "upload_rate_limit": 0,
    "dht_block_ratelimit": NO_LIMIT,
    "dht_max_torrents": 10_000,
    "dht_max_dht_items": 10_000,
}


def main() -> None:
    """Runs the node."""
    libtorrent: Any = importlib.import_module("libtorrent")
    session = libtorrent.session({**SETTINGS, "listen_interfaces": f"{HOST}:{int(sys.argv[1])}"})
    for line in sys.stdin:
        session.add_dht_node((HOST, int(line)))
    # An orderly end takes seconds, and there is nothing to save.
    os._exit(0)


if __name__ == "__main__":
    main()
