"""Runs each command as a process against our grapes and against Node grapes: what it prints, JSON, exit statuses."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest

from grape.dht.compact import decode_nodes
from grape.resource import routes
from tests.live.conftest import Start, StartGrape, StartReference, StartRing
from tests.live.krpc import Peer
from tests.live.processes import COMMANDS, Api, Process, until

SECONDS = 30.0
NAME = "rest:commands"
TEXT = "words, ö"
#: The calls that a Node grape does not have.
OURS_ALONE = ("status", "nodes", "services")
WITHDRAWS = "/unannounce" in {route.path for route in routes()}


@attrs.frozen
class Shell:
    """Runs commands that ask ``urls``; ``is_ours`` is False where they name a Node grape."""

    apis: Sequence[Api]
    is_ours: bool

    @property
    def urls(self) -> str:
        return ",".join(api.url for api in self.apis)

    def run(self, *words: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        command = [*COMMANDS["grape"], *words, *(() if words[0] in ("ping", "keygen") else ("--url", self.urls))]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=SECONDS, check=False)

    def printed(self, *words: str, stdin: str | None = None, status: int = 0) -> str:
        """Returns what a command prints that ends well, and says nothing on stderr."""
        ran = self.run(*words, stdin=stdin)
        assert (ran.returncode, ran.stderr) == (status, "")
        return ran.stdout

    def told(self, *words: str, status: int = 0) -> Any:
        """Returns the JSON that a command prints."""
        return json.loads(self.printed(*words, "--json", status=status))

    def lacks(self, *words: str) -> None:
        """Checks that the grape does not have the call of a command, and that this is said."""
        ran = self.run(*words)
        assert (ran.returncode, ran.stdout) == (3, "")
        assert ran.stderr == f"grape: the grape has no {words[0]}: it is a Node grape, or an older one\n"


@pytest.fixture(params=["ours", "reference", "mixed"])
def shell(request: pytest.FixtureRequest, grape_process: StartGrape, grape_ring: StartRing) -> Shell:
    """Returns a shell with a ring of two, of which one is asked: ours, or a Node grape with another one or ours."""
    if request.param == "ours":
        return Shell([grape.api for grape in grape_ring(2)], is_ours=True)
    # Only here: it may install packages for Node.js.
    start: StartReference = request.getfixturevalue("reference_grapes")
    if request.param == "reference":
        return Shell(start(2, [])[:1], is_ours=False)
    ours = grape_process()
    return Shell(start(1, [ours.api.node]), is_ours=False)


def test_services_are_announced_and_found(shell: Shell) -> None:
    assert shell.printed("announce", NAME, "1337") == "announced: 1 node has it\n"
    assert shell.printed("lookup", NAME) == "127.0.0.1:1337\n"
    assert shell.told("announce", NAME, "1338") == {"name": NAME, "port": 1338, "nodes": 1}
    assert sorted(shell.told("lookup", NAME)) == ["127.0.0.1:1337", "127.0.0.1:1338"]
    assert shell.told("lookup", "rest:none", status=1) == []


def test_values_are_put_and_got(shell: Shell, tmp_path: Path) -> None:
    hash = shell.printed("put", "-", stdin=f"{TEXT}\n").strip()
    assert shell.printed("get", hash) == f"{TEXT}\n"
    assert shell.told("get", hash)["value"] == TEXT
    assert shell.told("put", TEXT) == {"hash": hash, "key": None}
    longest = "x" * 999
    assert shell.printed("get", shell.printed("put", longest).strip()) == f"{longest}\n"
    assert shell.told("get", "5a" * 20, status=1) is None


def test_signed_values_are_put_replaced_and_got(shell: Shell, tmp_path: Path) -> None:
    file = str(tmp_path / "key.pem")
    key = shell.told("keygen", file)["key"]
    for salt in ((), ("--salt", "s")):
        hash = shell.printed("put", "one", "--key", file, "--seq", "7", *salt).strip()
        assert shell.printed("put", TEXT, "--key", file, *salt) == f"{hash}\n"
        assert shell.printed("get", "--key", key, *salt) == f"{TEXT}\n"
        told = shell.told("get", hash, *salt)
        assert (told["value"], told["key"], told["seq"], told["is_verified"]) == (TEXT, key, 8, True)
        assert shell.run("put", "old", "--key", file, "--seq", "1", *salt).returncode == 3
        assert shell.run("put", "other", "--key", file, "--cas", "5", *salt).returncode == 3
        assert shell.printed("get", "--key", key, *salt) == f"{TEXT}\n"


def test_calls_that_a_node_grape_lacks_are_told_by_ours_and_refused_by_it(shell: Shell) -> None:
    assert shell.run("announce", NAME, "1337").returncode == 0
    for word in OURS_ALONE:
        if shell.is_ours:
            assert shell.told(word)
            assert shell.printed(word)
        else:
            shell.lacks(word)


def test_unannounced_service_is_found_no_longer(shell: Shell) -> None:
    assert shell.run("announce", NAME, "1337").returncode == 0
    if shell.is_ours and WITHDRAWS:
        assert shell.printed("unannounce", NAME, "1337") == "withdrawn: 1 other node confirmed it\n"
        assert shell.told("lookup", NAME, status=1) == []
    else:
        shell.lacks("unannounce", NAME, "1337")


def test_lookup_is_traced_by_ours_and_made_by_a_node_grape(shell: Shell) -> None:
    assert shell.run("announce", NAME, "1337").returncode == 0
    ran = shell.run("lookup", NAME, "--trace")
    assert ran.returncode == 0
    assert "127.0.0.1:1337" in ran.stdout
    assert ("it took" in ran.stdout) is shell.is_ours
    ran = shell.run("lookup", NAME, "--trace", "--json")
    assert ran.returncode == (0 if shell.is_ours else 3)
    if shell.is_ours:
        trace = json.loads(ran.stdout)
        assert trace["peers"] == ["127.0.0.1:1337"]
        assert [step["address"] for step in trace["steps"]] == [shell.apis[1].node]


def listed(peer: Peer, api: Api) -> set[int]:
    """Returns the UDP ports of a grape's contacts."""
    answer = peer.query(api.dht_port, b"find_node", target=bytes(20))
    return {port for _, (_, port) in decode_nodes(answer[b"r"][b"nodes"])}


