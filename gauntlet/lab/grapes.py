"""Runs grapes on the hosts of a lab, ours and those of npm, and asks them what they know."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Sequence
from pathlib import Path
from shutil import which
from typing import Any

from gauntlet.lab.host import Answer, Host, Response
from gauntlet.machine import ROOT, until
from gauntlet.processes import START_SECONDS, complaints_in

DHT_PORT = 20_001
API_PORT = 30_001
LOOPBACK = "127.0.0.1"
IN_MEMORY = ("--state", ":memory:")
# The live tests and the benchmarks install the package.
NODE_PROGRAMS = tuple(
    ROOT / folder / "node" / "node_modules" / "grenache-grape" / "bin" / "grape.js"
    for folder in ("tests/live", "benchmarks")
)


def reason_without_node() -> str:
    """Returns why grenache-grape cannot be run on this machine; "" if it can."""
    if not which("node"):
        return "grenache-grape needs Node.js; Debian: apt install nodejs npm"
    if not any(program.is_file() for program in NODE_PROGRAMS):
        return "grenache-grape is not installed; it is once make live has run, or: cd tests/live/node && npm install"
    return ""


class LabGrape:
    """Runs a grape on a host.

    ``address`` is the one that others reach it at; ``flags`` are more flags of the command, among them --state, without
    which it keeps none. ``directory`` is its working directory, ``local`` the address that its own host calls it at.
    ``node``: it is npm's grenache-grape, not ours.
    """

    def __init__(
        self,
        host: Host,
        address: str,
        *flags: str,
        dht: int = DHT_PORT,
        api: int = API_PORT,
        directory: Path | None = None,
        local: str = LOOPBACK,
        node: bool = False,
    ) -> None:
        self.host = host
        self._local = local
        self.address = address
        self.dht = dht
        self.api = api
        self.is_node = node
        ports = ("--dp", str(dht), "--aph", str(api))
        if node:
            program = next(str(program) for program in NODE_PROGRAMS if program.is_file())
            # It demands --bn; its own address stands for none.
            nodes = () if "--bn" in flags else ("--bn", self.node)
            self.program = host.start("node", program, *ports, *nodes, *flags)
        else:
            state = () if "--state" in flags else IN_MEMORY
            self.program = host.python("grape", *ports, *state, *flags, directory=directory)

    @property
    def node(self) -> str:
        """The address that others join through: "host:port"."""
        return f"{self.address}:{self.dht}"

    def wait(self) -> None:
        """Waits until its HTTP API answers. Raises TimeoutError, and RuntimeError if the process ends before."""

        def serves() -> bool:
            if self.program.status is not None:
                raise RuntimeError(f"the grape ended: {self.program.log[-1000:]}")
            return self.call("", None).ok

        until(f"{self.node} serves", serves, START_SECONDS)

    def call(self, path: str, data: object, *, at: Host | None = None) -> Answer:
        """Makes a call from its own host over loopback, or from the host ``at`` to its address."""
        return self.calls([(path, data)], at=at)[0]

    def calls(self, calls: Sequence[tuple[str, object]], *, at: Host | None = None, lanes: int = 1) -> list[Answer]:
        """Makes calls as ``call`` does, one after another, or over so many connections at a time."""
        if at is None or at is self.host:
            return self.host.calls(self._local, self.api, calls, lanes=lanes)
        return at.calls(self.address, self.api, calls, lanes=lanes)

    def look_up(self, names: Iterable[str], *, at: Host | None = None, lanes: int = 1) -> list[Answer]:
        """Looks names up, as ``calls`` does."""
        return self.calls([("lookup", name) for name in names], at=at, lanes=lanes)

    def announce(self, name: str, port: int) -> Any:
        """Announces a service; returns how many nodes it was told to, or the error's text."""
        return self.call("announce", [name, port]).value

    def ask(self, at: Host, method: bytes, /, **arguments: object) -> Response | None:
        """Sends it a KRPC query from a host."""
        return at.ask(self._local if at is self.host else self.address, self.dht, method, **arguments)

    def id_from(self, at: Host) -> bytes:
        """Returns its node id, asked from a host; b"" if it does not answer."""
        answer = self.ask(at, b"ping")
        return b"" if answer is None else answer.node_id

    def kill(self) -> None:
        """Kills it with SIGKILL, and waits for its end."""
        self.program.signal(signal.SIGKILL)
        self.program.ended()

    def stop(self) -> None:
        """Ends it with SIGTERM, and waits for its end."""
        self.program.signal(signal.SIGTERM)
        self.program.ended()

    def complaints(self) -> list[str]:
        """Returns the errors in its log; there should be none."""
        return [] if self.is_node else complaints_in(self.program.log)
