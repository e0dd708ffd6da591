"""Grapes that keep their id and move, and grapes that share one: as processes on loopback."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

from tests.live.conftest import StartGrape
from tests.live.processes import until


def test_grapes_from_one_image_find_each_other(grape_process: StartGrape, directory: Path) -> None:
    image = directory / "image.sqlite"
    original = grape_process("--state", str(image))
    assert original.call("announce", ["of the image", 1]) == 1
    assert original.end() == 0
    files = [str(shutil.copy(image, directory / f"{name}.sqlite")) for name in ("one", "two")]
    one = grape_process("--state", files[0])
    two = grape_process("--state", files[1], "--bn", one.api.node)
    until("both are in one ring", lambda: two.call("announce", ["service", 1]) == 1, 12.0)
    assert one.call("lookup", "service") == ["127.0.0.1:1"]
    assert "takes a new one" in two.process.output


def test_grape_back_at_another_port_with_its_id_is_taken_back(grape_process: StartGrape, directory: Path) -> None:
    state = str(directory / "kept.sqlite")
    first = grape_process()
    old = grape_process("--bn", first.api.node, "--state", state)
    assert old.call("announce", ["service", 1]) == 1
    old.end(signal.SIGKILL)
    new = grape_process("--bn", first.api.node, "--state", state)
    until(
        "the first one holds what is announced at the new port", lambda: new.call("announce", ["later", 2]) == 1, 10.0
    )
    until("the first one reaches it", lambda: first.call("announce", ["of the first", 3]) == 1, 10.0)
