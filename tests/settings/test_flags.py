"""grape.settings.flags: flags, their help and their table, made of a declaration."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from grape.config import Config
from grape.errors import ConfigError
from grape.settings.declaration import Setting, declare
from grape.settings.flags import FlagError, columns, help_entries, read_flags, render, table, wrap
from grape.settings.kinds import Milliseconds, Switch, Text, Texts, Whole
from grape.settings.texts import file_name


@attrs.frozen(kw_only=True)
class Pigeons:
    """A declaration of another thing."""

    size: int = declare(7, Setting(Whole(1, 100), "pigeons", flag="s", also=("loft_Size",)))
    flight: float = declare(2.5, Setting(Milliseconds(10, 10_000), "time of flight"))
    route: tuple[str, ...] = declare(
        (), Setting(Texts("towns", file_name, placeholder="TOWN,..."), "towns", off="no-route", may_be_bare=True)
    )
    home: str | None = declare(None, Setting(Text("a town", file_name), "town", unset="none", may_be_bare=True))
    carrier: bool = declare(False, Setting(Switch(), "carries a|b"))


@attrs.frozen(kw_only=True)
class MorePigeons(Config):
    """The declaration of a grape with one more setting."""

    max_pigeons: int = declare(7, Setting(Whole(1, 100), "pigeons in flight"))


def values(*words: str) -> dict[str, object]:
    """Returns what flags of ``Pigeons`` say."""
    given = read_flags(Pigeons, words)
    assert not given.words
    return given.values


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["-s", "8"], {"size": 8}),
        (["-s=8"], {"size": 8}),
        (["--s", "8"], {"size": 8}),
        (["--loft_Size=0x10"], {"size": 16}),
        (["-s", "8", "--loft_Size", "9"], {"size": 9}),
        (["--flight", "250"], {"flight": 0.25}),
        (["--route", "a,b"], {"route": ("a", "b")}),
        (["--route", "a", "--route=b", "--route", "c,d"], {"route": ("a", "b", "c", "d")}),
        (["--route"], {}),
        (["--route", "--carrier"], {"carrier": True}),
        (["--route", "a", "--no-route"], {}),
        (["--no-route", "--route", "a"], {}),
        (["--home", "-s", "8"], {"size": 8}),
        (["--home="], {}),
        (["--home", "a=b"], {"home": "a=b"}),
        (["--carrier"], {"carrier": True}),
        (["--carrier=true"], {"carrier": True}),
        (["--carrier=false"], {"carrier": False}),
        (["--carrier", "--carrier=false"], {"carrier": False}),
        ([], {}),
    ],
)
def test_read_flags_returns_the_values_of_the_declaration(words: list[str], expected: dict[str, object]) -> None:
    assert values(*words) == expected


def test_read_flags_returns_other_words() -> None:
    given = read_flags(Pigeons, ["help", "-s", "8", "--carrier", "me"])
    assert (given.values, given.words) == ({"size": 8, "carrier": True}, ["help", "me"])


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--siz", "8"], "unknown flag --siz (try --help)"),
        (["--loft-siz=8"], "unknown flag --loft-siz; did you mean --loft_Size?"),
        (["-flight", "8"], "unknown flag -flight; did you mean --flight?"),
        (["--no-rout"], "unknown flag --no-rout; did you mean --no-route?"),
        (["--no-route=a"], "unknown flag --no-route; did you mean --no-route?"),
        (["--halp"], "unknown flag --halp; did you mean --help?"),
        (["-x"], "unknown flag -x (try --help)"),
        (["--"], "unknown flag -- (try --help)"),
        (["-s"], "-s needs a value: -s N"),
        (["--flight", "--carrier"], "--flight needs a value: --flight MS"),
    ],
)
def test_read_flags_refuses_an_unknown_flag_and_one_without_its_value(words: list[str], text: str) -> None:
    with pytest.raises(FlagError) as raised:
        read_flags(Pigeons, words, ["--help"])
    assert str(raised.value) == text


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["-s", "-1"], "-s takes a whole number from 1 to 100, not -1"),
        (["--loft_Size", "x"], "--loft_Size takes a whole number from 1 to 100, not 'x'"),
        (["--flight=5"], "--flight takes a number of milliseconds from 10 to 10000, not 5"),
        (["--carrier=yes"], "--carrier takes true or false, not 'yes'"),
    ],
)
def test_read_flags_says_the_flag_as_it_was_typed(words: list[str], text: str) -> None:
    with pytest.raises(ConfigError) as raised:
        read_flags(Pigeons, words)
    assert str(raised.value) == text


def test_a_setting_added_to_a_copy_is_a_flag_and_in_help_and_table() -> None:
    assert read_flags(MorePigeons, ["--max-pigeons", "8"]).values == {"max_pigeons": 8}
    assert help_entries(MorePigeons) == [*help_entries(Config), ("--max-pigeons N", "pigeons in flight [7]")]
    row = "| `--max-pigeons N` |  | `max_pigeons` | 7 | pigeons in flight |\n"
    assert table(MorePigeons) == table(Config) + row


def test_help_names_all_spellings_and_the_default_in_the_users_unit() -> None:
    assert help_entries(Pigeons) == [
        ("-s, --s, --loft_Size N", "pigeons [7]"),
        ("--flight MS", "time of flight [2500]"),
        ("--route TOWN,...", "towns []"),
        ("--no-route", "ignores --route"),
        ("--home TEXT", "town [none]"),
        ("--carrier", "carries a|b [off]"),
    ]


def test_table_has_a_row_for_each_setting() -> None:
    assert table(Pigeons).splitlines() == [
        "| flag | also | keyword | default |  |",
        "| --- | --- | --- | --- | --- |",
        "| `-s N` | `--s`, `--loft_Size` | `size` | 7 | pigeons |",
        "| `--flight MS` |  | `flight` | 2500 | time of flight |",
        "| `--route TOWN,...` | `--no-route` | `route` |  | towns |",
        "| `--home TEXT` |  | `home` | none | town |",
        r"| `--carrier` |  | `carrier` | off | carries a\|b |",
    ]


@pytest.mark.parametrize("width", [*range(20, 40), 59, 60, 80, 132, 1_000])
def test_render_keeps_lines_within_the_width_as_far_as_words_allow(width: int) -> None:
    entries = [("-f, --flag VALUE", "some words about it [20001]"), ("--a-flag-of-some-length", "more words")]
    text = render(entries, width)
    assert max(map(len, text.splitlines())) <= max(width, len("      --a-flag-of-some-length"))
    assert text.split() == " ".join(word for entry in entries for word in entry).split()


def test_render_begins_long_entries_with_a_line_of_their_own() -> None:
    entries = [("--short", "text"), ("--a-flag-that-has-no-room-for", "text")]
    assert render(entries, 80).splitlines() == [
        "  --short                     text",
        "  --a-flag-that-has-no-room-for",
        "                              text",
    ]
    assert render(entries[:1], 40).splitlines() == ["  --short", "      text"]


def test_wrap_keeps_short_phrases_in_brackets_whole() -> None:
    assert wrap("one [two three] four", 10) == "one\n[two three]\nfour"


@pytest.mark.parametrize(
    ("setting", "width"),
    [(None, 80), ("", 80), ("abc", 80), ("0", 80), ("-5", 80), ("1", 20), ("30", 30), ("200", 200), ("9" * 5_000, 80)],
)
def test_columns_are_80_unless_a_number_is_given(setting: Any, width: int) -> None:
    assert columns(setting) == width
