"""Measures the HTTP API with wrk, which sends requests to the first of three grapes on loopback."""

from __future__ import annotations

import json
import resource
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import attrs

from benchmarks.figures import REFERENCE, BenchmarkError, Cost, Figure, Sample
from benchmarks.processes import Process, cost_of, ring, run_json
from benchmarks.run import Group, Run
from gauntlet.client import Client
from gauntlet.machine import HOST, Ports

GRAPES = 3
CONNECTIONS = 32
LOOKUP_NAMES = 1_000
ANNOUNCE_NAMES = 100
FIRST_PORT = 10_000
ANNOUNCES = 3
VALUE = "an item that is held, of a usual length: " + "0123456789" * 6
MORE_SECONDS = 15.0

SCRIPT = """
local bodies = {
%s
}
local requests, number = {}, 0
init = function()
  for i, body in ipairs(bodies) do
    requests[i] = wrk.format("POST", "%s", {["Content-Type"] = "application/json"}, body)
  end
end
request = function()
  number = number %% #requests + 1
  return requests[number]
end
done = function(summary, latency)
  local errors = summary.errors
  io.write(string.format('\\n{"requests": %%d, "microseconds": %%d, "p50": %%d, "p99": %%d, "bad": %%d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"""


@attrs.frozen
class Work:
    """Describes a load: a call, the data of its requests in turn, and the number of connections."""

    call: str
    data: Sequence[Any]
    connections: int = CONNECTIONS

    @property
    def bodies(self) -> list[str]:
        """The requests' bodies, as the Node link sends them."""
        return [json.dumps({"rid": f"bench-{n}", "data": data}) for n, data in enumerate(self.data)]

    @property
    def script(self) -> str:
        """The Lua script for wrk. The JSON strings that occur here are valid in Lua."""
        return SCRIPT % (",\n".join(json.dumps(body) for body in self.bodies), f"/{self.call}")


def names(number: int) -> list[str]:
    """Returns the names that are looked up."""
    return [f"bench:http:{n}" for n in range(number)]


def works(item: str) -> dict[str, Work]:
    """Returns the load of each measure by its name. ``item`` is the hash of an item that the grape stores."""
    lookups = names(LOOKUP_NAMES)
    announces = [[f"bench:announce:{n}", FIRST_PORT + n] for n in range(ANNOUNCE_NAMES)]
    return {
        "http-lookup": Work("lookup", lookups),
        "http-lookup-one": Work("lookup", lookups[:1]),
        "http-announce": Work("announce", announces),
        "http-get": Work("get", [item]),
        "latency": Work("lookup", lookups, 1),
    }


def prepare(ports: Sequence[Ports]) -> str:
    """Announces the names through the second grape, puts an item through the first, and returns its hash."""
    with Client(ports[1].api, seconds=10.0) as other:
        for n, name in enumerate(names(LOOKUP_NAMES)):
            # Repeated, because an announce on a busy machine may not wait for a grape that answers late.
            if all(other.call("announce", [name, FIRST_PORT + n]) != GRAPES - 1 for _ in range(ANNOUNCES)):
                raise BenchmarkError(f"{ANNOUNCES} announces of {name} did not reach the two other grapes")
    with Client(ports[0].api, seconds=10.0) as first:
        item = first.call("put", {"v": VALUE})
    if not isinstance(item, str) or len(item) != 40:
        raise BenchmarkError(f"put answered {item!r}")
    return item


def check(port: int, work: Work) -> None:
    """Checks the answers to the first and the last request. Raises BenchmarkError if one is wrong."""
    with Client(port, seconds=10.0) as client:
        for index in {0, len(work.data) - 1}:
            answer = client.call(work.call, work.data[index])
            if not is_right(work.call, index, answer):
                raise BenchmarkError(f"{work.call} {work.data[index]!r} answered {answer!r}")


def is_right(call: str, index: int, answer: Any) -> bool:
    """Returns True if a call's answer is what was announced or put."""
    if call == "lookup":
        return bool(answer == [f"{HOST}:{FIRST_PORT + index}"])
    if call == "announce":
        return bool(answer == GRAPES - 1)
    return isinstance(answer, dict) and answer.get("v") == VALUE


