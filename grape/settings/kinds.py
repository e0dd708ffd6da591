"""Says which values settings take: numbers in a range, times, words, texts, lists.

A ``Kind`` reads a flag's text, checks a value in the user's unit and converts it to the one that the declaration
holds: times are milliseconds for the user and seconds in the declaration.

Plain classes: attrs would add 2 ms to every start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import TypeAlias, cast

from grape.dht.compact import Address
from grape.settings.texts import Unfit, node_address, shown, whole

#: A value as JSON and TOML have it.
Plain: TypeAlias = "str | float | bool | list[str]"


class Kind:
    """Says which values a setting takes. ``placeholder`` stands for the value in the help.

    ``is_list`` is True if a flag that is given twice adds to the first one.
    """

    is_list = False

    def __init__(self, placeholder: str = "") -> None:
        self.placeholder = placeholder

    def read(self, text: str) -> object:
        """Converts the text of a flag to a value for ``take``. Raises Unfit."""
        return text

    def take(self, value: object) -> object:
        """Checks a value in the user's unit; returns it in the unit of the declaration. Raises Unfit."""
        raise NotImplementedError

    def keep(self, value: object) -> object:
        """Checks a value in the unit of the declaration, and returns it in its usual form. Raises Unfit."""
        return self.take(value)

    def plain(self, value: object) -> Plain:
        """Returns a value of the declaration in the user's unit, as JSON and TOML have it."""
        return cast("str | float", value)

    def show(self, value: object) -> str:
        """Returns a value of the declaration as text, in the user's unit."""
        return str(self.plain(value))


class Whole(Kind):
    """Takes whole numbers of a ``unit`` from ``low`` to ``high``."""

    def __init__(self, low: int, high: int, unit: str = "", placeholder: str = "N") -> None:
        super().__init__(placeholder)
        self.low = low
        self.high = high
        self._unit = unit

    def read(self, text: str) -> int:
        try:
            return whole(text)
        except ValueError:
            raise self._unfit(text) from None

    def take(self, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not self.low <= value <= self.high:
            raise self._unfit(value)
        return value

    def _unfit(self, value: object) -> Unfit:
        unit = f" of {self._unit}" if self._unit else ""
        return Unfit(f"takes a whole number{unit} from {self.low} to {self.high}, not {shown(value)}")


class Milliseconds(Kind):
    """Takes times from ``low`` to ``high`` milliseconds; the declaration holds them in seconds."""

    def __init__(self, low: int, high: int, placeholder: str = "MS") -> None:
        super().__init__(placeholder)
        self.low = low
        self.high = high

    def read(self, text: str) -> float:
        for convert in (whole, float):
            with suppress(ValueError):
                return convert(text)
        raise self._unfit(text, "milliseconds", 1)

    def take(self, value: object) -> float:
        return self._checked(value, "milliseconds", 1) / 1000

    def keep(self, value: object) -> float:
        return self._checked(value, "seconds", 1000)

    def plain(self, value: object) -> float:
        # Rounded, as 0.07 s are not exactly 70 ms: no clock here tells such times apart.
        milliseconds = round(cast("float", value) * 1000, 6)
        return int(milliseconds) if milliseconds == int(milliseconds) else milliseconds

    def _checked(self, value: object, unit: str, scale: int) -> float:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        # False for NaN, too.
        if not is_number or not self.low / scale <= cast("float", value) <= self.high / scale:
            raise self._unfit(value, unit, scale)
        return cast("float", value)

    def _unfit(self, value: object, unit: str, scale: int) -> Unfit:
        low, high = (number // scale if number % scale == 0 else number / scale for number in (self.low, self.high))
        return Unfit(f"takes a number of {unit} from {low} to {high}, not {shown(value)}")


class Choice(Kind):
    """Takes one of some words."""

    def __init__(self, words: tuple[str, ...]) -> None:
        super().__init__("|".join(words))
        self._words = words

    def take(self, value: object) -> str:
        if not isinstance(value, str) or value not in self._words:
            raise Unfit(f"takes {' or '.join(self._words)}, not {shown(value)}")
        return value


class Switch(Kind):
    """Takes True and False; the flag alone means True, and may be followed by ``=true`` or ``=false``."""

    def read(self, text: str) -> bool:
        if text not in ("true", "false"):
            raise Unfit(f"takes true or false, not {shown(text)}")
        return text == "true"

    def take(self, value: object) -> bool:
        if not isinstance(value, bool):
            raise Unfit(f"takes True or False, not {shown(value)}")
        return value

    def show(self, value: object) -> str:
        return "on" if value else "off"


class Text(Kind):
    """Takes a text of which ``convert`` makes the value; ``convert`` returns None for one that is wrong.

    ``takes`` says in an error what would be right.
    """

    def __init__(self, takes: str, convert: Callable[[str], str | None], placeholder: str = "TEXT") -> None:
        super().__init__(placeholder)
        self._takes = takes
        self._convert = convert

    def take(self, value: object) -> object:
        return self._one(value)

    def _one(self, value: object) -> str:
        converted = self._convert(value) if isinstance(value, str) else None
        if converted is None:
            raise Unfit(f"takes {self._takes}, not {shown(value)}")
        return converted


class Texts(Text):
    """Takes several texts as ``Text`` takes one, or one text with commas between them."""

    is_list = True

    def take(self, value: object) -> tuple[str, ...]:
        return tuple(self._one(part) for part in _parts(value, f"takes {self._takes}"))

    def plain(self, value: object) -> list[str]:
        return list(cast("Iterable[str]", value))

    def show(self, value: object) -> str:
        return ",".join(self.plain(value))


class Nodes(Kind):
    """Takes addresses of nodes, "host:port" or (host, port), or one text with commas between them."""

    is_list = True

    def take(self, value: object) -> tuple[Address, ...]:
        if value is None or isinstance(value, bool):
            return ()
        return tuple(dict.fromkeys(node_address(part) for part in _parts(value, "takes HOST:PORT entries")))

    def plain(self, value: object) -> list[str]:
        return [f"{host}:{port}" for host, port in cast("Iterable[Address]", value)]

    def show(self, value: object) -> str:
        return ",".join(self.plain(value))


def _parts(value: object, takes: str) -> list[object]:
    """Returns the parts of a list, or of a text with commas; those that are empty do not count."""
    if isinstance(value, (bytes, bytearray, Mapping)) or not isinstance(value, Iterable):
        raise Unfit(f"{takes}, not {shown(value)}")
    parts = value.split(",") if isinstance(value, str) else value
    stripped = [part.strip() if isinstance(part, str) else part for part in parts]
    return [part for part in stripped if part is not None and part != ""]
