"""Implements ``grape config check|show|example``: checks the settings of all places, shows them, explains them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from io import TextIOWrapper

from grape.config import Config
from grape.settings.declaration import settings_of
from grape.settings.file import example
from grape.settings.places import FILE_SETTING, BadConfig, Gathered, Source, build

USAGE = "usage: grape config check|show|example"
HELP = """\
usage: grape config COMMAND

  check [FLAGS]          check the settings of all places; report every error
  show [FLAGS] [--json]  print each setting and where its value comes from
  example                print a commented file with all settings

FLAGS are those of grape (grape --help), --config FILE among them. Flags go
before environment variables (GRAPE_ and the key in capitals), these before the
file.
Status: 0 well; 2 usage error; 74 stdout cannot be written;
78 a setting is wrong.
"""
EXIT_USAGE = 2
EXIT_OUTPUT = 74
EXIT_CONFIG = 78
DEFAULT = "default"


def main(words: Sequence[str], environment: Mapping[str, str] = os.environ) -> int:
    """Runs the command in ``words``, those after ``grape config``; returns the exit status."""
    if isinstance(sys.stdout, TextIOWrapper):
        # Names that are not UTF-8 are printed like others.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        status = _run(words, environment)
        sys.stdout.flush()
    except OSError as error:
        sys.stderr.write(f"grape: output: {error.strerror or error}\n")
        # At its end Python would try once more to write what is left.
        sys.stdout = None
        return EXIT_OUTPUT
    return status


def _run(words: Sequence[str], environment: Mapping[str, str]) -> int:
    commands: dict[str, Callable[[Sequence[str], Mapping[str, str]], int]] = {
        "check": check,
        "show": show,
        "example": _print_example,
    }
    if not words or "-h" in words or "--help" in words:
        sys.stdout.write(HELP)
        return 0
    command, *flags = words
    if command not in commands:
        sys.stderr.write(f"grape: unknown command {command!r}; {USAGE}\n")
        return EXIT_USAGE
    return commands[command](flags, environment)


def check(flags: Sequence[str], environment: Mapping[str, str]) -> int:
    """Prints a line for each error on stderr, or how many settings are not the default; returns the exit status."""
    config, gathered = _read(flags, environment)
    if config is None:
        return EXIT_CONFIG
    number = len(gathered.values.keys() - {FILE_SETTING})
    sys.stdout.write(f"well: {number or 'no'} {'setting is' if number == 1 else 'settings are'} not the default\n")
    return 0


def show(flags: Sequence[str], environment: Mapping[str, str]) -> int:
    """Prints each setting with its value and where that comes from; returns the exit status.

    ``--json`` among the flags: as one JSON object.
    """
    config, gathered = _read([flag for flag in flags if flag != "--json"], environment)
    if config is None:
        return EXIT_CONFIG
    rows = []
    document = {}
    for setting in settings_of(Config):
        value = getattr(config, setting.name)
        first, *others = [_place(place) for place in gathered.places.get(setting.name, ())] or [DEFAULT]
        rows.append((setting.name, setting.shown(value), f"{first}{', over ' if others else ''}{' and '.join(others)}"))
        plain = None if value is None else setting.kind.plain(value)
        document[setting.name] = {"value": plain, "from": first, "over": others}
    if "--json" in flags:
        sys.stdout.write(json.dumps(document, indent=1) + "\n")
        return 0
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    # A long list does not push the places of all others away.
    widths[1] = min(widths[1], 30)
    for name, text, place in rows:
        sys.stdout.write(f"{name:{widths[0]}}  {text:{widths[1]}}  {place}\n")
    return 0


def _print_example(flags: Sequence[str], environment: Mapping[str, str]) -> int:
    if flags:
        sys.stderr.write(f"grape: example takes no {flags[0]!r}; {USAGE}\n")
        return EXIT_USAGE
    sys.stdout.write(example(Config))
    return 0


def _read(flags: Sequence[str], environment: Mapping[str, str]) -> tuple[Config | None, Gathered]:
    """Returns the config, or None after its errors are printed, and what was gathered."""
    gathered = Source(Config, flags, environment).read()
    gathered.problems.extend(f"unknown word {word!r}; {USAGE}" for word in gathered.words)
    for line in gathered.warnings:
        sys.stderr.write(f"grape: {line}\n")
    try:
        return build(Config, gathered), gathered
    except BadConfig as error:
        sys.stderr.write("".join(f"grape: {problem}\n" for problem in error.problems))
        return None, gathered


def _place(spelled: str) -> str:
    return f"flag {spelled}" if spelled.startswith("-") else spelled
