"""Compiles the hot modules with mypyc if GRAPE_COMPILE is set; without it setup.cfg says everything.

``GRAPE_COMPILE=1 pip install .`` needs a C compiler and the headers of Python (docs/decisions/0016-compiled.md).
Without them nothing is compiled, and a line says so. mypyc, and the packages whose types it reads, are installed for
the build alone.
"""

from __future__ import annotations

import configparser
import os
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path
from tempfile import TemporaryDirectory

from setuptools import setup

# Pinned, as another version may compile the same source differently.
COMPILERS = ("mypy[mypyc]==2.4.1", "mypy-zope==1.0.17")

# What requests and datagrams pass through.
COMPILED = (
    "coalesce",
    "dht/*",
    "encoding",
    "fairshare",
    "krpc/*",
    "node/services",
    "protocol",
    "store",
    "web/answer",
    "web/api",
    "web/body",
    "web/connection",
    "web/head_cache",
    "web/parser",
    "web/request",
    "web/server",
    "web/sockets",
)
# The first has a subclass of OrderedDict: mypyc takes that for a dict, and the process would crash. The others wait for
# the system most of their time, and what uses sockets may subclass and replace parts of them.
INTERPRETED = ("dht/bounded", "krpc/icmp", "krpc/interfaces", "krpc/port", "krpc/udp")

# The commands of setuptools that compile, of which pip gives one.
COMPILING = {"bdist_wheel", "build", "build_ext", "develop", "editable_wheel", "install"}


def compiled_modules() -> list[str]:
    """Returns the paths of the modules that are compiled."""
    left_out = [*(Path("grape", f"{name}.py") for name in INTERPRETED), *Path("grape").glob("*/__init__.py")]
    found = [path for name in COMPILED for path in sorted(Path("grape").glob(f"{name}.py"))]
    return [str(path) for path in found if path not in left_out]


def needs() -> list[str]:
    """Returns what is installed for the build: the compiler, and what the grape itself needs."""
    config = configparser.ConfigParser()
    config.read("setup.cfg")
    return [*COMPILERS, *filter(None, config["options"]["install_requires"].split("\n"))]


def can_compile() -> bool:
    """Returns True if there is a C compiler, and the headers of Python."""
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC"))
    with TemporaryDirectory() as folder:
        source = Path(folder, "empty.c")
        source.write_text("#include <Python.h>\n")
        command = [*compiler, f"-I{sysconfig.get_path('include')}", "-c", source.name]
        try:
            return subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode == 0
        except OSError:
            return False


if not os.environ.get("GRAPE_COMPILE"):
    setup()
elif not can_compile():
    sys.stderr.write("grape: nothing is compiled: there is no C compiler, or no Python.h\n")
    setup()
elif COMPILING.isdisjoint(sys.argv):
    setup(setup_requires=needs())
else:
    from mypyc.build import mypycify

    setup(
        ext_modules=mypycify(
            ["--follow-imports=silent", *compiled_modules()], debug_level="0", group_name="grape.compiled"
        )
    )
