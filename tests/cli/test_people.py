"""grape.cli.people: exit statuses, errors in one line, the grapes that are asked."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from grape.cli.people import ADVICE, STATUSES
from grape.client.items import new_private_key, sign
from grape.errors import GrapeError
from tests.cli.conftest import SECONDS, OneGrape, Run, environment, process

HASH = "5aba6fefec9e3aff32d0105f04ec0b0069457d36"
ASKING = [
    ["lookup", "rest:util:net"],
    ["lookup", "rest:util:net", "--first"],
    ["lookup", "rest:util:net", "--trace"],
    ["announce", "rest:util:net", "1337"],
    ["announce", "rest:util:net", "1337", "--ttl", "30"],
    ["unannounce", "rest:util:net", "1337"],
    ["put", "words"],
    ["get", HASH],
    ["get", HASH, "--trace"],
    ["status"],
    ["nodes"],
    ["services"],
    ["services", "rest:util:net"],
]


@pytest.mark.parametrize("words", ASKING, ids=" ".join)
def test_command_prints_json_for_programs(run: Run, words: list[str]) -> None:
    run("put", "words")
    ran = run(*words, "--json")
    assert (ran.status, ran.err) == (0, "")
    assert json.loads(ran.out)
    assert ran.out.isascii()


@pytest.mark.parametrize("words", ASKING, ids=" ".join)
def test_command_says_in_one_line_that_no_grape_answers(run: Run, words: list[str]) -> None:
    ran = run(*words, "--url", "http://127.0.0.1:1", "--timeout", "0.5")
    assert (ran.status, ran.out, ran.err.count("\n")) == (4, "", 1)
    assert ran.err.startswith("grape: no grape answered: http://127.0.0.1:1: ")


@pytest.mark.parametrize("call", ["/lookup", "/announce", "/put", "/get"])
def test_command_tells_the_error_of_the_grape_and_what_to_do(run: Run, fake: OneGrape, call: str) -> None:
    fake.scripts[call] = (200, b'"ERR_GRAPE_ISOLATED"')
    words = {"/lookup": ["lookup", "a"], "/announce": ["announce", "a", "1"], "/put": ["put", "a"]}
    ran = run(*words.get(call, ["get", HASH]))
    assert (ran.status, ran.out) == (3, "")
    assert ran.err == f"grape: ERR_GRAPE_ISOLATED ({ADVICE['ERR_GRAPE_ISOLATED']})\n"


def test_advice_is_for_codes_that_errors_have() -> None:
    with pytest.raises(GrapeError) as raised:
        sign(new_private_key(), "x" * 1_001, 1)
    assert raised.value.code in ADVICE


@pytest.mark.parametrize(
    "words", [["status"], ["nodes"], ["services"], ["unannounce", "a", "1"], ["get", HASH, "--trace"]]
)
def test_command_says_that_a_node_grape_does_not_have_the_call(run: Run, fake: OneGrape, words: list[str]) -> None:
    fake.become_a_node_grape()
    ran = run(*words)
    assert (ran.status, ran.out) == (3, "")
    call = "trace/get" if words[0] == "get" else words[0]
    assert ran.err == f"grape: the grape has no {call}: it is a Node grape, or an older one\n"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["lookup"], "missing argument 'NAME' (try grape lookup --help)"),
        (["lookup", ""], "a service has a name of at least one character"),
        (["lookup", "a", "--first", "--trace"], "--trace shows all peers"),
        (["lookup", "a", "--tarce"], "--trace"),
        (
            ["lookup", "a", "--url", "ftp://a"],
            "a grape is named by a URL such as http://127.0.0.1:30001, not 'ftp://a'",
        ),
        (["lookup", "a", "--timeout", "0"], "0.1<=x<=3600"),
        (["announce", "a", "65536"], "65536 is not in the range"),
        (["announce", "a", "1", "b"], "unexpected extra argument"),
        (["put", "a", "--salt", "s"], "name a --key"),
        (["put", "a", "--key", "/nowhere/key"], "/nowhere/key cannot be read: No such file or directory"),
        (["get"], "a HASH or a --key is needed"),
        (["get", "5aba"], "a hash has 40 hex digits, unlike '5aba'"),
        (["get", "--key", "5aba"], "a public key has 64 hex digits"),
        (["nodes", "-u"], "option '-u' requires an argument (try grape nodes --help)"),
        (["ping", "127.0.0.1:70000"], "'127.0.0.1:70000' is not HOST:PORT, with a port from 1 to 65535"),
        (["completion", "tcsh"], "'tcsh' is not one of"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_command_refuses_words_that_cannot_be_used(run: Run, fake: OneGrape, words: list[str], text: str) -> None:
    ran = run(*words)
    assert (ran.status, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert ran.err.startswith("grape: ")
    assert text in ran.err
    assert fake.requests == []


@pytest.mark.parametrize("between", [" ", ",", ", "])
def test_grape_url_may_name_several_grapes(
    run: Run, fake: OneGrape, monkeypatch: pytest.MonkeyPatch, between: str
) -> None:
    monkeypatch.setenv("GRAPE_URL", between.join(["127.0.0.1:1", fake.url]))
    assert run("lookup", "rest:util:net").out == "10.0.0.3:1337\n"


def test_urls_of_the_command_line_go_before_grape_url(
    run: Run, fake: OneGrape, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAPE_URL", "http://127.0.0.1:1")
    assert run("lookup", "rest:util:net", "-u", "127.0.0.1:2", "-u", f"127.0.0.1:{fake.port}").status == 0
    assert run("lookup", "rest:util:net").status == 4
    monkeypatch.setenv("GRAPE_URL", "")
    # The grape on this host, if there is one.
    assert "http://127.0.0.1:1:" not in run("lookup", "no such service", "--timeout", "0.5").err


@pytest.mark.parametrize("document", [b'"ERR_SOME"', b"[]", b'{"readiness":{}}', b"<html>", b"", b"null"])
def test_document_of_another_version_is_an_error_in_one_line(run: Run, fake: OneGrape, document: bytes) -> None:
    for path in ("/status", "/nodes", "/services", "/trace/lookup", "/trace/get"):
        fake.scripts[path] = (200, document)
    for words in (["status"], ["nodes"], ["services"], ["lookup", "a", "--trace"], ["get", HASH, "--trace"]):
        ran = run(*words)
        assert (ran.status, ran.out, ran.err.count("\n")) == (3, "", 1)


@pytest.mark.parametrize(
    "words", [["nodes"], ["status"], ["lookup", "rest:util:net"], ["put", "--help"], ["completion", "zsh"]]
)
def test_pipe_that_closes_ends_a_command_without_a_word(fake: OneGrape, words: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    ran = process(*words, url=fake.url, stdout=writing)
    os.close(writing)
    assert (ran.returncode, ran.stderr) == (74, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_output_that_cannot_be_written_is_said(fake: OneGrape) -> None:
    with open("/dev/full", "w") as full:
        ran = process("status", url=fake.url, stdout=full)
    assert (ran.returncode, ran.stderr) == (74, "grape: output: No space left on device\n")


def test_ctrl_c_ends_a_command_without_a_traceback(fake: OneGrape) -> None:
    fake.hanging.set()
    command = [sys.executable, "-m", "grape", "lookup", "rest:util:net", "--url", fake.url]
    # Where the tests run in the background of a shell, SIGINT is ignored.
    begun = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        env=environment(),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    while not fake.requests:
        assert begun.poll() is None
    begun.send_signal(signal.SIGINT)
    _, err = begun.communicate(timeout=SECONDS)
    assert (begun.returncode, err) == (130, b"")


def test_statuses_are_the_documented_ones() -> None:
    assert list(STATUSES) == [0, 1, 2, 3, 4, 74]
