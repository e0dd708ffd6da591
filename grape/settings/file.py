"""Reads settings from a TOML file, and renders an example of one. Loaded only where a file is used.

The keys are the names of the fields, with ``_`` or ``-``, without tables; values are in the user's unit, lists are
arrays or texts with commas.
"""

from __future__ import annotations

import json
import re
import textwrap
import tomllib

from grape.errors import ConfigError
from grape.settings.declaration import Declaration, Setting, settings_of
from grape.settings.kinds import Milliseconds, Switch, Whole
from grape.settings.places import FILE_SETTING, Read, field_like

MAX_FILE_BYTES = 1_048_576
HELP_WIDTH = 100


def read_file(declaration: Declaration, shown: str, path: str, named_by: str) -> Read:
    """Reads the settings of the file at ``path``; does not raise.

    Errors show it as ``shown``. ``named_by`` is the flag or variable that names it.
    """
    read = Read()
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        read.problems.append(f"{named_by} {shown}: {getattr(error, 'strerror', None) or error}")
        return read
    if len(content) > MAX_FILE_BYTES:
        read.problems.append(f"{named_by} {shown}: has more than {MAX_FILE_BYTES} bytes")
        return read
    try:
        # As tomllib reads a file; editors of some systems begin one with a byte order mark.
        text = content.decode().removeprefix("\ufeff").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        read.problems.append(f"{shown}:{line}: is not UTF-8")
        return read
    read_text(declaration, text, shown, read)
    return read


def read_text(declaration: Declaration, text: str, shown: str, read: Read) -> None:
    """Adds the settings of a TOML text to ``read``; errors show its file as ``shown``."""
    try:
        document = tomllib.loads(text)
    except RecursionError:
        read.problems.append(f"{shown}: nested too deep")
        return
    except ValueError as error:
        read.problems.append(_syntax(shown, str(error), text))
        return
    lines = _lines_of_keys(text)
    settings = {setting.name: setting for setting in settings_of(declaration) if setting.name != FILE_SETTING}
    for key, value in document.items():
        line = f":{lines[key]}" if key in lines else ""
        name = f"{shown}{line}: {_printable(key)}"
        setting = settings.get(key.replace("-", "_"))
        if setting is None:
            read.problems.append(f"{name} {_unknown(key, value, settings)}")
        elif setting.name in read.values:
            read.problems.append(f"{name} stands twice, with _ and with -")
        else:
            try:
                read.values[setting.name] = setting.from_value(value, name)
                read.spelled[setting.name] = name
            except ConfigError as error:
                read.problems.append(str(error))


def example(declaration: Declaration) -> str:
    """Renders a file that has every setting with its default, all commented out."""
    lines = [
        "# Settings of a grape; grape --config FILE reads them. Flags and environment variables (GRAPE_ and the key in",
        "# capitals) go before them. Times are in milliseconds where nothing else is said. (r): SIGHUP reads it again",
        "# while the grape runs.",
    ]
    for setting in settings_of(declaration):
        if setting.name == FILE_SETTING:
            continue
        unset = f" [{setting.unset}]" if setting.unset else ""
        about = f"{setting.help}{unset}{' (r)' if setting.reloads else ''}"
        lines += ["", *textwrap.wrap(about, HELP_WIDTH, initial_indent="# ", subsequent_indent="# ")]
        lines.append(f"#{setting.name} = {_example_value(setting)}")
    return "\n".join(lines) + "\n"


def _example_value(setting: Setting) -> str:
    if setting.default is not None and setting.default != ():
        # TOML's texts, numbers and arrays of texts are JSON's, true and false too.
        return json.dumps(setting.kind.plain(setting.default))
    samples = {
        "dht_bootstrap": '["10.0.0.2:20001", "10.0.0.3:20001"]',
        "allow_origin": '["https://app.example"]',
        "allow_host": '["grape.example"]',
        "state": '"/var/lib/grape/grape.sqlite"',
        "log_format": '"text"',
    }
    if setting.name in samples:
        return samples[setting.name]
    if isinstance(setting.kind, Switch):
        return "false"
    if isinstance(setting.kind, (Whole, Milliseconds)):
        return str(max(setting.kind.low, 60_000))
    return '"127.0.0.1"'


def _lines_of_keys(text: str) -> dict[str, int]:
    """Returns the line of each key or table, as far as a look at the beginnings of lines tells; the first is 1."""
    lines: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), 1):
        found = re.match(r"""\s*(?:\[+\s*)?(?:"([^"]*)"|'([^']*)'|([\w-]+))\s*[=\].]""", line)
        if found is not None:
            lines.setdefault(next(part for part in found.groups() if part is not None), number)
    return lines


def _unknown(key: str, value: object, settings: dict[str, Setting]) -> str:
    if key == FILE_SETTING:
        return "cannot stand in the file itself"
    if isinstance(value, dict):
        return "is a table; the keys stand without one"
    near = field_like(key, settings.values())
    hint = f"; did you mean {near}?" if near is not None else " (grape config example lists them)"
    return f"is no setting{hint}"


def _syntax(shown: str, problem: str, text: str) -> str:
    """Returns the line for a text that is no TOML: the parser's own sentence, its line behind the file's name."""
    what, _, place = problem.partition(" (at ")
    found = re.match(r"line (\d+), column (\d+)", place)
    line = found[1] if found is not None else text.rstrip("\n").count("\n") + 1 if place else None
    # Other errors than the parser's own explain themselves behind a colon.
    what = what if place else what.partition(":")[0]
    column = f" (column {found[2]})" if found is not None else ""
    return f"{shown}{f':{line}' if line is not None else ''}: {_printable(what[0].lower() + what[1:])}{column}"


def _printable(text: str) -> str:
    """Returns a text in one line, as it is unless it has characters that no terminal prints."""
    return text if text and text.isprintable() and len(text) <= HELP_WIDTH else repr(text[:HELP_WIDTH])
