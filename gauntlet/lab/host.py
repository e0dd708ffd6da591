"""Controls one host of a lab: its interfaces, its processes, and the calls and queries that leave from it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from gauntlet.machine import END_SECONDS, ROOT
from gauntlet.wire import Address, Message, compact_nodes, decoded, query

NODE_ID = b"a host of the lab..."
ANSWER_SECONDS = 2.0


class LabError(Exception):
    """Raised when a host cannot do what it is asked."""


@attrs.frozen
class Answer:
    """Holds the answer to an HTTP call, which took ``seconds``; ``value`` is the error's text unless ``ok``."""

    seconds: float
    ok: bool
    value: Any


@attrs.frozen
class Response:
    """Holds a KRPC response or error, and the address that it came from."""

    message: Message
    source: Address

    @property
    def values(self) -> dict[bytes, Any]:
        """The members of the response, its "r"; none of an error."""
        found = self.message.get(b"r")
        return found if isinstance(found, dict) else {}

    @property
    def node_id(self) -> bytes:
        """The node id of whoever answered; b"" of an error."""
        return bytes(self.values.get(b"id", b""))

    @property
    def nodes(self) -> set[tuple[bytes, Address]]:
        """The nodes that it names, as (id, address)."""
        return compact_nodes(self.values.get(b"nodes", b""))

    @property
    def peers(self) -> set[str]:
        """The peers that it names, as "host:port"."""
        return {
            f"{'.'.join(map(str, peer[:4]))}:{int.from_bytes(peer[4:], 'big')}"
            for peer in self.values.get(b"values", [])
        }


class Program:
    """Controls a process on a host; ``pid`` is its id."""

    def __init__(self, host: Host, pid: int, log: Path) -> None:
        self.host = host
        self.pid = pid
        self._log = log

    @property
    def log(self) -> str:
        """All that it wrote to stdout and stderr."""
        return self._log.read_text(errors="replace")

    @property
    def status(self) -> int | None:
        """The exit status; None while it runs."""
        return self.ended(0.0)

    def signal(self, number: int) -> None:
        """Sends it a signal."""
        self.host.request("signal", self.pid, int(number))

    def ended(self, seconds: float = END_SECONDS) -> int | None:
        """Waits for its end; returns the exit status, or None if it still runs after so many seconds."""
        status = self.host.request("status", self.pid, seconds)
        return None if status is None else int(status)


class Host:
    """Starts namespaces with an agent in them, and controls both; ended with ``close``.

    ``directory`` is for its files; it is removed at the end.
    """

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.directory = directory
        self.interfaces = 0
        self._programs = 0
        self._lock = threading.Lock()
        directory.mkdir()
        self._errors = directory / "agent.log"
        with self._errors.open("wb") as errors:
            # A session of its own: what a terminal sends at Ctrl-C goes to the gauntlet alone, which then ends the lab.
            self._agent = subprocess.Popen(
                ["unshare", "--net", "--mount", sys.executable, "-m", "gauntlet.lab.agent", str(directory)],
                cwd=ROOT,
                env=_environment(directory),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
        self.pid = self._agent.pid
        # Until the agent answers, the process may still be in the namespaces of this machine.
        try:
            self.ip("link set lo up")
        except BaseException:
            self.close()
            raise

    def request(self, method: str, *arguments: object) -> Any:
        """Sends the agent a request, and returns its answer. Raises LabError."""
        with self._lock:
            assert self._agent.stdin is not None
            assert self._agent.stdout is not None
            try:
                self._agent.stdin.write(json.dumps([method, arguments]).encode() + b"\n")
                self._agent.stdin.flush()
                line = self._agent.stdout.readline()
            except (OSError, ValueError) as error:
                raise LabError(f"the agent of {self.name} has ended") from error
        if not line:
            raise LabError(f"the agent of {self.name} has ended: {self._errors.read_text()[-2000:]}")
        answer = json.loads(line)
        if "error" in answer:
            raise LabError(f"{self.name}: {method}: {answer['error']}")
        return answer["value"]

    def run(self, *command: str, text: str = "") -> str:
        """Runs a command on the host; returns its stdout. Raises LabError with its stderr if it fails."""
        status, out, errors = self.request("run", command, text)
        if status:
            raise LabError(f"{self.name}: {' '.join(command)} {text}: {errors.strip()}")
        return str(out)

    def ip(self, *lines: str) -> None:
        """Runs commands of iproute2, each without its first word. Raises LabError."""
        self.run("ip", "-batch", "-", text="\n".join(lines) + "\n")

    def set_kernel(self, name: str, value: str) -> None:
        """Sets a parameter of the network below /proc/sys/net, for instance "ipv4/ip_forward"."""
        self.run("tee", f"/proc/sys/net/{name}", text=value)

    def set_names(self, *lines: str) -> None:
        """Replaces /etc/hosts, as this host sees it; each line has an address and its names."""
        file = self.directory / "hosts"
        if not file.exists():
            file.write_text("")
            self.run("mount", "--bind", str(file), "/etc/hosts")
        file.write_text("\n".join(("127.0.0.1 localhost", *lines)) + "\n")

    def start(self, *command: str, directory: Path | None = None) -> Program:
        """Starts a process, in ``directory`` or in the host's own."""
        self._programs += 1
        place = self.directory if directory is None else directory
        log = self.directory / f"{self._programs}.log"
        pid = self.request("spawn", command, _environment(place), str(place), str(log))
        return Program(self, int(pid), log)

    def python(self, module: str, *arguments: str, directory: Path | None = None) -> Program:
        """Starts a module of this checkout with this Python."""
        return self.start(sys.executable, "-m", module, *arguments, directory=directory)

    def call(self, address: str, port: int, path: str, data: object) -> Answer:
        """Makes an HTTP call from this host."""
        return self.calls(address, port, [(path, data)])[0]

    def calls(self, address: str, port: int, calls: Sequence[tuple[str, object]], *, lanes: int = 1) -> list[Answer]:
        """Makes HTTP calls from this host, one after another over a kept connection, or over several at a time."""
        if lanes == 1:
            answers = self.request("calls", address, port, calls)
        else:
            answers = self.request("calls_at_once", address, port, calls, lanes)
        return [Answer(*answer) for answer in answers]

    def ask(
        self, address: str, port: int, method: bytes, seconds: float = ANSWER_SECONDS, /, **arguments: object
    ) -> Response | None:
        """Sends a KRPC query from this host; returns the answer wherever it came from, None if none came in time."""
        datagram = query(method, b"lab1", id=NODE_ID, **arguments)
        answer = self.request("ask", address, port, datagram.hex(), seconds)
        if answer is None:
            return None
        message = decoded(bytes.fromhex(answer[0]))
        return None if message is None else Response(message, (answer[1], answer[2]))

    def close(self) -> None:
        """Ends the agent, and with it all processes of the host; the namespaces go with them."""
        assert self._agent.stdin is not None
        self._agent.stdin.close()
        try:
            self._agent.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            # Its processes get SIGKILL from the kernel as their parent ends.
            self._agent.kill()
            self._agent.wait()
        if self._agent.stdout is not None:
            self._agent.stdout.close()


def _environment(directory: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "DEBUG"}
    return kept | {"TMPDIR": str(directory), "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT)}
