"""Finds the tools and peers that the benchmarks need, and explains how to install those that are missing."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import tempfile
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from shutil import which

from benchmarks.figures import IN_MEMORY, LIBTORRENT, REFERENCE, BenchmarkError
from gauntlet.machine import ROOT

NODE = ROOT / "benchmarks" / "node"
# The live tests install the same package, which is used if it is there.
PACKAGES = (NODE / "node_modules", ROOT / "tests" / "live" / "node" / "node_modules")
INSTALL_SECONDS = 300
COMPILE_SECONDS = 60
LOAD_SOURCE = ROOT / "benchmarks" / "krpcload.c"
COMPILERS = ("gcc", "cc", "clang")


@cache
def reason_missing(tool: str) -> str | None:
    """Returns why a tool or peer cannot be used and how to install it; None if it can.

    Installs grenache-grape by npm if it is missing.
    """
    match tool:
        case "wrk":
            return None if which("wrk") else "wrk is missing; Debian: apt install wrk"
        case "cc":
            return None if _compiler() else "a C compiler is missing; Debian: apt install gcc libc6-dev"
        case _ if tool == IN_MEMORY:
            return None
        case _ if tool == LIBTORRENT:
            found = importlib.util.find_spec("libtorrent")
            return None if found else "libtorrent's Python binding is missing: pip install libtorrent"
        case _ if tool == REFERENCE:
            return _reason_without_reference()
    raise ValueError(tool)


def node_packages() -> Path:
    """Returns the node_modules directory that holds grenache-grape. Raises BenchmarkError if there is none."""
    for packages in PACKAGES:
        if (packages / "grenache-grape" / "package.json").is_file():
            return packages
    raise BenchmarkError("grenache-grape is missing")


def versions() -> dict[str, str]:
    """Returns the versions of what is compared, as far as it is installed."""
    found: dict[str, str] = {}
    for distribution in ("grape-dht", "twisted", "libtorrent"):
        with suppress(metadata.PackageNotFoundError):
            found[distribution] = metadata.version(distribution)
    with suppress(BenchmarkError):
        package = json.loads((node_packages() / "grenache-grape" / "package.json").read_text())
        found["grenache-grape"] = package["version"]
    for command in (("node", "--version"), ("wrk", "--version")):
        with suppress(OSError):
            # wrk prints its version and ends with status 1.
            said = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
            found[command[0]] = next((word.lstrip("v") for word in said if any(c.isdigit() for c in word)), "")
    return found


def _reason_without_reference() -> str | None:
    how = f"install it: cd {NODE.relative_to(ROOT)} && npm install"
    if not which("node"):
        return f"grenache-grape needs Node.js; Debian: apt install nodejs npm; then {how}"
    try:
        node_packages()
    except BenchmarkError:
        pass
    else:
        return None
    if not which("npm"):
        return f"grenache-grape 1.0.0 is missing, and npm; Debian: apt install npm; then {how}"
    command = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock"]
    try:
        done = subprocess.run(command, cwd=NODE, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return f"grenache-grape 1.0.0 is missing and npm did not end; {how}"
    if done.returncode:
        return f"grenache-grape 1.0.0 is missing and npm failed ({done.stderr.strip()[-200:]}); {how}"
    return None


def _compiler() -> str | None:
    return next((name for name in COMPILERS if which(name)), None)


@cache
def _build_directory() -> tempfile.TemporaryDirectory[str]:
    # Cached, so that it is removed when this process ends.
    return tempfile.TemporaryDirectory(prefix="grape-bench-")


@cache
def krpc_load() -> Path:
    """Compiles the program that sends KRPC queries, and returns its path. Raises BenchmarkError."""
    compiler = _compiler()
    if compiler is None:
        raise BenchmarkError("a C compiler is missing")
    program = Path(_build_directory().name) / "krpcload"
    command = [compiler, "-O2", "-o", str(program), str(LOAD_SOURCE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=COMPILE_SECONDS, check=False)
    if done.returncode:
        raise BenchmarkError(f"{LOAD_SOURCE.name} could not be compiled: {done.stderr.strip()[-500:]}")
    return program
