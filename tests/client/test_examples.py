"""The examples in the docstrings of the three links: each is run against a grape, and each method has one."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from hashlib import sha1
from types import CodeType
from typing import Any

import pytest
from bencode2 import bencode

from grape import client
from grape.client import aio, blocking, twisted
from tests.client.conftest import NewFake
from tests.client.fake import FakeGrape
from tests.client.styles import Opened, in_thread

LINKS: dict[str, type] = {"blocking": blocking.Link, "asyncio": aio.Link, "twisted": twisted.Link}
# What all of them have, beside ``close``.
METHODS = (
    "announce",
    "announcing",
    "get",
    "get_mutable",
    "lookup",
    "put",
    "put_mutable",
    "read",
    "report_dead",
    "status",
    "unannounce",
)
PEER = "127.0.0.1:1337"
NAME = "rest:util:net"


def examples(documented: object) -> Iterator[str]:
    """Yields the blocks of code in a docstring."""
    block: list[str] | None = None
    for line in [*(inspect.getdoc(documented) or "").split("\n"), "end"]:
        if block is not None and line and not line.startswith(" "):
            yield textwrap.dedent("\n".join(block))
            block = None
        if block is not None:
            block.append(line)
        if line.endswith("::"):
            block = []


def compiled(example: str) -> CodeType:
    code: CodeType = compile(example, "example", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    return code


@pytest.fixture
def scripted(fake: NewFake) -> FakeGrape:
    """A grape that has all calls of the examples, and one service."""
    grape = fake()
    items: dict[str, Any] = {}

    def put(data: Any) -> str:
        key = bytes.fromhex(data.get("k", ""))
        hash = client.mutable_hash(key, _salt(data)) if key else sha1(bencode(data["v"])).hexdigest()
        items[hash] = {**data, "id": "00" * 20, "token": None}
        return hash

    grape.scripts = {
        "/lookup": lambda data: [PEER],
        "/announce": lambda data: 1,
        "/unannounce": lambda data: 1,
        "/put": put,
        "/get": lambda data: items.get(data if isinstance(data, str) else data["hash"]),
        "/status": (200, b'{"version":"1"}'),
        "/nodes?limit=10": (200, b'{"nodes":[]}'),
    }
    return grape


def _salt(data: Any) -> bytes:
    return bytes(data["salt"]["data"]) if "salt" in data else b""


@pytest.mark.parametrize("style", LINKS)
def test_every_kind_of_link_has_the_same_methods_each_with_an_example(style: str) -> None:
    link = LINKS[style]
    public = sorted(name for name in vars(link) if not name.startswith("_"))
    assert public == sorted([*METHODS, "close"])
    for name in METHODS:
        assert len(list(examples(getattr(link, name)))) == 1, name
    assert [list(inspect.signature(getattr(link, name)).parameters) for name in METHODS] == [
        list(inspect.signature(getattr(blocking.Link, name)).parameters) for name in METHODS
    ]


@pytest.mark.parametrize("name", METHODS)
@in_thread
def test_example_of_a_method_runs(open_link: Opened, scripted: FakeGrape, name: str) -> None:
    opened = open_link(scripted.url)
    (example,) = examples(getattr(LINKS[open_link.style], name))
    # Within a function, so that a generator of it could not hide an error.
    names = {"link": opened.link, "new_private_key": client.new_private_key, "public_key": client.public_key}
    run: Callable[[], Any] = lambda: eval(compiled(example), names)  # noqa: E731
    opened.run(run)
    assert scripted.requests or name == "report_dead"


@pytest.mark.parametrize("style", LINKS)
def test_example_of_a_class_compiles(style: str) -> None:
    (example,) = examples(LINKS[style])
    compiled(example)
