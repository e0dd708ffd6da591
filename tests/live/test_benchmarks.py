"""Tests the benchmarks with the reference: a few figures are measured and written."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from shutil import which

import pytest

from benchmarks.tools import COMPILERS
from gauntlet.machine import ROOT
from tests.live.conftest import Start, unavailable

SECONDS = 60.0


@pytest.mark.usefixtures("node")
def test_benchmarks_measure_and_write_figures(start: Start, tmp_path: Path) -> None:
    if not any(map(which, COMPILERS)):
        unavailable("a C compiler is missing; Debian: apt install gcc libc6-dev")
    written = tmp_path / "bench.json"
    what = ["--quick", "--rounds", "1", "--seconds", "0.3", "--only", "find_node-ring", "ready"]
    command = [sys.executable, "-m", "benchmarks", *what, "--json", str(written)]
    process = start(command, {"PYTHONPATH": str(ROOT)})
    # These figures have no goal, so that a busy machine misses none.
    assert process.ended(SECONDS) == 0, process.output
    figures = json.loads(written.read_text())["figures"]
    assert [figure["figure"]["name"] for figure in figures] == ["find_node-ring", "ready"]
    assert all(figure["ratio"]["median"] > 0 for figure in figures)
