"""Declares a setting in the metadata of an attrs field, and makes declarations of keywords."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import NamedTuple, TypeAlias, TypeVar, cast

import attrs

from grape.errors import ConfigError
from grape.settings.kinds import Kind, Milliseconds
from grape.settings.texts import Unfit

_METADATA = "grape.setting"
VARIABLE_PREFIX = "GRAPE_"

T = TypeVar("T")
C = TypeVar("C", bound=attrs.AttrsInstance)
Declaration: TypeAlias = type[attrs.AttrsInstance]


class Setting(NamedTuple):
    """One setting of a declaration: what it takes, its names and its help text of at most one line.

    ``flag`` and ``also`` are its flags without dashes, ``keywords`` those of ``Grape``; by default both are the name
    of the field. ``off`` is the flag that sets it to nothing. ``unset`` stands in the help for a default that is no
    value. ``reloads`` is True for one that can change while a grape runs, ``for_process`` for one of the process, which
    is no keyword of ``Grape``. ``name`` and ``default`` are the field's.
    """

    kind: Kind
    help: str
    flag: str = ""
    also: tuple[str, ...] = ()
    off: str = ""
    keywords: tuple[str, ...] = ()
    unset: str = ""
    may_be_bare: bool = False
    may_be_none: bool = False
    reloads: bool = False
    for_process: bool = False
    name: str = ""
    default: object = None

    @property
    def spellings(self) -> tuple[str, ...]:
        """All flags of the setting as they are typed: one letter has one dash or two."""
        names = (self.flag, *self.also)
        return tuple(dashes + name for name in names for dashes in (("-", "--") if len(name) == 1 else ("--",)))

    @property
    def variable(self) -> str:
        """The environment variable of the setting: GRAPE_ and the name of the field in upper case."""
        return VARIABLE_PREFIX + self.name.upper()

    @property
    def default_text(self) -> str:
        """The default in the user's unit, or what stands for it."""
        return self.unset or self.kind.show(self.default)

    def shown(self, value: object) -> str:
        """Returns a value of the declaration in the user's unit, or what stands for the default."""
        return self.default_text if value == self.default else self.kind.show(value)

    def from_text(self, text: str, name: str) -> object:
        """Converts the text of a flag to a value of the declaration. Raises ConfigError, which says ``name``."""
        return self._through(lambda text: self.kind.take(self.kind.read(cast("str", text))), text, name)

    def from_value(self, value: object, name: str) -> object:
        """Converts a keyword's value, in the user's unit, likewise. Raises ConfigError, which says ``name``."""
        return self._through(self.kind.take, value, name)

    def checked(self, value: object) -> object:
        """Checks a value of the declaration. Raises ConfigError, which says the field."""
        return self._through(self.kind.keep, value, self.name)

    def _through(self, take: Callable[[object], object], value: object, name: str) -> object:
        if value is None and self.may_be_none:
            return None
        try:
            return take(value)
        except Unfit as error:
            raise ConfigError(name, str(error)) from None


def metadata(setting: Setting) -> Mapping[str, Setting]:
    """Returns the metadata of an attrs field that is a setting."""
    return {_METADATA: setting}


def declare(default: T, setting: Setting) -> T:
    """Returns the attrs field of a setting, for a field that needs no converter."""
    return attrs.field(default=default, metadata=metadata(setting))


@cache
def settings_of(declaration: Declaration) -> tuple[Setting, ...]:
    """Returns the settings that a class declares, in their order."""
    return tuple(
        found._replace(
            name=field.name,
            default=field.default,
            flag=found.flag or field.name.replace("_", "-"),
            keywords=() if found.for_process else found.keywords or (field.name,),
            may_be_none=found.may_be_none or field.default is None,
        )
        for field in attrs.fields(declaration)
        if (found := field.metadata.get(_METADATA)) is not None
    )


def check(instance: attrs.AttrsInstance) -> None:
    """Checks every setting of an instance that attrs has just made, frozen or not. Raises ConfigError."""
    for setting in settings_of(type(instance)):
        object.__setattr__(instance, setting.name, setting.checked(getattr(instance, setting.name)))


def from_keywords(declaration: type[C], given: Mapping[str, object]) -> C:
    """Makes a declaration of keywords, in the user's units; a time that is None, and what is not given, is the default.

    Raises TypeError for a keyword that does not exist, with the nearest that does, and ConfigError for a wrong value.
    """
    settings = {keyword: setting for setting in settings_of(declaration) for keyword in setting.keywords}
    values: dict[str, object] = {}
    for keyword, value in given.items():
        setting = settings.get(keyword)
        if setting is None:
            near = nearest(keyword, settings)
            hint = f"; did you mean {near!r}?" if near is not None else " (docs/configuration.md lists them)"
            raise TypeError(f"Grape has no keyword {keyword!r}{hint}")
        if value is None and isinstance(setting.kind, Milliseconds):
            continue
        values[setting.name] = setting.from_value(value, keyword)
    return cast("Callable[..., C]", declaration)(**values)


def differences(old: C, new: C) -> tuple[dict[str, object], list[str]]:
    """Compares two instances: returns the new values of settings that can change while a grape runs, and all others."""
    changed: dict[str, object] = {}
    fixed = []
    for setting in settings_of(type(old)):
        value = getattr(new, setting.name)
        if value == getattr(old, setting.name):
            continue
        if setting.reloads:
            changed[setting.name] = value
        else:
            fixed.append(setting.name)
    return changed, fixed


def evolved(instance: C, values: Mapping[str, object]) -> C:
    """Returns a copy of an instance with other values for some settings. Raises ConfigError."""
    return cast("Callable[..., C]", attrs.evolve)(instance, **values)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Returns the known name that is most like a name which is not known, None if no name is like it."""
    # Loaded here: most processes never need it.
    from difflib import get_close_matches

    plain = {other.lstrip("-").replace("-", "_").lower(): other for other in known}
    near = get_close_matches(name.lstrip("-").replace("-", "_").lower(), plain, n=1)
    return plain[near[0]] if near else None
