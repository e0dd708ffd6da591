"""The programs of docs/services.md, each run by a Python of its own with a real grape."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path
from typing import cast

import pytest

from grape import Grape
from grape.client.blocking import Link
from tests.client.styles import in_thread
from tests.live.processes import free_port

DOCUMENT = Path(__file__).parents[2] / "docs" / "services.md"
RECIPES: list[str] = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
SERVICES = [recipe for recipe in RECIPES if "announcing" in recipe]
SECONDS = 20.0


def with_recipe(mark: str) -> str:
    """Returns the one recipe in which ``mark`` stands."""
    (recipe,) = (recipe for recipe in RECIPES if mark in recipe)
    return recipe


def start(recipe: str, grape: Grape, directory: Path) -> subprocess.Popen[str]:
    program = recipe.replace("30001", str(grape.api_port)).replace("30002", str(free_port()))
    return subprocess.Popen(
        [sys.executable, "-c", program.replace("8080", str(free_port()))],
        cwd=directory,
        env={"PYTHONPATH": str(DOCUMENT.parents[1])},
        stdout=subprocess.PIPE,
        text=True,
    )


def output(recipe: str, grape: Grape, directory: Path) -> str:
    """Runs a program to its end, and returns what it printed."""
    with start(recipe, grape, directory) as process:
        printed, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0
    return printed


@pytest.fixture(params=range(len(SERVICES)), ids=["blocking", "asyncio", "twisted"])
def service(request: pytest.FixtureRequest) -> str:
    """Each program that announces itself."""
    return SERVICES[cast("int", request.param)]


@in_thread
def test_service_is_found_and_called_by_the_client_of_services(service: str, grape: Grape, tmp_path: Path) -> None:
    with start(service, grape, tmp_path) as process, Link(f"http://127.0.0.1:{grape.api_port}") as link:
        try:
            end = time.monotonic() + SECONDS
            while not link.lookup("rest:hello"):
                assert process.poll() is None
                assert time.monotonic() < end
                time.sleep(0.05)
            assert output(with_recipe("report_dead"), grape, tmp_path) == "hello\n"
        finally:
            process.kill()


@in_thread
def test_mutable_items_are_written_and_read(grape: Grape, tmp_path: Path) -> None:
    assert re.fullmatch(r"second \d{16}\n", output(with_recipe("put_mutable"), grape, tmp_path))
    assert (tmp_path / "news.key").stat().st_mode & 0o777 == 0o600


@in_thread
def test_several_grapes_are_used(grape: Grape, tmp_path: Path) -> None:
    assert output(with_recipe("slow_after"), grape, tmp_path) == "[]\n"


def test_test_of_a_user_passes() -> None:
    names: dict[str, object] = {}
    exec(with_recipe("make_link"), names)
    cast("type[object]", names["test_service_expires_where_it_is_not_announced_again"])()


def test_every_recipe_is_run() -> None:
    assert len(RECIPES) == len(SERVICES) + 4
