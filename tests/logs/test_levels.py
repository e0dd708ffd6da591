"""grape.logs.levels: which lines are logged."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from twisted.logger import LogLevel, PredicateResult

from grape.logs.levels import Levels, is_debugged


@pytest.fixture(autouse=True)
def _ordinary_levels() -> Iterator[None]:
    yield
    Levels(["info"])


def passes(levels: Levels, namespace: str, level: str, **more: object) -> bool:
    """Returns True if an event is logged."""
    event = {"log_namespace": namespace, "log_level": LogLevel.levelWithName(level), **more}
    return levels(event) is not PredicateResult.no


@pytest.mark.parametrize(
    ("levels", "namespace", "level", "is_logged"),
    [
        ([], "grape.node", "info", True),
        ([], "grape.node", "debug", False),
        (["warn"], "grape.node", "info", False),
        (["warn"], "other", "error", True),
        (["warn", "grape.krpc=debug"], "grape.krpc", "debug", True),
        (["warn", "grape.krpc=debug"], "grape.krpc.deeper", "debug", True),
        (["warn", "grape.krpc=debug"], "grape.node", "info", False),
        (["grape.krpc=debug"], "grape.node", "info", True),
        (["grape=debug"], "grape.web", "debug", True),
        (["debug", "warn"], "grape.web", "info", False),
        # Lines of Twisted that no operator needs, unless they are asked for.
        (["debug"], "twisted.web.http", "info", False),
        (["debug", "twisted.web=debug"], "twisted.web.http", "debug", True),
        ([], "log_legacy", "info", False),
        ([], "log_legacy", "warn", True),
        (["error"], "log_legacy", "warn", False),
    ],
)
def test_levels_pass_what_is_important_enough(levels: list[str], namespace: str, level: str, is_logged: bool) -> None:
    assert passes(Levels(levels), namespace, level) is is_logged


def test_levels_pass_answers_to_operators_always() -> None:
    assert passes(Levels(["critical"]), "grape.daemon", "info", is_answer=True)


def test_levels_can_be_changed() -> None:
    levels = Levels(["info"])
    levels.set(["error"])
    assert not passes(levels, "grape.node", "warn")
    levels.set(["grape.node=debug"])
    assert passes(levels, "grape.node", "debug")


def test_packages_know_whether_their_debug_lines_are_read() -> None:
    levels = Levels(["warn", "grape.krpc=debug"])
    assert is_debugged("grape.krpc")
    assert not is_debugged("grape.node")
    levels.set(["debug"])
    assert is_debugged("grape.node")
    levels.set(["info"])
    assert not is_debugged("grape.krpc")
