"""The benchmarks measure: a node under the load of krpcload answers, and the table says so."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from shutil import which

from benchmarks.tools import COMPILERS
from tests.live.conftest import unavailable

SECONDS = 60.0


def test_the_start_and_the_answers_are_measured_and_written(node: Path, tmp_path: Path) -> None:
    if not any(map(which, COMPILERS)):
        unavailable("a C compiler is needed")
    written = tmp_path / "bench.json"
    what = ["--quick", "--rounds", "1", "--seconds", "0.3", "--only", "find_node-ring", "ready"]
    command = [sys.executable, "-m", "benchmarks", *what, "--json", str(written)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False)
    # These have no goal: whatever the machine does meanwhile, nothing is missed.
    assert done.returncode == 0, done.stderr
    figures = json.loads(written.read_text())["figures"]
    assert [figure["figure"]["name"] for figure in figures] == ["find_node-ring", "ready"]
    assert all(figure["ratio"]["median"] > 0 for figure in figures)
