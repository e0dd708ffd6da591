"""Tests what the live tests do where a peer or a tool is missing."""

from __future__ import annotations

import pytest

from tests.live.conftest import unavailable


def test_unavailable_skips_on_a_users_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="npm is missing"):
        unavailable("npm is missing")


def test_unavailable_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="npm is missing"):
        unavailable("npm is missing")
