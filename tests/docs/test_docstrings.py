"""The examples in the docstrings of the reference run, in memory; those of the links run in tests/client."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred
from twisted.web.resource import Resource

from docs._ext.python import PAGES
from grape import Grape
from grape.testing import MemoryNetwork, make_grapes
from tests.client.test_examples import compiled, examples

# Their examples run in tests/client/test_examples.py, for each style.
LINKS = ("grape.client.twisted", "grape.client.aio", "grape.client.blocking")
# Makes a grape that listens, among others of its host.
LISTENS = "grape.Grape"


def documented() -> Iterator[tuple[str, object]]:
    """Yields each object of the reference, and each member of a class, by its name."""
    for page in PAGES.values():
        for section in page.sections:
            for name in (name.removesuffix("()") for name in section.names):
                found = getattr(import_module(section.module), name)
                yield f"{section.module}.{name}", found
                if inspect.isclass(found):
                    for member, value in vars(found).items():
                        if not member.startswith("_") and (inspect.isroutine(value) or isinstance(value, property)):
                            yield f"{section.module}.{name}.{member}", value


EXAMPLES = [
    pytest.param(example, id=name)
    for name, each in documented()
    if not name.startswith(LINKS) and name != LISTENS
    for example in examples(each)
]


@pytest.mark.parametrize("example", EXAMPLES)
def test_example_of_a_docstring_runs(network: MemoryNetwork, example: str) -> None:
    grapes = make_grapes(network, 2)
    network.result(grapes[0].announce("rest:util:net", 1337))
    names = {
        "attrs": attrs,
        "network": network,
        "grapes": grapes,
        "grape": grapes[0],
        "root": Resource(),
        **{name: each for qualified, each in documented() if (name := qualified.rpartition(".")[2])[0].isupper()},
        "make_link": import_module("grape.testing").make_link,
    }
    running = eval(compiled(example), names)
    if inspect.iscoroutine(running):
        network.result(Deferred.fromCoroutine(running))


def test_example_of_the_service_runs(network: MemoryNetwork) -> None:
    reactor = network.reactor("127.0.0.1")
    other = Grape(20_002, reactor=reactor)
    other.startService()

    def make(*, api_port: int, **keywords: Any) -> Grape:
        # The network in memory has no TCP.
        return Grape(reactor=reactor, **keywords)

    (example,) = examples(Grape)
    running = eval(compiled(example), {"Grape": make})
    network.result(Deferred.fromCoroutine(running))
    network.result(other.stopService())


def test_examples_are_found() -> None:
    assert len(EXAMPLES) >= 5
