"""Boots Debian's systemd in a container of its own, without a network, and runs commands in it.

The container is made by debootstrap once and kept for later runs; a copy of it is booted. The packages and the grape in
it are the ones of this test run, mounted read-only at PREFIX and SOURCE.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zlib import crc32

from tests.live.processes import until

REPOSITORY = Path(__file__).parents[2]
RELEASE, RELEASE_PYTHON = "bookworm", (3, 11)
PACKAGES = "systemd,systemd-sysv,dbus,procps,python3"
KEPT = Path(tempfile.gettempdir()) / f"grape-{RELEASE}-{crc32(PACKAGES.encode()):08x}"
PREFIX, SOURCE = "/opt/grape", "/opt/source"
MAKE_SECONDS, BOOT_SECONDS, COMMAND_SECONDS = 300, 60, 60

_CALL = """
import json, sys, urllib.request
url, body = sys.argv[1], sys.argv[2].encode()
with urllib.request.urlopen(urllib.request.Request(url, body), timeout=20) as reply:
    print(reply.read().decode())
"""


class Unavailable(Exception):
    """Raised where no systemd can be booted; the text says why."""


class Machine:
    """A booted container; ``pid`` is the id of its systemd outside of it."""

    def __init__(self, root: Path, pid: int) -> None:
        self.root = root
        self._pid = pid

    def run(self, *command: str, check: bool = True) -> str:
        """Runs a command in the container, and returns what it printed, stderr included."""
        inside = ["nsenter", "-t", str(self._pid), "-a", *command]
        done = subprocess.run(
            inside, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=COMMAND_SECONDS, check=False
        )
        assert not check or done.returncode == 0, f"{' '.join(command)}: status {done.returncode}\n{done.stdout}"
        return done.stdout.strip()

    def shown(self, unit: str, name: str) -> str:
        """Returns a property of a unit."""
        return self.run("systemctl", "show", "--value", "-p", name, unit)

    def wait_for(self, unit: str, name: str, value: str) -> None:
        """Waits until a property of a unit has a value. Raises TimeoutError."""
        until(f"{name} {value} of {unit}", lambda: self.shown(unit, name) == value, 40.0)

    def journal(self, unit: str) -> str:
        """Returns the messages of a unit in the journal."""
        self.run("journalctl", "--sync")
        return self.run("journalctl", "-o", "cat", "--no-pager", "-u", unit)

    def call(self, path: str, data: object, port: int = 30_001) -> Any:
        """Makes a call of the HTTP API of a grape in the container."""
        url = f"http://127.0.0.1:{port}/{path}"
        return json.loads(self.run("python3", "-c", _CALL, url, json.dumps({"data": data})))


def container() -> Path:
    """Returns the root of the container that later runs copy; makes it first. Raises Unavailable."""
    if os.geteuid():
        raise Unavailable("only root can boot a systemd in a container")
    if sys.version_info[:2] != RELEASE_PYTHON:
        raise Unavailable(
            f"the container has Python {'.'.join(map(str, RELEASE_PYTHON))}, and these packages are others'"
        )
    for tool, package in (("systemd-nspawn", "systemd-container"), ("debootstrap", "debootstrap"), ("make", "make")):
        if shutil.which(tool) is None:
            raise Unavailable(f"{tool} is missing; Debian: apt install {package}")
    if not KEPT.is_dir():
        making = Path(tempfile.mkdtemp(prefix=f"{KEPT.name}-"))
        command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", RELEASE, str(making)]
        try:
            made = subprocess.run(command, capture_output=True, text=True, timeout=MAKE_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            raise Unavailable(f"debootstrap did not end within {MAKE_SECONDS} s") from None
        if made.returncode:
            shutil.rmtree(making)
            raise Unavailable(f"debootstrap failed: {made.stdout.strip()[-300:]}")
        making.chmod(0o755)
        making.rename(KEPT)
    return KEPT


def install(root: Path) -> None:
    """Installs the units in a container for the grape at PREFIX, which ``booted`` puts there."""
    base = root / PREFIX.lstrip("/")
    (base / "bin").mkdir(parents=True)
    (base / "bin" / "python").symlink_to("/usr/bin/python3")
    (base / "pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = true\nversion = 3.11\n")
    packages = root / "usr" / "local" / "lib" / "python3.11" / "dist-packages"
    packages.mkdir(parents=True, exist_ok=True)
    (packages / "grape.pth").write_text(f"{SOURCE}\n")
    twistd = base / "bin" / "twistd"
    twistd.write_text(f"#!{PREFIX}/bin/python\nfrom twisted.scripts.twistd import run\nrun()\n")
    twistd.chmod(0o755)
    command = ["make", "-s", "install-systemd", f"DESTDIR={root}", f"PREFIX={PREFIX}"]
    subprocess.run(command, cwd=REPOSITORY, check=True)


@contextmanager
def booted(root: Path) -> Iterator[Machine]:
    """Boots the container in ``root``, and shuts it down at the end. Raises Unavailable."""
    site = f"{PREFIX}/lib/python3.11/site-packages"
    mounts = [f"--bind-ro={sysconfig.get_path('purelib')}:{site}", f"--bind-ro={REPOSITORY}:{SOURCE}"]
    command = ["systemd-nspawn", "-q", "-b", "-D", str(root), "-M", "grape-test", "--console=pipe", *mounts,
               "--register=no", "--keep-unit", "--private-network"]  # fmt: skip
    log = root.with_suffix(".log")
    with log.open("w") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    try:
        try:
            until("the boot", lambda: process.poll() is not None or _init_of(process.pid), BOOT_SECONDS)
            machine = Machine(root, _init_of(process.pid))
            states = ("running", "degraded")
            until(
                "the end of the boot",
                lambda: (
                    process.poll() is not None or machine.run("systemctl", "is-system-running", check=False) in states
                ),
                BOOT_SECONDS,
            )
        except TimeoutError as error:
            raise Unavailable(f"systemd does not boot in a container here: {error}; {log.read_text()[-300:]}") from None
        if process.poll() is not None:
            raise Unavailable(f"systemd does not boot in a container here: {log.read_text()[-300:]}")
        yield machine
        machine.run("systemctl", "poweroff", check=False)
        process.wait(BOOT_SECONDS)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _init_of(pid: int) -> int:
    """Returns the id of the systemd that is a child, or a child's child, of a process; 0 while there is none."""
    children = [int(word) for word in _read(f"/proc/{pid}/task/{pid}/children").split()]
    for child in children:
        if _read(f"/proc/{child}/comm").strip() == "systemd":
            return child
        if found := _init_of(child):
            return found
    return 0


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
