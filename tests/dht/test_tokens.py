"""grape.dht.tokens: for which address and how long tokens are valid."""

from __future__ import annotations

import random

import pytest

from grape.dht.tokens import CACHED_ADDRESSES, TOKEN_BYTES, TOKEN_ROTATION_SECONDS, Tokens

HOST = "10.0.0.1"
START = 1_000.0


@pytest.fixture
def tokens() -> Tokens:
    return Tokens(random.Random(1).randbytes, START)


def test_token_is_eight_bytes_and_the_same_until_a_rotation(tokens: Tokens) -> None:
    token = tokens.issue(HOST, START)
    assert len(token) == TOKEN_BYTES == 8
    assert tokens.issue(HOST, START + TOKEN_ROTATION_SECONDS - 1) == token


def test_token_is_valid_for_its_address_alone(tokens: Tokens) -> None:
    token = tokens.issue(HOST, START)
    assert tokens.accepts(token, HOST, START)
    assert not tokens.accepts(token, "10.0.0.2", START)
    assert tokens.issue("10.0.0.2", START) != token


@pytest.mark.parametrize("wrong", [b"", b"x", b"x" * 8, b"x" * 20, b"\0" * 8])
def test_accepts_refuses_a_wrong_token_of_any_length(tokens: Tokens, wrong: bytes) -> None:
    assert not tokens.accepts(wrong, HOST, START)
    token = tokens.issue(HOST, START)
    assert not tokens.accepts(token[:-1], HOST, START)
    assert not tokens.accepts(token + b"\0", HOST, START)


@pytest.mark.parametrize(("issued_after", "good_for"), [(0.0, 600.0), (1.0, 599.0), (299.0, 301.0)])
def test_token_is_valid_for_five_to_ten_minutes(tokens: Tokens, issued_after: float, good_for: float) -> None:
    token = tokens.issue(HOST, START + issued_after)
    end = START + issued_after + good_for
    assert tokens.accepts(token, HOST, START + 300)
    assert tokens.accepts(token, HOST, end - 0.1)
    assert not tokens.accepts(token, HOST, end)


def test_token_stays_valid_after_a_rotation_beside_the_new_one(tokens: Tokens) -> None:
    old = tokens.issue(HOST, START)
    new = tokens.issue(HOST, START + 300)
    assert old != new
    assert tokens.accepts(old, HOST, START + 300)
    assert tokens.accepts(new, HOST, START + 300)


@pytest.mark.parametrize("pause", [600.0, 900.0, 100_000.0])
def test_token_is_invalid_after_a_long_pause(tokens: Tokens, pause: float) -> None:
    token = tokens.issue(HOST, START)
    assert not tokens.accepts(token, HOST, START + pause)


def test_rotations_keep_their_schedule_after_a_late_one(tokens: Tokens) -> None:
    token = tokens.issue(HOST, START + 450)
    assert tokens.issue(HOST, START + 599) == token
    assert tokens.issue(HOST, START + 600) != token


def test_token_stays_valid_after_many_other_addresses(tokens: Tokens) -> None:
    token = tokens.issue(HOST, START)
    for number in range(2 * CACHED_ADDRESSES):
        tokens.issue(f"10.1.{number >> 8}.{number & 255}", START)
    assert tokens.accepts(token, HOST, START)
