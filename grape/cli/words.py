"""Checks the words of a command line before a grape is asked: text, names, hashes, ports.

A word that cannot be used is a usage error, which click shows with the name of the argument or option.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeAlias

import click

if TYPE_CHECKING:
    # Generic for mypy alone, in some versions of click.
    StrType: TypeAlias = click.ParamType[str]
else:
    StrType = click.ParamType

MAX_PORT = 65_535
_HASH = re.compile(r"[0-9a-fA-F]{40}")


class _Text(StrType):
    """Takes text that is UTF-8: a grape stores and finds no other."""

    name = "text"

    def convert(self, value: object, parameter: click.Parameter | None, context: click.Context | None) -> str:
        """Returns the text; fails for bytes that are not UTF-8, which Python gives as halves of surrogate pairs."""
        text = str(value)
        try:
            text.encode()
        except UnicodeEncodeError:
            self.fail("it is not UTF-8 text", parameter, context)
        return text


class _Name(_Text):
    """Takes the name of a service."""

    name = "name"

    def convert(self, value: object, parameter: click.Parameter | None, context: click.Context | None) -> str:
        """Returns the name; fails for an empty one."""
        text = super().convert(value, parameter, context)
        if not text:
            self.fail("a service has a name of at least one character", parameter, context)
        return text


class _Hash(StrType):
    """Takes the hash of an item."""

    name = "hash"

    def convert(self, value: object, parameter: click.Parameter | None, context: click.Context | None) -> str:
        """Returns the hash; fails unless it is 40 hex digits."""
        text = str(value)
        if not _HASH.fullmatch(text):
            self.fail(f"a hash has 40 hex digits, unlike {text!r}", parameter, context)
        return text


TEXT = _Text()
NAME = _Name()
HASH = _Hash()
PORT = click.IntRange(0, MAX_PORT)