def test_ping_is_answered(shell: Shell) -> None:
    # A Node grape lists whoever asks with an id: the peer of this test, too, but not the command.
    with Peer() as peer:
        before = listed(peer, shell.apis[0]) | {peer.socket.getsockname()[1]}
        (told,) = shell.told("ping", shell.apis[0].node)
        assert listed(peer, shell.apis[0]) <= before
    assert (told["answered"], told["address"]) == (True, shell.apis[0].node)
    assert len(told["id"]) == 40
    # A Node grape does not name its software.
    assert told["software"] == ("a grape of this kind" if shell.is_ours else None)


@pytest.fixture
def kept(start: Start) -> Callable[..., Process]:
    """Starts ``grape announce --keep``, and waits until the service is announced."""

    def begin(shell: Shell, *words: str) -> Process:
        process = start([*COMMANDS["grape"], "announce", NAME, "1337", "--keep", "--url", shell.urls, *words])
        process.wait_for("the announce", lambda: "is announced at port 1337" in process.stderr)
        return process

    return begin


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_kept_announce_ends_at_a_signal(shell: Shell, kept: Callable[..., Process], number: signal.Signals) -> None:
    process = kept(shell)
    assert shell.told("lookup", NAME) == ["127.0.0.1:1337"]
    process.signal(number)
    assert process.ended() == 0
    assert process.stdout == ""
    assert process.stderr.count("\n") == 2


def test_kept_announce_is_back_after_a_restart_of_its_grape(
    grape_process: StartGrape, kept: Callable[..., Process]
) -> None:
    first = grape_process("--state", ":memory:")
    shell = Shell([first.api], is_ours=True)
    process = kept(shell, "--ttl", "3")
    assert first.end() == 0
    process.wait_for("the failure", lambda: "cannot be announced, and is tried again" in process.stderr)
    grape_process("--state", ":memory:", api=first.api)
    until("the announce", lambda: first.call("lookup", NAME) == ["127.0.0.1:1337"])
    process.wait_for("its report", lambda: "is announced again" in process.stderr)
    process.signal(signal.SIGTERM)
    assert process.ended() == 0


def test_second_grape_of_the_list_answers_for_one_that_is_dead(grape_process: StartGrape) -> None:
    first, second = grape_process(), grape_process()
    shell = Shell([first.api, second.api], is_ours=True)
    assert first.end() == 0
    assert shell.printed("announce", NAME, "1337") == "announced: 1 node has it\n"
    assert shell.printed("lookup", NAME) == "127.0.0.1:1337\n"
    assert second.end() == 0
    ran = shell.run("lookup", NAME)
    assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (4, "", 1)
    assert all(api.url in ran.stderr for api in shell.apis)
