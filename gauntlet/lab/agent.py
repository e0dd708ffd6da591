"""Runs in the namespaces of one host and does what the lab asks: ``python -m gauntlet.lab.agent DIRECTORY``.

Each line of stdin is a request, ``[method, arguments]`` in JSON, and each line of stdout an answer: ``{"value": ...}``
or ``{"error": text}``. The agent ends when stdin closes, which it does however the lab ends, SIGKILL included. All
processes that it started are killed then, and DIRECTORY is removed. The kernel removes the namespaces with their last
process.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from gauntlet.client import Client, ClientError
from gauntlet.wire import MAX_DATAGRAM_BYTES, decoded

PR_SET_PDEATHSIG = 1
# Node closes idle connections after 5 s, our grapes after 30 s.
IDLE_SECONDS = 3.0
_LIBC = ctypes.CDLL(None)


class Agent:
    """Starts processes, makes HTTP calls and sends KRPC queries; each public method answers one kind of request."""

    def __init__(self) -> None:
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        # Connections that are kept, each with the time when it was used last.
        self._clients: dict[tuple[str, int], tuple[Client, float]] = {}

    def run(self, command: Sequence[str], text: str) -> list[Any]:
        """Runs a command with ``text`` as its stdin; returns its status, stdout and stderr."""
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
        return [done.returncode, done.stdout, done.stderr]

    def spawn(self, command: Sequence[str], environment: Mapping[str, str], directory: str, log: str) -> int:
        """Starts a process that ends with the agent at the latest; ``log`` gets its output. Returns its id."""
        with open(log, "wb") as out:
            process = subprocess.Popen(
                command,
                cwd=directory,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                preexec_fn=_end_with_parent,
            )
        self._processes[process.pid] = process
        return process.pid

    def signal(self, pid: int, number: int) -> None:
        """Sends a signal to a process that the agent started, if it still runs."""
        self._processes[pid].send_signal(number)

    def status(self, pid: int, seconds: float = 0.0) -> int | None:
        """Returns the exit status of a process, for whose end it waits so long; None while the process runs."""
        try:
            return self._processes[pid].wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def calls(self, host: str, port: int, calls: Sequence[tuple[str, object]]) -> list[Any]:
        """Makes HTTP calls one after another; returns seconds, success and answer (or the error's text) of each."""
        return [self._call(host, port, path, data) for path, data in calls]

    def calls_at_once(self, host: str, port: int, calls: Sequence[tuple[str, object]], lanes: int) -> list[Any]:
        """Makes HTTP calls as ``calls`` does, over so many connections at a time, which are closed at the end."""
        left = iter(enumerate(calls))
        answers: list[Any] = [None] * len(calls)

        def lane() -> None:
            agent = Agent()
            # Taking the next call is atomic under the interpreter's lock.
            for number, (path, data) in left:
                answers[number] = agent._call(host, port, path, data)
            agent._drop(host, port)

        threads = [threading.Thread(target=lane) for _ in range(lanes)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return answers

    def ask(self, host: str, port: int, query: str, seconds: float) -> list[Any] | None:
        """Sends a KRPC query, in hex; returns the answer in hex and its source's host and port, None if none came."""
        datagram = bytes.fromhex(query)
        transaction = (decoded(datagram) or {}).get(b"t")
        with socket.socket(type=socket.SOCK_DGRAM) as sender:
            sender.sendto(datagram, (host, port))
            end = time.monotonic() + seconds
            while select.select([sender], [], [], max(end - time.monotonic(), 0.0))[0]:
                received, source = sender.recvfrom(MAX_DATAGRAM_BYTES)
                message = decoded(received)
                if message is not None and message.get(b"t") == transaction and message.get(b"y") != b"q":
                    return [received.hex(), *source]
        return None

    def close(self) -> None:
        """Kills all processes."""
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.wait()

    def _call(self, host: str, port: int, path: str, data: object) -> list[Any]:
        began = time.perf_counter()
        try:
            client = self._client(host, port)
            began = time.perf_counter()
            answer = client.call(path, data)
            ended = time.perf_counter()
        except (OSError, ClientError) as error:
            self._drop(host, port)
            return [time.perf_counter() - began, False, str(error) or repr(error)]
        self._clients[host, port] = client, ended
        return [ended - began, True, answer]

    def _client(self, host: str, port: int) -> Client:
        """Returns the connection that is kept, or a new one if there is none or the grape is about to close it."""
        kept = self._clients.get((host, port))
        if kept is not None and time.perf_counter() - kept[1] < IDLE_SECONDS:
            return kept[0]
        self._drop(host, port)
        client = Client(port, host=host)
        self._clients[host, port] = client, time.perf_counter()
        return client

    def _drop(self, host: str, port: int) -> None:
        kept = self._clients.pop((host, port), None)
        if kept is not None:
            kept[0].close()


def _end_with_parent() -> None:
    _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def serve(agent: Agent) -> None:
    """Answers requests until stdin closes."""
    for line in sys.stdin:
        method, arguments = json.loads(line)
        try:
            answer = {"value": getattr(agent, method)(*arguments)}
        except Exception as error:
            answer = {"error": repr(error)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def main(directory: str) -> None:
    """Serves, and cleans up."""
    gc.freeze()
    agent = Agent()
    try:
        with suppress(BrokenPipeError):
            serve(agent)
    finally:
        agent.close()
        shutil.rmtree(directory, ignore_errors=True)
        # The last agent removes the lab's own folder, which is empty then.
        with suppress(OSError):
            os.rmdir(os.path.dirname(directory))
        # A lab that was killed reads no more; what is buffered for it is not to be written at exit.
        os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
