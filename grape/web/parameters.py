"""Defines the parameters in the query of a route: their declaration, and how their text becomes a value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import attrs

from grape.errors import GrapeError

Argument: TypeAlias = "str | int | bool | bytes | None"
Arguments: TypeAlias = "Mapping[str, Argument]"

# A bare "?name" is true.
_TRUE = ("", "true", "1")
_FALSE = ("false", "0")
_MAX_SHOWN = 40


@attrs.frozen
class Parameter:
    """A parameter in the query of a route: its name, what it means, and the type that its text stands for.

    ``bytes`` are written in hex, ``size`` of them if that is not 0, ``bool`` as true or false; a bare name is true.
    ``low`` and ``high`` are the bounds of an ``int``. ``default`` stands for one that is not given, unless it
    ``is_required``.
    """

    name: str
    summary: str
    kind: type[str] | type[int] | type[bool] | type[bytes] = str
    default: Argument = None
    is_required: bool = False
    low: int = 0
    high: int = 2**31
    size: int = 0

    @property
    def takes(self) -> str:
        """The words for what it takes."""
        if self.kind is int:
            return f"a whole number from {self.low} to {self.high}"
        if self.size:
            return f"{2 * self.size} hex digits"
        return {str: "text", bool: "true or false", bytes: "hex digits, two for each byte"}[self.kind]

    def value(self, texts: Sequence[str]) -> Argument:
        """Returns what the texts of a query stand for, at most one. Raises GrapeError ERR_GRAPE_PARAMETER."""
        if len(texts) > 1:
            raise self._wrong("is given more than once")
        if not texts or (self.is_required and not texts[0]):
            if self.is_required:
                raise self._wrong("is missing")
            return self.default
        try:
            return self._converted(texts[0])
        except ValueError:
            raise self._wrong(f"takes {self.takes}, not {texts[0][:_MAX_SHOWN]!r}") from None

    def _converted(self, text: str) -> Argument:
        if self.kind is bytes:
            octets = bytes.fromhex(text)
            if self.size not in (0, len(octets)):
                raise ValueError
            return octets
        if self.kind is bool:
            if text.lower() in (*_TRUE, *_FALSE):
                return text.lower() in _TRUE
            raise ValueError
        if self.kind is int:
            # As digits alone: int() takes spaces and underscores, too, and thousands of digits take it long.
            if not (text.isascii() and text.isdigit() and len(text) < 20 and self.low <= int(text) <= self.high):
                raise ValueError
            return int(text)
        return text

    def _wrong(self, problem: str) -> GrapeError:
        return GrapeError(f"ERR_GRAPE_PARAMETER: {self.name} {problem}", 400)


def arguments_of(parameters: Iterable[Parameter], query: Mapping[str, Sequence[str]]) -> dict[str, Argument]:
    """Returns the values of declared parameters by name; others in the query are ignored. Raises GrapeError."""
    return {parameter.name: parameter.value(query.get(parameter.name, ())) for parameter in parameters}
