"""docs/operations.md lists every line of level warning and above: its table is compared with the sources."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import grape

PACKAGE = Path(grape.__file__).parent
DOCS = Path(__file__).parent.parent / "docs" / "operations.md"
# Twisted's logger gives a failure the level critical.
LEVELS = {"warn": "warn", "error": "error", "critical": "critical", "failure": "critical"}
# What no process of a grape logs.
OTHERS = {"client", "testing"}
# Any value of a line: the table has an example of it.
VALUE = "\0"


def pieces(node: ast.expr) -> str:
    """Returns the text of an expression, with VALUE in the place of all that is known only at run time."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=values):
            return "".join(map(pieces, values))
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return pieces(left) + pieces(right)
    return VALUE


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Yields level and line of each call that logs a warning or worse."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        match node.func:
            case ast.Attribute(value=ast.Name(id="log"), attr=attr) if attr in LEVELS:
                yield LEVELS[attr], node.args[0]
            case ast.Name(id="_say"):
                for argument in node.args[1:]:
                    if isinstance(argument, ast.Attribute) and argument.attr in LEVELS:
                        yield LEVELS[argument.attr], node.args[0]
            # Of the settings; they are logged at the start and at a reload.
            case ast.Attribute(value=ast.Attribute(attr="warnings"), attr="append"):
                yield "warn", node.args[0]


def sources() -> dict[str, str]:
    """Returns the level of each line of the sources, by the line with VALUE in it."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        if not OTHERS & set(path.parts):
            for level, line in calls(ast.parse(path.read_text())):
                text = re.sub(r"\{[^}]*\}", VALUE, pieces(line))
                if text != VALUE:
                    found[text] = level
    return found


def documented() -> list[tuple[str, str]]:
    """Returns level and line of each row of the tables of the section."""
    section = DOCS.read_text().partition("### Warnings and errors\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| (warn|error|critical) \| `(.*?)` \|", section, re.MULTILINE)


def is_of(line: str, source: str) -> bool:
    """Returns True if a line is one of those that a source makes."""
    return re.fullmatch(".+".join(map(re.escape, source.split(VALUE))), line) is not None


def test_every_warning_and_error_is_in_the_table_of_the_documentation() -> None:
    rows = documented()
    missing = [
        f"{level}: {source.replace(VALUE, '{}')}"
        for source, level in sources().items()
        if not any(level == said and is_of(line, source) for said, line in rows)
    ]
    assert missing == []


def test_every_line_of_the_table_is_in_the_sources() -> None:
    found = sources()
    assert len(found) > 40
    assert [line for level, line in documented() if not any(is_of(line, source) for source in found)] == []
