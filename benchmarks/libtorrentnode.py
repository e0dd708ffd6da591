"""``python -m benchmarks.libtorrentnode PORT``: libtorrent's DHT node, its limits lifted, until stdin closes.

Each line of stdin is the port of a node on loopback, which it is to ping and so to list.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

HOST = "127.0.0.1"
NO_LIMIT = 500_000_000
SETTINGS: dict[str, object] = {
    "alert_mask": 0,
    "enable_dht": True,
    "dht_bootstrap_nodes": "",
    "enable_upnp": False,
    "enable_natpmp": False,
    "enable_lsd": False,
    # What it may send and take in, in all and from one address.
    "dht_upload_rate_limit": NO_LIMIT,
    "upload_rate_limit": 0,
    "dht_block_ratelimit": NO_LIMIT,
    "dht_max_torrents": 10_000,
    "dht_max_dht_items": 10_000,
    # All nodes have one address here, and ids that do not follow from it.
    "dht_restrict_routing_ips": False,
    "dht_restrict_search_ips": False,
    "dht_ignore_dark_internet": False,
    "dht_enforce_node_id": False,
    "dht_prefer_verified_node_ids": False,
    "dht_extended_routing_table": True,
}


def main() -> None:
    """The process."""
    libtorrent: Any = importlib.import_module("libtorrent")
    session = libtorrent.session({**SETTINGS, "listen_interfaces": f"{HOST}:{int(sys.argv[1])}"})
    for line in sys.stdin:
        session.add_dht_node((HOST, int(line)))
    # Its orderly end takes seconds, and there is nothing to keep.
    os._exit(0)


if __name__ == "__main__":
    main()
