"""Makes flags of a declaration: reads them from a command line, renders their help and a table."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Collection, Iterable, Sequence
from typing import cast

from grape.errors import ConfigError
from grape.settings.declaration import Declaration, Setting, nearest, settings_of
from grape.settings.kinds import Switch

#: Where the help texts of flags begin, if the terminal has at least ``WIDE`` columns; else they have their own lines.
HELP_COLUMN = 30
WIDE = 60
NARROWEST = 20


class FlagError(ValueError):
    """A command line with an unknown flag, or a flag without the value that it needs."""


class Given:
    """A parsed command line: ``values`` for the declaration's constructor, and the ``words`` that are no flags.

    ``spelled`` has the flag of each value as it was typed, ``problems`` all that is wrong.
    """

    def __init__(self) -> None:
        self.values: dict[str, object] = {}
        self.words: list[str] = []
        self.spelled: dict[str, str] = {}
        self.problems: list[FlagError | ConfigError] = []


def read_flags(declaration: Declaration, words: Iterable[str], others: Collection[str] = ()) -> Given:
    """Reads the flags of a declaration as ``scan_flags`` does.

    Raises the first problem: FlagError, or ConfigError for a wrong value, which says the flag as it was typed.
    """
    given = scan_flags(declaration, words, others)
    if given.problems:
        raise given.problems[0]
    return given


def scan_flags(declaration: Declaration, words: Iterable[str], others: Collection[str] = ()) -> Given:
    """Reads the flags of a declaration; ``others`` are known flags too, for the hint at an unknown one.

    A flag's value follows it after "=" or as the next word. Of a flag that is given twice the last value counts, but
    each is checked; lists are joined. What is wrong is left out.
    """
    settings = settings_of(declaration)
    flags = {spelling: setting for setting in settings for spelling in setting.spellings}
    off = {f"--{setting.off}": setting for setting in settings if setting.off}
    given = Given()
    values, spelled = given.values, given.spelled
    without: dict[str, str] = {}
    left = list(words)
    while left:
        word = left.pop(0)
        if not word.startswith("-"):
            given.words.append(word)
            continue
        flag, equals, text = word.partition("=")
        if word in off:
            without[off[word].name] = word
            continue
        setting = flags.get(flag)
        if setting is None:
            given.problems.append(_unknown(flag, flag in off or flag in others, [*flags, *off, *others]))
            if not equals and left and not left[0].startswith("-"):
                # Its value, as a rule.
                del left[0]
            continue
        try:
            if not equals:
                text = _next(setting, flag, left)
            if text or not setting.may_be_bare:
                value = setting.from_text(text, flag)
                values[setting.name] = _joined(values.get(setting.name), value) if setting.kind.is_list else value
                spelled[setting.name] = flag
            elif not setting.kind.is_list:
                values.pop(setting.name, None)
        except (FlagError, ConfigError) as error:
            given.problems.append(error)
    for name, flag in without.items():
        values[name], spelled[name] = (), flag
    return given


def _unknown(flag: str, is_known: bool, flags: Collection[str]) -> FlagError:
    """Returns the error for a flag that is no setting's; ``is_known`` for one that was given a value it has not."""
    if is_known:
        return FlagError(f"{flag} takes no value")
    near = nearest(flag, flags)
    return FlagError(f"unknown flag {flag}" + (f"; did you mean {near}?" if near is not None else " (try --help)"))


def _joined(former: object, value: object) -> tuple[object, ...]:
    """Returns the values of a list that was given in parts, each once."""
    return tuple(dict.fromkeys((*cast("tuple[object, ...]", former or ()), *cast("tuple[object, ...]", value))))


def _next(setting: Setting, flag: str, left: list[str]) -> str:
    """Returns the value of a flag without "=": the next word, unless that is a flag itself."""
    if isinstance(setting.kind, Switch):
        return "true"
    # A number may be negative: it is refused as such.
    if left and not left[0].startswith("-" if setting.may_be_bare else "--"):
        return left.pop(0)
    if setting.may_be_bare:
        return ""
    raise FlagError(f"{flag} needs a value: {flag} {setting.kind.placeholder}")


def help_entries(declaration: Declaration) -> list[tuple[str, str]]:
    """Returns for each setting its flags and its help text, which ends with the default in brackets."""
    entries = []
    for setting in settings_of(declaration):
        heading = _with_value(", ".join(setting.spellings), setting)
        entries.append((heading, f"{setting.help} [{setting.default_text}]"))
        if setting.off:
            entries.append((f"--{setting.off}", f"ignores {setting.spellings[0]}"))
    return entries


def render(entries: Iterable[tuple[str, str]], width: int) -> str:
    """Renders entries of a help, each a heading and its text, in lines of ``width`` characters where words allow it."""
    column = HELP_COLUMN if width >= WIDE else 6
    lines: list[str] = []
    for heading, text in entries:
        head = wrap(heading, width, "  ", "      ").split("\n")
        body = wrap(text, max(width, column + 10), " " * column).split("\n")
        if len(head) == 1 and len(head[0]) + 2 <= column:
            body[0] = head.pop().ljust(column) + body[0].lstrip()
        lines += head + body
    return "".join(f"{line}\n" for line in lines)


def wrap(text: str, width: int, indent: str = "", further: str | None = None) -> str:
    """Breaks a text into lines of ``width`` characters; ``further`` indents all but the first.

    Words and short phrases in brackets stay whole; a line may be longer for it.
    """
    subsequent = indent if further is None else further
    filled = textwrap.fill(
        re.sub(r"\[[^]]{,24}\]", lambda phrase: phrase[0].replace(" ", "\xa0"), text),
        width,
        initial_indent=indent,
        subsequent_indent=subsequent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return filled.replace("\xa0", " ")


def columns(setting: str | None) -> int:
    """Returns the width that COLUMNS asks for, at least 20; 80 if it is not set, 0 or no number."""
    try:
        width = int(setting or 0)
    except ValueError:
        width = 0
    return max(width, NARROWEST) if width > 0 else 80


def table(declaration: Declaration) -> str:
    """Renders the settings as the table of docs/configuration.md: flags, key, other keywords, default, help."""
    rows: list[Sequence[str]] = [("flag", "also", "key", "keyword", "default", ""), ("---",) * 6]
    for setting in settings_of(declaration):
        first, *also = setting.spellings
        off = [f"--{setting.off}"] if setting.off else []
        rows.append(
            (
                f"`{_with_value(first, setting)}`",
                ", ".join(f"`{flag}`" for flag in (*also, *off)),
                f"`{setting.name}`",
                _keywords(setting),
                setting.default_text,
                setting.help,
            )
        )
    return "".join("|".join(f" {cell.replace('|', chr(92) + '|')} " for cell in row).join("||") + "\n" for row in rows)


def _keywords(setting: Setting) -> str:
    """Returns the keywords of ``Grape`` if there is another than the key, "none" if there is none."""
    if setting.for_process:
        return "none"
    return "" if setting.keywords == (setting.name,) else ", ".join(f"`{keyword}`" for keyword in setting.keywords)


def _with_value(flags: str, setting: Setting) -> str:
    return f"{flags} {setting.kind.placeholder}".rstrip()
