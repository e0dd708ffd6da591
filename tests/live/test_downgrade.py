"""The version before goes on with a state file of this one, and this one with what that version made of it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.live.conftest import Start
from tests.live.processes import HOST, Api, GrapeProcess, new_api

REPOSITORY = Path(__file__).parents[2]
# The version before: the last commit without configuration files, --advertise and sockets from systemd.
BEFORE = "dc5d5624cd83cb5187fded1354c7eb497ca57697"


@pytest.fixture
def before(tmp_path: Path) -> Path:
    """The folder of the version before."""
    archive, folder = tmp_path / "before.tar", tmp_path / "before"
    command = ["git", "archive", "-o", str(archive), BEFORE, "grape"]
    try:
        made = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("git is missing")
    if made.returncode:
        pytest.skip(f"the history does not have the version before: {made.stderr.strip()}")
    folder.mkdir()
    subprocess.run(["tar", "-xf", str(archive), "-C", str(folder)], check=True)
    return folder


def run(start: Start, folder: Path, api: Api) -> GrapeProcess:
    ports = ["--dp", str(api.dht_port), "--aph", str(api.api_port), "-b", HOST]
    process = start([sys.executable, "-m", "grape", *ports], {"PYTHONPATH": str(folder)})
    process.wait_for("an answer", api.answers)
    return GrapeProcess(process, api)


def test_version_before_goes_on_with_the_state_file_and_back(start: Start, directory: Path, before: Path) -> None:
    assert not (before / "grape" / "systemd.py").exists()
    api = new_api()
    ids: set[str] = set()
    hashes: dict[str, str] = {}
    for number, folder in enumerate((REPOSITORY, before, REPOSITORY)):
        grape = run(start, folder, api)
        if number:
            (restored,) = [line for line in grape.process.output.splitlines() if "restored from" in line]
            ids |= set(re.findall("node id [0-9a-f]{40}", restored))
        for name, hash in hashes.items():
            assert grape.call("lookup", name) == [f"{HOST}:{7_000 + int(name)}"]
            assert grape.call("get", hash)["v"] == f"value {name}"
        name = str(number)
        assert grape.call("announce", [name, 7_000 + number]) == 1
        hashes[name] = grape.call("put", f"value {name}")
        # Withdrawals, which the version before does not know, harm nothing there, and hold here.
        if folder == REPOSITORY and not number:
            for port in (7_100, 7_101):
                assert grape.call("announce", ["gone", port]) == 1
                assert grape.call("unannounce", ["gone", port]) == 0
        assert grape.call("lookup", "gone") == []
        assert grape.end() == 0
    assert len(ids) == 1
    files = sorted(path.name for path in directory.iterdir() if "sqlite" in path.name)
    assert files == [f"grape-{api.dht_port}.sqlite", f"grape-{api.dht_port}.sqlite.lock"]
