"""A live grape beside its own OpenAPI document, by schemathesis: what it is asked and answers is as described."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.live.conftest import StartRing, unavailable
from tests.live.processes import Api

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
CALLS = "^/(lookup|announce|unannounce|put|get)$"
EXAMPLES = 30
RUN_SECONDS = 180


@pytest.fixture
def api(grape_ring: StartRing) -> Api:
    """The API of a grape that has another one as a contact."""
    if not SCHEMATHESIS.exists():
        unavailable("schemathesis is missing; pip install schemathesis")
    first, _ = grape_ring(2)
    return first.api


def run(api: Api, directory: Path, *flags: str, checks: Sequence[str]) -> None:
    """Runs schemathesis, with examples that are the same each time."""
    command = [str(SCHEMATHESIS), "run", f"{api.url}/openapi.json", "--checks", ",".join(checks), *flags]
    ended = subprocess.run(
        [*command, "--max-examples", str(EXAMPLES), "--seed", "1", "--no-color"],
        cwd=directory,
        env={**os.environ, "COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout[-6_000:] + ended.stderr[-2_000:]


def test_paths_that_are_read_answer_as_described(api: Api, directory: Path) -> None:
    run(api, directory, "--exclude-path-regex", f"{CALLS}|^/events$", checks=["all"])


def test_calls_answer_as_described(api: Api, directory: Path) -> None:
    """Status, media type and schema alone: they answer any method and any data, as the Node grape does."""
    checks = ["status_code_conformance", "content_type_conformance", "response_schema_conformance"]
    run(api, directory, "--include-path-regex", CALLS, checks=checks)
