"""Tests the Grenache clients from npm with three of our grapes."""

from __future__ import annotations

import pytest

from tests.live.conftest import RunClient, StartRing


@pytest.mark.parametrize("which", ["link", "link-0.7", "http", "ws", "ws-tls"])
def test_client_passes_all_its_checks(grape_ring: StartRing, run_client: RunClient, which: str) -> None:
    checks = run_client(which, grape_ring(3))
    assert len(checks) >= 3
    assert [check for check in checks if not check["ok"]] == []
