"""Finds the builds of this grape that are measured: the Python of each, and where it imports the grape from."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from shutil import which

import attrs

from benchmarks.figures import BUILDS, BenchmarkError
from gauntlet.about import interpreter
from gauntlet.interpreter import COMPILED, PURE
from gauntlet.machine import ROOT

# The programs that measured processes import beside the grape.
HARNESS = ("benchmarks", "gauntlet")


@attrs.frozen
class Build:
    """Holds a build: its Python, the directory that PYTHONPATH names for it, and ``interpreter``'s description."""

    python: str = sys.executable
    path: Path = ROOT
    told: Mapping[str, object] = attrs.field(factory=dict, eq=False)

    @property
    def side(self) -> str:
        """The side of the table that it is."""
        return BUILDS[str(self.told.get("build", PURE))]


HERE = Build()


def found(python: str | None = None) -> Build:
    """Returns the build of an environment's Python; without ``python``, this Python with the grape of this checkout.

    In an environment the grape that is installed there is measured, whatever this checkout has. Raises BenchmarkError
    if there is none.
    """
    executable, path = (sys.executable, ROOT) if python is None else (absolute(python), _harness())
    try:
        told = interpreter(executable, {"PYTHONPATH": str(path), "PATH": "/usr/bin:/bin"})
    except (OSError, ValueError) as error:
        raise BenchmarkError(f"{executable} cannot be measured: {error}") from error
    if not told["package"]:
        raise BenchmarkError(f"{executable} has no grape installed: {executable} -m pip install {ROOT}")
    return Build(executable, path, told)


def absolute(python: str) -> str:
    """Returns the path of a Python that is named by path or as a command, for processes that run in other directories.

    Links are not followed: an environment's Python is a link, and its place is what makes it that environment's.
    """
    return os.path.abspath(which(python) or python)


def found_compiled(python: str) -> Build:
    """Returns the compiled build of an environment. Raises BenchmarkError if the one there is not compiled."""
    build = found(python)
    if build.told["build"] != COMPILED:
        raise BenchmarkError(
            f"the grape of {python} is not compiled ({build.told['package']}); "
            f"GRAPE_COMPILE=1 {python} -m pip install {ROOT}"
        )
    return build


def differ(builds: Mapping[str, Build]) -> bool:
    """Returns True if the builds were made of different sources, so that they are no builds of one grape."""
    return len({str(build.told.get("source")) for build in builds.values()}) > 1


def line(build: Build) -> str:
    """Returns one line that describes a build."""
    told = build.told
    modules = f", {told['compiled_modules']} modules compiled" if told.get("compiled_modules") else ""
    debug = ", a DEBUG build" if told.get("debug") else ""
    return (
        f"{told['build']} build{modules}: {told['python']} ({told['compiler']}; {told['optimisation']}{debug}),"
        f" {told['executable']}"
    )


@cache
def _harness_directory() -> tempfile.TemporaryDirectory[str]:
    # Cached, so that it is removed when this process ends.
    return tempfile.TemporaryDirectory(prefix="grape-bench-")


def _harness() -> Path:
    """Returns a directory with these programs alone: from the whole checkout, its own grape would be imported."""
    directory = Path(_harness_directory().name)
    for name in HARNESS:
        if not (directory / name).exists():
            (directory / name).symlink_to(ROOT / name)
    return directory
