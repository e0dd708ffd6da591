"""The compiled and the interpreted modules answer alike, byte by byte (tests.answers)."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from grape.node.status import own_build
from tests.answers import PARTS, ROOT

TIMEOUT_SECONDS = 600


def answers(*words: str) -> list[str]:
    environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.answers", *words]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    return done.stdout.splitlines()


def test_builds_answer_alike() -> None:
    if own_build() == "pure":
        pytest.skip("no module is compiled here: make test-compiled runs this")
    pure, compiled = answers("pure"), answers()
    assert (pure[0], compiled[0]) == ("pure", "compiled")
    for one, other in zip(pure[1:], compiled[1:], strict=True):
        assert one == other
    assert {line.partition(":")[0] for line in pure[1:]} == {part.__name__ for part in PARTS}
