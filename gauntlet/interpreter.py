"""Describes the Python that runs it, and the grape that it imports: ``python -m gauntlet.interpreter`` prints JSON.

The benchmarks run it with each Python that they measure, because the build of Python decides about a grape's speed.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
import sysconfig
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec
from pathlib import Path

PURE = "pure"
COMPILED = "compiled"
# Distributions put Python there. They build it with profiles, as Debian does, and leave no trace of that.
SYSTEM_PREFIX = "/usr"
# A compiled module lies beside its source.
SOURCE = ".py"


def optimisation(prefix: str, arguments: str, flags: str) -> str:
    """Tells how a Python was optimised, from its prefix, the arguments of configure, and the flags of the compiler.

    Python is quickest when it was built with profiles. Arguments or flags tell so, but not those of distributions.
    """
    words = [*arguments.replace("'", " ").split(), *flags.split()]
    levels = [word for word in words if word in ("-O0", "-O1", "-Og", "-Os", "-O2", "-O3", "-Ofast")]
    linked = ", -flto" if any(word.startswith(("-flto", "--with-lto")) for word in words) else ""
    level = levels[-1] if levels else "no -O"
    if "--enable-optimizations" in words or "-fprofile-use" in words:
        return f"profile-guided, {level}{linked}"
    if prefix == SYSTEM_PREFIX:
        return f"built by the distribution, {level}{linked}"
    return f"NOT profile-guided, {level}{linked}"


def package_directory() -> Path | None:
    """Returns the directory of the package ``grape`` that would be imported; None if there is none."""
    spec = find_spec("grape")
    return Path(spec.origin).parent if spec is not None and spec.origin else None


def compiled_modules(directory: Path) -> int:
    """Counts the modules of a package that are there both as source and compiled."""
    return sum(
        path.name.endswith(suffix) and path.with_name(path.name.removesuffix(suffix) + SOURCE).is_file()
        for suffix in EXTENSION_SUFFIXES
        if suffix != ".so"
        for path in directory.rglob(f"*{suffix}")
    )


def source_hash(directory: Path) -> str:
    """Returns a short hash of all modules' source, by which two installations of one package are told apart."""
    found = hashlib.sha1(usedforsecurity=False)
    for path in sorted(directory.rglob(f"*{SOURCE}")):
        found.update(str(path.relative_to(directory)).encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()[:10]


def describe() -> dict[str, object]:
    """Returns the description: strings, and the number of compiled modules."""
    variables = [sysconfig.get_config_var(name) or "" for name in ("CONFIG_ARGS", "PY_CFLAGS", "PY_CORE_CFLAGS")]
    directory = package_directory()
    compiled = compiled_modules(directory) if directory else 0
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "executable": sys.executable,
        "compiler": platform.python_compiler(),
        "optimisation": optimisation(sys.base_prefix, variables[0], " ".join(variables[1:])),
        "debug": hasattr(sys, "gettotalrefcount"),
        "package": str(directory) if directory else "",
        "build": COMPILED if compiled else PURE,
        "compiled_modules": compiled,
        "source": source_hash(directory) if directory else "",
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(describe()) + "\n")
