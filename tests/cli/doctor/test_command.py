"""grape.cli.doctor.command: what is printed, exit statuses, and grapes that answer oddly."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, ClassVar

import pytest

from gauntlet.machine import free_port
from grape.cli.doctor import command
from grape.cli.doctor.facts import Facts, SelfTest
from grape.cli.doctor.told import Told, told_of
from grape.cli.people import main
from tests.cli.doctor.examined import TOLD, WELL, well


class Odd(BaseHTTPRequestHandler):
    """Answers each path of a table, and any other with an unknown path's answer."""

    answers: ClassVar[dict[str, Any]] = {}

    def do_GET(self) -> None:
        body = json.dumps(self.answers.get(self.path.partition("?")[0], "ERR_REQ_NOTFOUND")).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def odd() -> Iterator[str]:
    """A server that answers from ``Odd.answers``; its URL."""
    server = HTTPServer(("127.0.0.1", 0), Odd)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """Runs the command; returns its status and what it printed on stdout, with nothing on stderr."""
    capsys.readouterr()
    code = main(["doctor", *words])
    out, errors = capsys.readouterr()
    assert errors == ""
    return code, out


def given(monkeypatch: pytest.MonkeyPatch, facts: Facts) -> None:
    monkeypatch.setattr(command, "examine", lambda settings, begins: facts)


def test_findings_are_lines_with_advice_below_and_a_sum_at_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given(monkeypatch, well(free_bytes=0, self_test=SelfTest(skipped="not now")))
    code, out = run(capsys)
    lines = out.splitlines()
    at = next(index for index, line in enumerate(lines) if line.startswith("warning  state file"))
    assert code == 0
    assert lines[at + 1].strip() == "Free space: without any puts are refused."
    assert lines[-1] == "1 warning, 1 skipped, 14 ok"


def test_failed_check_is_a_status_of_its_own_and_json_has_every_finding(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given(monkeypatch, well(told_state_problem="database or disk is full"))
    code, out = run(capsys, "--json")
    told = json.loads(out)
    assert (code, told["ok"]) == (1, False)
    (finding,) = [finding for finding in told["findings"] if finding["state"] == "failed"]
    assert list(finding) == ["name", "state", "found", "advice"]
    given(monkeypatch, WELL)
    code, out = run(capsys, "--json")
    assert (code, json.loads(out)["ok"]) == (0, True)


def test_grape_that_does_not_run_is_a_finding(capsys: pytest.CaptureFixture[str]) -> None:
    port = free_port()
    code, out = run(capsys, "-u", f"127.0.0.1:{port}", "--node", f"127.0.0.1:{port}", "--timeout", "2")
    assert code == 1
    assert f"no process listens at 127.0.0.1:{port} either" in out


@pytest.mark.parametrize("words", [["-u", "ftp://grape"], ["--node", "nowhere"], ["--timeout", "0"]])
def test_wrong_words_are_a_usage_error(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", *words]) == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "answers",
    [
        {},
        {"/status": []},
        {"/status": {"node_id": 7, "contacts": "many", "readiness": {"checks": [3]}, "limits_hit": {"a": "b"}}},
        {"/status": {"node_id": "aa" * 20, "dht_address": "x"}, "/nodes": {"nodes": [{"id": "?"}], "next": None}},
        {"/status": {"node_id": "aa" * 20, "bootstrap": [1, None]}, "/nodes": [], "/trace/lookup": {"steps": 1}},
    ],
)
def test_odd_answers_of_a_server_are_no_traceback(
    odd: str, answers: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Odd, "answers", answers)
    node = f"127.0.0.1:{free_port()}"
    for words in ([], ["a"]):
        code, out = run(capsys, *words, "-u", odd, "--node", node, "--json", "--timeout", "2")
        assert code == 1
        assert json.loads(out)["findings"]


def test_status_of_any_shape_is_read() -> None:
    assert told_of(None) == told_of({"contacts": []}) == told_of({"uptime": True, "bootstrap": "x"}) == Told()
    told = told_of({"node_id": "aa" * 20, "contacts": {"good": 1, "questionable": 1}, "limits_hit": {"overloads": 2}})
    assert (told.node_id, told.contacts, told.limits_hit) == (TOLD.node_id, 2, {"overloads": 2})
