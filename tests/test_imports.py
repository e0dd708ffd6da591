"""Import paths that users have: the modules and documented names that stay where they are."""

from __future__ import annotations

from importlib import import_module

import pytest

PATHS = {
    "grape": ["Config", "ConfigError", "Grape", "GrapeError", "__version__"],
    "grape.cli": ["main"],
    "grape.client": ["Link", "Item", "NotSupportedError", "UnreachableError", "new_private_key", "public_key"],
    "grape.client.aio": ["Link"],
    "grape.client.blocking": ["Link"],
    "grape.config": [
        "Config",
        "ConfigError",
    ],
    "grape.errors": ["ConfigError", "GrapeError"],
    "grape.protocol": [
        "DHTProtocol",
        "ItemFound",
        "PeersFound",
    ],
    "grape.resource": ["GrapeResource", "routes"],
    "grape.store": [
        "MemoryItems",
        "MemoryPeers",
    ],
    "grape.tap": [
        "Options",
        "makeService",
    ],
    "grape.testing": [
        "HeapClock",
        "MemoryNetwork",
        "MemoryPort",
        "MemoryReactor",
        "host_name",
        "make_grape",
        "make_grapes",
        "make_link",
    ],
}


@pytest.mark.parametrize(("module", "name"), [(module, name) for module, names in PATHS.items() for name in names])
def test_name_is_where_users_import_it(module: str, name: str) -> None:
    assert getattr(import_module(module), name) is not None


def test_errors_are_the_same_under_all_their_names() -> None:
    assert import_module("grape").ConfigError is import_module("grape.config").ConfigError
    assert import_module("grape").GrapeError is import_module("grape.errors").GrapeError
