"""grape.settings.flags: flags, their help and their table, made of a declaration."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from grape.config import Config
from grape.errors import ConfigError
from grape.settings.declaration import Setting, declare, from_keywords
from grape.settings.flags import FlagError, columns, help_entries, read_flags, render, table, wrap
from grape.settings.kinds import Milliseconds, Switch, Text, Texts, Whole
from grape.settings.texts import file_name


@attrs.frozen(kw_only=True)
class Sample:
    """A declaration with a setting of each kind."""

    size: int = declare(7, Setting(Whole(1, 100), "entries", flag="s", also=("max_Size",)))
    delay: float = declare(2.5, Setting(Milliseconds(10, 10_000), "time to wait"))
    hosts: tuple[str, ...] = declare(
        (),
        Setting(Texts("host names", file_name, placeholder="HOST,..."), "hosts", off="no-hosts", may_be_bare=True),
    )
    file: str | None = declare(None, Setting(Text("a name", file_name), "file", unset="none", may_be_bare=True))
    quiet: bool = declare(False, Setting(Switch(), "logs a|b"))


@attrs.frozen(kw_only=True)
class WithOneMore(Config):
    """The declaration of a grape with one more setting."""

    max_retries: int = declare(7, Setting(Whole(1, 100), "repetitions of a query"))


def values(*words: str) -> dict[str, object]:
    """Returns what flags of ``Sample`` say."""
    given = read_flags(Sample, words)
    assert not given.words
    return given.values


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["-s", "8"], {"size": 8}),
        (["-s=8"], {"size": 8}),
        (["--s", "8"], {"size": 8}),
        (["--max_Size=0x10"], {"size": 16}),
        (["-s", "8", "--max_Size", "9"], {"size": 9}),
        (["--delay", "250"], {"delay": 0.25}),
        (["--hosts", "a,b"], {"hosts": ("a", "b")}),
        (["--hosts", "a", "--hosts=b", "--hosts", "c,d"], {"hosts": ("a", "b", "c", "d")}),
        (["--hosts"], {}),
        (["--hosts", "--quiet"], {"quiet": True}),
        (["--hosts", "a", "--no-hosts"], {"hosts": ()}),
        (["--no-hosts", "--hosts", "a"], {"hosts": ()}),
        (["--file", "-s", "8"], {"size": 8}),
        (["--file="], {}),
        (["--file", "a=b"], {"file": "a=b"}),
        (["--quiet"], {"quiet": True}),
        (["--quiet=true"], {"quiet": True}),
        (["--quiet=false"], {"quiet": False}),
        (["--quiet", "--quiet=false"], {"quiet": False}),
        ([], {}),
    ],
)
def test_read_flags_returns_the_values_of_the_declaration(words: list[str], expected: dict[str, object]) -> None:
    assert values(*words) == expected


def test_read_flags_returns_other_words() -> None:
    given = read_flags(Sample, ["help", "-s", "8", "--quiet", "me"])
    assert (given.values, given.words) == ({"size": 8, "quiet": True}, ["help", "me"])


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--siz", "8"], "unknown flag --siz (try --help)"),
        (["--max-siz=8"], "unknown flag --max-siz; did you mean --max_Size?"),
        (["-delay", "8"], "unknown flag -delay; did you mean --delay?"),
        (["--no-host"], "unknown flag --no-host; did you mean --no-hosts?"),
        (["--no-hosts=a"], "--no-hosts takes no value"),
        (["--no-hosts="], "--no-hosts takes no value"),
        (["--help=1"], "--help takes no value"),
        (["--halp"], "unknown flag --halp; did you mean --help?"),
        (["-x"], "unknown flag -x (try --help)"),
        (["--"], "unknown flag -- (try --help)"),
        (["-s"], "-s needs a value: -s N"),
        (["--delay", "--quiet"], "--delay needs a value: --delay MS"),
    ],
)
def test_read_flags_refuses_an_unknown_flag_a_missing_value_and_one_too_many(words: list[str], text: str) -> None:
    with pytest.raises(FlagError) as raised:
        read_flags(Sample, words, ["--help"])
    assert str(raised.value) == text


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["-s", "-1"], "-s takes a whole number from 1 to 100, not -1"),
        (["--max_Size", "x"], "--max_Size takes a whole number from 1 to 100, not 'x'"),
        (["--delay=5"], "--delay takes a number of milliseconds from 10 to 10000, not 5"),
        (["--quiet=yes"], "--quiet takes true or false, not 'yes'"),
        (["-s", "0", "-s", "8"], "-s takes a whole number from 1 to 100, not 0"),
        (["-s", "0", "--max_Size", "8"], "-s takes a whole number from 1 to 100, not 0"),
        (["--quiet=yes", "--quiet"], "--quiet takes true or false, not 'yes'"),
    ],
)
def test_read_flags_says_the_flag_as_it_was_typed(words: list[str], text: str) -> None:
    with pytest.raises(ConfigError) as raised:
        read_flags(Sample, words)
    assert str(raised.value) == text


def test_setting_added_to_a_copy_is_a_flag_and_a_keyword_and_in_help_and_table() -> None:
    assert read_flags(WithOneMore, ["--max-retries", "8"]).values == {"max_retries": 8}
    assert from_keywords(WithOneMore, {"max_retries": 8}).max_retries == 8
    assert help_entries(WithOneMore) == [*help_entries(Config), ("--max-retries N", "repetitions of a query [7]")]
    row = "| `--max-retries N` |  | `max_retries` |  | 7 | repetitions of a query |\n"
    assert table(WithOneMore) == table(Config) + row


def test_help_names_all_spellings_and_the_default_in_the_users_unit() -> None:
    assert help_entries(Sample) == [
        ("-s, --s, --max_Size N", "entries [7]"),
        ("--delay MS", "time to wait [2500]"),
        ("--hosts HOST,...", "hosts []"),
        ("--no-hosts", "ignores --hosts"),
        ("--file TEXT", "file [none]"),
        ("--quiet", "logs a|b [off]"),
    ]


def test_table_has_a_row_for_each_setting() -> None:
    assert table(Sample).splitlines() == [
        "| flag | also | key | keyword | default |  |",
        "| --- | --- | --- | --- | --- | --- |",
        "| `-s N` | `--s`, `--max_Size` | `size` |  | 7 | entries |",
        "| `--delay MS` |  | `delay` |  | 2500 | time to wait |",
        "| `--hosts HOST,...` | `--no-hosts` | `hosts` |  |  | hosts |",
        "| `--file TEXT` |  | `file` |  | none | file |",
        r"| `--quiet` |  | `quiet` |  | off | logs a\|b |",
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