def load(port: int, work: Work, seconds: float) -> dict[str, float]:
    """Runs wrk for so many seconds and returns its figures. Raises BenchmarkError if any answer is an error."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua", prefix="grape-bench-") as script:
        script.write(work.script)
        script.flush()
        # wrk takes only whole seconds.
        time = f"{max(round(seconds), 1)}s"
        url = f"http://{HOST}:{port}"
        command = ["wrk", "-t1", f"-c{work.connections}", f"-d{time}", "-s", str(Path(script.name)), url]
        result = run_json(command, seconds + MORE_SECONDS)
    if result["bad"] or not result["requests"]:
        raise BenchmarkError(f"{work.call}: {result['bad']} of {result['requests']} requests failed")
    return {
        "rate": result["requests"] / result["microseconds"] * 1e6,
        "http-p50": result["p50"] / 1000,
        "http-p99": result["p99"] / 1000,
    }


def _children_seconds() -> float:
    """Returns the processor time of child processes that have ended, which is wrk's while the grapes run."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(run: Run, sides: Sequence[str], measures: frozenset[str]) -> Iterator[Sample]:
    """Measures one round: all rings run, and are loaded in turn."""
    with ExitStack() as stack:
        rings = {side: stack.enter_context(ring(side, GRAPES, run.build(side))) for side in sides}
        todo = {}
        for side in sides:
            run.say(f"{side}: announces {LOOKUP_NAMES:,} names")
            todo[side] = works(prepare([ports for _, ports in rings[side]]))
        for name in ("http-lookup", "http-lookup-one", "http-announce", "http-get", "latency"):
            wanted = ("http-p50", "http-p99") if name == "latency" else (name,)
            if not measures.intersection(wanted):
                continue
            for side in sides:
                run.say(f"{side}: {name}")
                process, ports = rings[side][0]
                result, cost = _measured(process, ports.api, todo[side][name], run, side)
                for key in wanted:
                    value = result["rate" if key == name else key]
                    yield Sample(key, side, value, cost if key == name else None)


def _measured(process: Process, port: int, work: Work, run: Run, side: str) -> tuple[dict[str, float], Cost]:
    """Measures one load, and what a request of it costs the grape that is asked."""
    check(port, work)
    load(port, work, run.warm_seconds)
    before, spent = process.cpu_seconds(), _children_seconds()
    results: list[dict[str, float]] = []

    def measured() -> float:
        results.append(load(port, work, run.seconds))
        return results[-1]["rate"]

    cost = cost_of(process, measured, max(round(run.seconds), 1))
    share = (_children_seconds() - spent) / max(process.cpu_seconds() - before, 1e-9)
    run.say(f"{side}: the load took {share:.0%} of the first grape's time")
    check(port, work)
    return results[0], cost


def _rate(name: str, what: str, at_least: float, compiled: float, aim: float | None = None) -> Figure:
    return Figure(name, what, name, "requests/s", REFERENCE, at_least=at_least, aim=aim, compiled_at_least=compiled)


def _time(name: str, what: str, at_least: float, compiled: float, aim: float) -> Figure:
    return Figure(name, what, name, "ms", REFERENCE, True, at_least, aim, compiled)


GROUP = Group(
    (
        _rate("http-lookup", "POST /lookup, 1,000 names, 32 connections", 1.6, 2.0, 2.5),
        _rate("http-lookup-one", "POST /lookup, one name, 32 connections", 1.1, 1.15),
        _rate("http-announce", "POST /announce, 100 names, 32 connections", 1.25, 1.6, 2.0),
        _rate("http-get", "POST /get of an item held, 32 connections", 1.5, 1.6),
        _time("http-p50", "POST /lookup, 1 connection: p50", 0.8, 0.65, 0.5),
        _time("http-p99", "POST /lookup, 1 connection: p99", 0.8, 0.8, 0.6),
    ),
    measure,
    tools=("wrk",),
)
