"""Gathers settings from four places: flag over environment variable over file over default.

Every error names the place as the user typed it: the flag, the variable, or file, line and key.

Plain classes: named tuples would add half a millisecond to every start.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence

from grape.errors import ConfigError
from grape.settings.declaration import VARIABLE_PREFIX, C, Declaration, Setting, nearest, settings_of
from grape.settings.flags import scan_flags
from grape.settings.texts import in_one_line

#: The setting that names the file.
FILE_SETTING = "config"
#: Variables with our prefix that are read elsewhere.
OTHER_VARIABLES = frozenset(("GRAPE_COMPILE", "GRAPE_URL"))
MAX_LISTED = 3

# Set in every container of a Kubernetes namespace with a service "grape", "grape-api" and so on, and by Docker's links.
# Compiled at their first use: most starts see no variable of ours.
_INJECTED_NAME = r"GRAPE(_\w+)?_(SERVICE_(HOST|PORT)(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
_INJECTED_VALUE = r"(tcp|udp|sctp)://\S*"


class Read:
    """The settings of one place: their ``values``, where each is ``spelled``, and what is wrong or odd."""

    def __init__(self) -> None:
        self.values: dict[str, object] = {}
        self.spelled: dict[str, str] = {}
        self.problems: list[str] = []
        self.warnings: list[str] = []


class Gathered:
    """The settings of all places.

    ``values`` are for the declaration's constructor. ``places`` has for each value where it comes from, followed by
    the places that it overrides. ``words`` are those of the command line that are no flags. ``problems`` and
    ``warnings`` are sentences of one line each.
    """

    def __init__(
        self,
        values: dict[str, object],
        places: dict[str, tuple[str, ...]],
        words: list[str],
        problems: list[str],
        warnings: list[str],
    ) -> None:
        self.values = values
        self.places = places
        self.words = words
        self.problems = problems
        self.warnings = warnings


class BadConfig(ValueError):
    """Settings that no grape can run with; ``problems`` has a line for each."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


class Source:
    """The places of a process: its command line, and environment and working directory as they were at its start.

    ``others`` are known flags beside those of the declaration. What it returns is ``gather``'s.
    """

    def __init__(
        self,
        declaration: Declaration,
        words: Sequence[str],
        environment: Mapping[str, str],
        others: Collection[str] = (),
    ) -> None:
        self._declaration = declaration
        self._words = tuple(words)
        self._environment = {n: text for n, text in environment.items() if n.startswith(VARIABLE_PREFIX)}
        self._others = others
        try:
            # A process may leave it, as twistd does with --rundir.
            self._folder = os.getcwd()
        except OSError:
            self._folder = ""

    def read(self) -> Gathered:
        """Reads all places, the file anew."""
        return gather(self._declaration, self._words, self._environment, self._folder, self._others)


def gather(
    declaration: Declaration,
    words: Sequence[str],
    environment: Mapping[str, str],
    folder: str = "",
    others: Collection[str] = (),
) -> Gathered:
    """Reads a command line, the environment, and the file that one of them names; does not raise.

    The file's path is relative to ``folder``, by default the working directory. ``others`` are known flags, too.
    """
    given = scan_flags(declaration, words, others)
    flags = Read()
    flags.values, flags.spelled = given.values, given.spelled
    flags.problems = [str(problem) for problem in given.problems]
    variables = read_environment(declaration, environment)
    reads = [flags, variables]
    path = flags.values.get(FILE_SETTING, variables.values.get(FILE_SETTING))
    if isinstance(path, str):
        # Loaded here: a grape without a file does without tomllib.
        from grape.settings.file import read_file

        named_by = (flags.spelled.get(FILE_SETTING) or variables.spelled[FILE_SETTING]).strip()
        reads.append(read_file(declaration, in_one_line(path), os.path.join(folder, path), named_by))
    values: dict[str, object] = {}
    places: dict[str, tuple[str, ...]] = {}
    for read in reads:
        for name, value in read.values.items():
            values.setdefault(name, value)
            places[name] = (*places.get(name, ()), read.spelled[name])
    problems = [problem for read in reads for problem in read.problems]
    return Gathered(values, places, given.words, problems, [line for read in reads for line in read.warnings])


def build(declaration: type[C], gathered: Gathered) -> C:
    """Makes the declaration of what was gathered. Raises BadConfig with all problems."""
    problems = [*gathered.problems]
    try:
        made = declaration(**gathered.values)
    except ConfigError as error:
        # Values that are well each for itself and do not go together.
        place = gathered.places.get(error.name, (error.name,))[0]
        problems.append(f"{place} {error.problem}")
    if problems:
        raise BadConfig(problems)
    return made


def read_environment(declaration: Declaration, environment: Mapping[str, str]) -> Read:
    """Reads the variables of a declaration. One that is empty counts as not set; one that is unknown is a warning."""
    read = Read()
    mine = sorted(name for name in environment if name.startswith(VARIABLE_PREFIX))
    if not mine:
        return read
    settings = {setting.variable: setting for setting in settings_of(declaration)}
    injected = []
    for name in mine:
        text = environment[name]
        setting = settings.get(name)
        if _is_injected(name, text, setting is not None):
            injected.append(name)
        elif setting is not None and text:
            try:
                read.values[setting.name] = setting.from_text(text, name)
                read.spelled[setting.name] = name
            except ConfigError as error:
                read.problems.append(str(error))
        elif setting is None and name not in OTHER_VARIABLES:
            near = _variable_like(name, settings)
            read.warnings.append(
                f"{name} is ignored: no setting has this variable"
                + (f"; did you mean {near}?" if near is not None else " (grape config example lists them)")
            )
    if injected:
        read.warnings.append(
            f"{_listed(injected)} ignored: set by Kubernetes or Docker for a service of that name "
            "(enableServiceLinks: false in the pod keeps them away)"
        )
    return read


def field_like(name: str, settings: Collection[Setting]) -> str | None:
    """Returns the field that a user may mean by a name that is none: by a flag, a keyword or a slip of the pen."""
    plain = name.strip("-").replace("-", "_").lower()
    for setting in settings:
        names = (setting.flag, *setting.also, *setting.keywords)
        if plain in [other.replace("-", "_").lower() for other in names]:
            return setting.name
    return nearest(name, [setting.name for setting in settings])


def _is_injected(name: str, text: str, is_known: bool) -> bool:
    if name.endswith("_PORT") and re.fullmatch(_INJECTED_VALUE, text):
        return True
    return not is_known and re.fullmatch(_INJECTED_NAME, name) is not None


def _variable_like(name: str, settings: Mapping[str, Setting]) -> str | None:
    field = field_like(name.removeprefix(VARIABLE_PREFIX), settings.values())
    return VARIABLE_PREFIX + field.upper() if field is not None else None


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:MAX_LISTED])
    more = len(names) - MAX_LISTED
    return f"{shown} and {more} more are" if more > 0 else f"{shown} {'is' if len(names) == 1 else 'are'}"
