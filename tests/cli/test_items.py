"""grape.cli.items: values of text and JSON, from the command line and stdin; signed items."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from grape.client.items import mutable_hash, new_private_key, public_key
from tests.cli.conftest import OneGrape, Ran, Run

Put = Any


@pytest.fixture
def key(tmp_path: Path) -> tuple[str, bytes]:
    """Returns a file with a private key as hex, and the public key."""
    private = new_private_key()
    (tmp_path / "key").write_text(private.hex())
    return str(tmp_path / "key"), public_key(private)


def with_input(monkeypatch: pytest.MonkeyPatch, octets: bytes) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(octets)))


def got(ran: Ran) -> Any:
    assert (ran.status, ran.err) == (0, "")
    return json.loads(ran.out)


@pytest.mark.parametrize("text", ["words", "", "ö", "a\n", "-", "x" * 999, "ö" * 499 + "x", '{"a": 1}'])
def test_put_prints_the_hash_under_which_get_finds_the_text(
    run: Run, fake: OneGrape, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    with_input(monkeypatch, f"{text}\n".encode())
    ran = run("put", "-")
    assert (ran.status, ran.err) == (0, "")
    assert fake.items[ran.out.strip()]["v"] == text
    assert run("get", ran.out.strip()).out == f"{text}\n"
    assert got(run("get", ran.out.strip(), "--json")) == {"value": text, "node": "00" * 20}
    if text != "-":
        assert run("put", "--", text).out == ran.out


@pytest.mark.parametrize("value", [{"a": [1, "b"]}, [1, 2], 7, "text"])
def test_put_of_json_is_stored_as_it_is(run: Run, fake: OneGrape, value: object) -> None:
    ran = run("put", "--parse", json.dumps(value), "--json")
    hash = got(ran)["hash"]
    assert got(ran) == {"hash": hash, "key": None}
    assert fake.items[hash]["v"] == value
    printed = run("get", hash).out
    assert (printed.removesuffix("\n") if value == "text" else json.loads(printed)) == value


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"\xff\x00", "what is on stdin is not UTF-8 text: encode it, in base64 for instance"),
        (b"x" * 1_000, "it has 1000 bytes, and a value at most 999"),
        ("ö".encode() * 500, "it has 1000 bytes, and a value at most 999"),
        ("ö".encode() * 10_000, "more than 10000 bytes are on stdin: a value has at most 999"),
    ],
    ids=["binary", "long", "long in bytes", "endless"],
)
def test_put_refuses_input_that_no_grape_takes(
    run: Run, fake: OneGrape, monkeypatch: pytest.MonkeyPatch, octets: bytes, text: str
) -> None:
    with_input(monkeypatch, octets)
    ran = run("put", "-")
    assert (ran.status, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert text in ran.err
    assert fake.requests == []


def test_put_with_a_closed_stdin_says_so(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    assert run("put", "-").err == "grape: stdin is closed: there is no value to read\n"


@pytest.mark.parametrize("text", ["{", "", "[" * 100_000 + "]" * 100_000, "1.5", "nul"])
def test_put_refuses_json_that_cannot_be_stored(run: Run, fake: OneGrape, text: str) -> None:
    ran = run("put", "--parse", text)
    assert (ran.status, ran.out, ran.err.count("\n")) == (3 if text == "1.5" else 2, "", 1)
    assert fake.requests == []


def test_words_that_are_not_utf_8_are_refused(run: Run, fake: OneGrape) -> None:
    for words in (
        ["put", "a\udcff"],
        ["lookup", "\udcff"],
        ["announce", "\udcff", "1"],
        ["get", "5a" * 20, "--salt", "\udcff"],
    ):
        ran = run(*words)
        assert ran.status == 2
        assert "it is not UTF-8 text" in ran.err
    assert fake.requests == []


def test_put_with_a_key_signs_and_get_by_the_key_verifies(run: Run, fake: OneGrape, key: tuple[str, bytes]) -> None:
    file, public = key
    for salt in ((), ("--salt", "s")):
        hash = mutable_hash(public, "".join(salt[1:]))
        assert got(run("put", "one", "--key", file, "--seq", "7", *salt, "--json")) == {
            "hash": hash,
            "key": public.hex(),
        }
        assert run("put", "two", "--key", file, *salt).out == f"{hash}\n"
        assert fake.items[hash]["seq"] == 8
        assert run("get", "--key", public.hex(), *salt).out == "two\n"
        told = got(run("get", hash, *salt, "--json"))
        assert (told["value"], told["seq"], told["is_verified"]) == ("two", 8, True)
    assert run("put", "three", "--key", file, "--cas", "8").status == 0
    assert fake.asked("/put")[-1]["cas"] == 8


def test_get_of_an_item_with_a_wrong_signature_is_an_error_or_warned_of(
    run: Run, fake: OneGrape, key: tuple[str, bytes]
) -> None:
    file, public = key
    hash = run("put", "words", "--key", file).out.strip()
    fake.items[hash]["v"] = "others' words"
    ran = run("get", "--key", public.hex())
    assert (ran.status, ran.out) == (3, "")
    ran = run("get", hash)
    assert (ran.status, ran.out) == (0, "others' words\n")
    assert ran.err.startswith("grape: the signature of this item is not right")
    assert got(run("get", hash, "--json"))["is_verified"] is False


def test_get_of_an_item_that_nobody_has_ends_with_1(run: Run) -> None:
    ran = run("get", "5a" * 20)
    assert (ran.status, ran.out, ran.err) == (1, "", "grape: no node has it\n")
    ran = run("get", "5A" * 20, "--json")
    assert (ran.status, ran.out, ran.err) == (1, "null\n", "")


def test_get_traced_says_who_gave_the_item(run: Run, fake: OneGrape, key: tuple[str, bytes]) -> None:
    ran = run("get", "5a" * 20, "--trace")
    assert ran.status == 0
    assert "the item, 3 nodes" in ran.out
    run("get", "--key", key[1].hex(), "--salt", "a b", "--trace")
    assert fake.requests[-1][0] == f"/trace/get?hash={mutable_hash(key[1], 'a b')}&salt=a+b"
