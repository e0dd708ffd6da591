"""Renders events of twisted.logger as lines: text for people, or one JSON object a line for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from math import isfinite

from twisted.logger import LogEvent, LogLevel, eventAsText, formatEvent, formatTime

#: The priorities of syslog (RFC 5424), which journald reads from "<N>" at the beginning of a line.
PRIORITIES: Mapping[LogLevel, int] = {
    LogLevel.debug: 7,
    LogLevel.info: 6,
    LogLevel.warn: 4,
    LogLevel.error: 3,
    LogLevel.critical: 2,
}
# ANSI: faint, plain, yellow, red.
_COLOURS: Mapping[LogLevel, str] = {
    LogLevel.debug: "\x1b[2m",
    LogLevel.warn: "\x1b[33m",
    LogLevel.error: "\x1b[31m",
    LogLevel.critical: "\x1b[1;31m",
}
MAX_INTEGER = 2**63
_RESET = "\x1b[0m"
# What an event has beside its own fields; the rest of these begins with "log_".
_NO_FIELDS = frozenset(
    ("failure", "format", "is_answer", "isError", "level", "logger", "message", "system", "time", "traceback", "why")
)


def level_of(event: LogEvent) -> LogLevel:
    """Returns the level of an event; info for one without."""
    level: LogLevel = event.get("log_level", LogLevel.info)
    return level if level in PRIORITIES else LogLevel.info


def text_line(event: LogEvent, *, is_coloured: bool = False, has_time: bool = True) -> str:
    """Renders an event as ``TIME [LEVEL] TEXT``, with the lines of a traceback after it; "" for one without a text."""
    text = eventAsText(event, includeTimestamp=False, includeSystem=False)
    if not text:
        return ""
    level = level_of(event)
    word = f"[{level.name}]"
    if is_coloured and level in _COLOURS:
        word = f"{_COLOURS[level]}{word}{_RESET}"
    time = f"{formatTime(event.get('log_time'))} " if has_time else ""
    return _in_unicode(f"{time}{word} {text}")


def json_line(event: LogEvent) -> str:
    """Renders an event as a JSON object in one line of ASCII; "" for one without a text.

    Members: ``time`` (RFC 3339, UTC), ``level``, ``logger``, ``message``, the event's own fields where they are text,
    numbers, true, false or null, and ``traceback`` for a failure.
    """
    message = formatEvent(event)
    failure = event.get("log_failure")
    if not message and failure is None:
        return ""
    line: dict[str, object] = {
        "time": _utc(event.get("log_time")),
        "level": level_of(event).name,
        "logger": str(event.get("log_namespace", "-")),
        "message": message,
    }
    # Of these the whole text is a field.
    is_one_field = event.get("log_format") == "{line}"
    for name, value in event.items():
        if name.startswith("log_") or name in _NO_FIELDS or (is_one_field and name == "line"):
            continue
        if _is_plain(value):
            line[name] = value
    if failure is not None:
        try:
            line["traceback"] = failure.getTraceback()
        except Exception as error:
            line["traceback"] = f"cannot be shown: {type(error).__name__}"
        line["message"] = message or failure.getErrorMessage()
    written = json.dumps(line)
    if "\\ud" in written:
        # Half of a surrogate pair is JSON, but many programs refuse it.
        written = json.dumps(json.loads(_in_unicode(json.dumps(line, ensure_ascii=False))))
    return written


def with_priority(line: str, event: LogEvent) -> str:
    """Returns a line, or the lines of one with a traceback, as journald reads it: each begins with its priority."""
    priority = f"<{PRIORITIES[level_of(event)]}>"
    return priority + line.replace("\n", f"\n{priority}")


def _is_plain(value: object) -> bool:
    """Returns True for what every reader of JSON takes; whole numbers have 64 bits."""
    match value:
        case None | str() | bool():
            return True
        case int():
            return abs(value) < MAX_INTEGER
        case float():
            return isfinite(value)
    return False


def _utc(time: object) -> str | None:
    try:
        when = datetime.fromtimestamp(time, UTC) if isinstance(time, (int, float)) else None
    except (ValueError, OverflowError, OSError):
        return None
    return when.isoformat(timespec="microseconds").replace("+00:00", "Z") if when is not None else None


def _in_unicode(text: str) -> str:
    """Returns a text with U+FFFD in the place of lone surrogates, which no encoding has."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
