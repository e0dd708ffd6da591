"""Import paths that users have: the modules and names that stay where they are."""

from __future__ import annotations

from importlib import import_module

import pytest

PATHS = {
    "grape": ["Config", "ConfigError", "Grape", "GrapeError", "__version__"],
    "grape.cli": ["main"],
    "grape.config": [
        "API_PORT",
        "DHT_PORT",
        "DURABILITIES",
        "MAX_CONCURRENCY",
        "MAX_PAYLOAD_BYTES",
        "MAX_PORT",
        "MAX_TABLES",
        "MAX_VALUES",
        "NODE_LIVENESS_SECONDS",
        "NO_FILE",
        "PEER_MAX_AGE_SECONDS",
        "PROFILES",
        "Config",
        "ConfigError",
        "Limits",
        "parse_bootstrap",
    ],
    "grape.errors": ["ConfigError", "GrapeError", "not_running"],
    "grape.protocol": [
        "DHTProtocol",
        "ItemFound",
        "LOOKUP_BEFORE_WRITE_SECONDS",
        "LOOKUP_SECONDS",
        "MAX_VALUES_PER_RESPONSE",
        "OnPeers",
        "PeersFound",
        "SECOND_LOOKUP_SECONDS",
        "TOKEN_REUSE_SECONDS",
        "WRITE_SECONDS",
    ],
    "grape.resource": ["CALLS", "GrapeResource"],
    "grape.store": [
        "FEW_PEERS",
        "ITEM_OVERHEAD_BYTES",
        "KEY_OVERHEAD_BYTES",
        "MAX_ITEMS",
        "MAX_ITEM_BYTES",
        "MAX_KEYS",
        "MAX_PEERS_PER_ANNOUNCER",
        "MAX_PEERS_PER_KEY",
        "MAX_STORE_BYTES",
        "MemoryItems",
        "MemoryPeers",
        "PEER_OVERHEAD_BYTES",
    ],
    "grape.tap": [
        "Daemon",
        "EXIT_CANNOT_LISTEN",
        "EXIT_IN_USE",
        "EXIT_STATE",
        "GC_THRESHOLD",
        "Options",
        "makeService",
        "spare_the_collector",
    ],
    "grape.testing": [
        "HeapClock",
        "MemoryNetwork",
        "MemoryPort",
        "MemoryReactor",
        "host_name",
        "make_grape",
        "make_grapes",
    ],
}


@pytest.mark.parametrize(("module", "name"), [(module, name) for module, names in PATHS.items() for name in names])
def test_name_is_where_users_import_it(module: str, name: str) -> None:
    assert getattr(import_module(module), name) is not None


def test_errors_are_the_same_under_all_their_names() -> None:
    assert import_module("grape").ConfigError is import_module("grape.config").ConfigError
    assert import_module("grape").GrapeError is import_module("grape.errors").GrapeError
