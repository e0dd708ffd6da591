"""Writes pieces of Markdown: cells that cannot break their table, tables, blocks of code."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def code(text: str) -> str:
    """Returns text as code in a line, whatever backticks it has; "" for no text."""
    if not text:
        return ""
    marks = "`"
    while marks in text:
        marks += "`"
    gap = " " if text[0] == "`" or text[-1] == "`" else ""
    return f"{marks}{gap}{text}{gap}{marks}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a table, with an empty line after it; "" without rows."""
    lines = [_row(row) for row in rows]
    if not lines:
        return ""
    return "".join((_row(head), _row(["---"] * len(head)), *lines, "\n"))


def block(text: str, language: str) -> str:
    """Returns a block of code, with an empty line after it."""
    return f"```{language}\n{text.rstrip()}\n```\n\n"


def sentence(text: str) -> str:
    """Returns text with a capital first, and a stop at the end."""
    stopped = text.rstrip()
    return stopped[:1].upper() + stopped[1:] + ("" if stopped.endswith((".", ":", "!", "?")) else ".")


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |\n"
