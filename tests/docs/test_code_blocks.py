"""Every code block of README.md and docs/ is run, or checked as far as it can be, with the reason why it is not run.

A new block that none of the tables below has fails; so does one that names no language.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
import pytest_twisted  # type: ignore[import-untyped]
from sybil import Document, Example, Region, Sybil
from sybil.parsers.markdown.lexers import FencedCodeBlockLexer
from twisted.internet.defer import maybeDeferred

from grape import Grape
from tests.cli.test_documentation import EXAMPLES
from tests.client.styles import in_thread
from tests.client.test_recipes import RECIPES
from tests.docs import running
from tests.docs.running import ROOT, Place, Runner
from tests.test_embedding import PROGRAMS

FENCE = re.compile(r"^[ \t]*```", re.MULTILINE)
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


class Key(NamedTuple):
    """Names blocks: those of a document in a language, which begin with a text."""

    document: str
    language: str
    beginning: str = ""


class Elsewhere(NamedTuple):
    """Blocks that are not run here: a test runs them, or the reason why nothing can."""

    why: str
    test: str


#: Programs and sessions that other tests run: the blocks that they take from the document.
RUN_BY_TESTS: Mapping[Key, tuple[str, ...]] = {
    Key("docs/embedding.md", "python"): tuple(PROGRAMS),
    Key("docs/services.md", "python"): tuple(RECIPES),
    Key("docs/commands.md", "console"): tuple(EXAMPLES),
}
RUNNERS: Mapping[Key, Runner] = {
    Key("README.md", "console"): running.session,
    Key("README.md", "python"): running.program("1 ['127.0.0.1:1337']", (20004, 30004)),
    Key("README.md", "bash", "make run"): running.words,
    Key("README.md", "bash", "pip install"): running.words,
    Key("README.md", "bash", "grape -b"): running.ring,
    Key("docs/commands.md", "bash", "grape completion"): running.script(
        'mkdir -p ~/.local/share/bash-completion/completions ~/.config/fish/completions; fpath=("" ~)'
    ),
    Key("docs/configuration.md", "console"): running.session,
    Key("docs/configuration.md", "toml"): running.settings,
    Key("docs/http-api.md", "json"): running.answers,
    Key("docs/operations.md", "bash", "python3 -m venv"): running.words,
    Key("docs/operations.md", "console"): running.session,
    Key("docs/operations.md", "bash", "grape -b"): running.words,
    Key("docs/operations.md", "dockerfile"): running.health_check,
    # Their programs are Kubernetes, Prometheus and Consul.
    Key("docs/operations.md", "yaml"): running.paths,
    Key("docs/operations.md", "hcl"): running.paths,
    Key("docs/performance.md", "bash"): running.words,
    Key("docs/state.md", "bash", "NEW/bin"): running.script(
        'grape state import FILE; mkdir -p NEW/bin; printf \'#!/bin/sh\\nexec "%s" -m grape "$@"\' "$PYTHON" '
        ">NEW/bin/grape; chmod +x NEW/bin/grape; cp -r NEW OLD"
    ),
    Key("docs/state.md", "bash", "grape state check"): running.script("grape state import FILE"),
}
NOT_RUN: Mapping[Key, Elsewhere] = {
    Key("docs/doctor.md", "console"): Elsewhere(
        "a ring of two hosts, one behind a firewall; the output is shortened", "tests/live/test_doctor.py"
    ),
    Key("docs/operations.md", "haproxy"): Elsewhere("run by HAProxy, in namespaces", "tests/live/test_health.py"),
    Key("docs/operations.md", "nginx"): Elsewhere("run by nginx, in namespaces", "tests/live/test_health.py"),
}


def blocks(document: Document) -> Iterable[Region]:
    """Finds the blocks that name a language, each with what runs it, for sybil."""
    lexer = FencedCodeBlockLexer(r"\S+", mapping={"language": "language", "source": "source"})
    for region in lexer(document):
        yield Region(region.start, region.end, (region.lexemes["language"], str(region.lexemes["source"])), evaluate)


def evaluate(example: Example) -> None:
    """Runs or checks a block as the tables say; the namespace of its document has the place."""
    language, text = example.parsed
    place: Place = example.namespace["place"]
    (key,) = keys(name_of(example), language, text)
    if key in RUNNERS:
        RUNNERS[key](text, place)
    elif key in RUN_BY_TESTS:
        assert text in RUN_BY_TESTS[key], "the test that runs the blocks of this document misses it"
    else:
        assert (ROOT / NOT_RUN[key].test).is_file()


def keys(document: str, language: str, text: str) -> list[Key]:
    """Returns the keys of the tables that a block has."""
    return [
        key
        for table in (RUNNERS, RUN_BY_TESTS, NOT_RUN)
        for key in table
        if key[:2] == (document, language) and text.startswith(key.beginning)
    ]


def name_of(example: Example) -> str:
    return Path(example.path).relative_to(ROOT).as_posix()


SYBIL = Sybil(parsers=[blocks])
ALL: list[Example] = [example for path in DOCUMENTS for example in SYBIL.parse(path).examples()]


def identified(example: Example) -> str:
    return f"{name_of(example)}:{example.line}"


@pytest_twisted.async_yield_fixture()  # type: ignore[untyped-decorator]
async def grape() -> AsyncIterator[Grape]:
    """Runs a grape that is the first of its network."""
    first = Grape(dht_port=0, api_port=0, host="127.0.0.1")
    first.startService()
    await first.when_ready()
    yield first
    await maybeDeferred(first.stopService)


@pytest.mark.parametrize("example", ALL, ids=identified)
@in_thread
def test_code_block_holds(grape: Grape, tmp_path: Path, example: Example) -> None:
    example.namespace["place"] = running.place_of(grape, tmp_path)
    example.evaluate()


@pytest.mark.parametrize("example", ALL, ids=identified)
def test_code_block_is_listed_once(example: Example) -> None:
    language, text = example.parsed
    assert len(keys(name_of(example), language, text)) == 1, "add it to the tables above"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_code_block_names_its_language(path: Path) -> None:
    found = sum(name_of(example) == path.relative_to(ROOT).as_posix() for example in ALL)
    assert len(FENCE.findall(path.read_text(encoding="utf-8"))) == 2 * found


def test_tables_name_only_blocks_that_there_are() -> None:
    used = {key for example in ALL for key in keys(name_of(example), *example.parsed)}
    assert used == {*RUNNERS, *RUN_BY_TESTS, *NOT_RUN}
