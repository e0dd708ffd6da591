"""Tests grapes against hostile nodes: fake node ids, floods of announces and of garbage, and amplification."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

from bencode2 import bencode

from gauntlet.client import Client
from gauntlet.processes import GrapeProcess, complaints, ring
from gauntlet.row import Finding, Row, Run, judge, ms, percentile
from gauntlet.senders import sending
from gauntlet.wire import Address, Peer, decoded

FAKE_IDS = 5_000
FAKE_PEERS = 9_000
LOOKUPS = 200
P99_SECONDS = 0.05
MAX_DATAGRAM_BYTES = 1_400
MAX_AMPLIFICATION = 15.0
GARBAGE_A_SECOND = 20_000
# Ports of one host that announce a name, and the rate of queries for it after that.
ANNOUNCING_PORTS = 2_000
QUERIES_A_SECOND = 2_000
ATTACKER = "127.0.0.2"
CHECKING_SECONDS = 2.5


def poisoning(run: Run) -> Finding:
    """Claims thousands of node ids from one address, first without answering pings, then answering each."""
    with ring(3) as grapes:
        victim = grapes[0]
        honest = {("127.0.0.1", grape.ports.dht) for grape in grapes}
        entries: dict[str, int] = {}
        for kind in ("silent", "answering"):
            with Peer() as attacker, Peer() as asking:
                ids = [random.randbytes(20) for _ in range(FAKE_IDS)]
                for number, node_id in enumerate(ids):
                    attacker.node_id = node_id
                    attacker.send(victim.ports.dht, attacker.packet(b"ping"))
                    if kind == "answering" or number % 50 == 0:
                        _answer_pings(attacker, answer=kind == "answering")
                most = len(_strangers(asking, victim, ids, honest))
                end = time.monotonic() + CHECKING_SECONDS
                while time.monotonic() < end:
                    _answer_pings(attacker, answer=kind == "answering", seconds=0.1)
                entries[kind] = max(most, len(_strangers(asking, victim, ids, honest)))
        bad = complaints(grapes)
    figures = {"ids": FAKE_IDS, "entries if silent": entries["silent"], "if answering": entries["answering"]}
    goals = {"at most one entry": max(entries.values()) <= 1, "no error logged": not bad}
    return judge({**figures, "errors logged": len(bad)}, goals)


def _answer_pings(peer: Peer, *, answer: bool, seconds: float = 0.0) -> None:
    """Receives what has come, and with ``answer`` answers the queries in the name of the id claimed last."""
    while (came := peer.receive(seconds)) is not None:
        message = decoded(came[0])
        if answer and message is not None and message.get(b"y") == b"q":
            reply = {b"t": message[b"t"], b"y": b"r", b"r": {b"id": peer.node_id}}
            peer.send(came[1][1], bencode(reply))


def _strangers(
    peer: Peer, grape: GrapeProcess, ids: Sequence[bytes], honest: set[Address]
) -> set[tuple[bytes, Address]]:
    """Returns the entries of a routing table that are not grapes, as far as many find_node queries show them."""
    targets = [*random.sample(list(ids), 200), *ids[-50:], *(random.randbytes(20) for _ in range(100))]
    found = set()
    for target in targets:
        found |= {entry for entry in peer.nodes(grape.ports.dht, target) if entry[1] not in honest}
    return found


def drowning(run: Run) -> Finding:
    """Announces thousands of fake peers of a name from one address, and looks up the one honest peer."""
    name, honest = "rest:drowned", "127.0.0.1:4711"
    with ring(3) as grapes, Peer(ATTACKER) as attacker:
        with Client(grapes[0].ports.api) as client:
            client.call("announce", [name, 4711])
        accepted = sum(_announce_fakes(attacker, grape, name.encode()) for grape in grapes)
        clients = [Client(grape.ports.api) for grape in grapes]
        times, present, most = [], 0, 0
        for number in range(LOOKUPS):
            seconds, answer = clients[number % 3].timed("lookup", name)
            times.append(seconds)
            present += honest in answer
            most = max(most, len(answer))
        largest = attacker.largest
        bad = complaints(grapes)
    p99 = percentile(times, 0.99)
    figures: dict[str, int | float | str] = {
        "announces accepted": accepted,
        "honest in": f"{present} of {LOOKUPS}",
        "p50 ms": ms(percentile(times, 0.5)),
    }
    figures |= {"p99 ms": ms(p99), "peers in an answer": most, "largest datagram": largest, "errors logged": len(bad)}
    goals = {
        "the honest peer in every lookup": present == LOOKUPS,
        "p99 <= 50 ms": p99 <= P99_SECONDS,
        "datagrams <= 1,400 bytes": largest <= MAX_DATAGRAM_BYTES,
        "the flood was accepted": accepted > 0,
        "no error logged": not bad,
    }
    return judge(figures, goals)


def crowded(run: Run) -> Finding:
    """Announces a name from two thousand ports of one host, then queries it at a high rate beside lookups."""
    name, honest, seconds = "rest:crowded", "127.0.0.1:4711", run.size(8, 2)
    with ring(3) as grapes:
        victim = grapes[0]
        client = Client(victim.ports.api)
        Client(grapes[1].ports.api).call("announce", [name, 4711])
        for number in range(ANNOUNCING_PORTS):
            with Peer(ATTACKER) as attacker:
                answer = attacker.query(victim.ports.dht, b"get_peers", info_hash=name.encode())
                token = b"" if answer is None else answer[b"r"][b"token"]
                port = 10_000 + number
                attacker.query(victim.ports.dht, b"announce_peer", info_hash=name.encode(), port=port, token=token)
        times: list[float] = []
        present = 0
        before = victim.cpu()
        with sending("queries", victim.ports.dht, seconds, QUERIES_A_SECOND, name) as sender:
            while sender.running:
                taken, answer = client.timed("lookup", name)
                present += honest in answer
                times += [taken, client.timed("lookup", f"crowded:nobody:{len(times)}")[0]]
                time.sleep(0.004)
            sent = sender.result()
        cpu = victim.cpu() - before
        bad = complaints(grapes)
    p99, lookups = percentile(times, 0.99), len(times) // 2
    figures: dict[str, int | float | str] = {
        "queries a second": round(sent["sent"] / sent["seconds"]),
        "honest in": f"{present} of {lookups}",
        "p50 ms": ms(percentile(times, 0.5)),
        "p99 ms": ms(p99),
        "CPU share": round(cpu / sent["seconds"], 2),
        "errors logged": len(bad),
    }
    goals = {
        "the honest peer in every lookup": present == lookups,
        "p99 <= 50 ms": p99 <= P99_SECONDS,
        "no error logged": not bad,
    }
    return judge(figures, goals)


def _announce_fakes(attacker: Peer, grape: GrapeProcess, key: bytes) -> int:
    """Announces fake ports to one grape; returns how many announces it accepted."""
    port = grape.ports.dht
    answer = attacker.query(port, b"get_peers", info_hash=key)
    token = b"" if answer is None else answer[b"r"].get(b"token", b"")
    accepted = 0
    for number in range(FAKE_PEERS):
        peer_port = 10_000 + number
        attacker.send(
            port, attacker.packet(b"announce_peer", info_hash=key, port=peer_port, implied_port=0, token=token)
        )
        if number % 40 == 39 or number == FAKE_PEERS - 1:
            # Waits for an answer, so that the socket's buffer never overflows.
            attacker.query(port, b"get_peers", info_hash=key)
            accepted += 40
    return accepted if token else 0


def amplification(run: Run) -> Finding:
    """Sends valid queries of every kind to a grape that stores enough for long responses; finds the largest ratio."""
    queries = run.size(100_000, 5_000)
    with ring(3) as grapes, Peer() as peer, Peer(ATTACKER) as attacker:
        port = grapes[0].ports.dht
        keys = [b"k", b"rest:util:net", b"x" * 20, b"y" * 120]
        for key in keys:
            _fill(attacker, port, key, 300)
        targets = []
        with Client(grapes[0].ports.api) as client:
            for size in (1, 500, 990):
                targets.append(bytes.fromhex(client.call("put", {"v": "v" * size})))
            client.call("announce", ["rest:own", 7])
        dice = random.Random(1)
        ratio, which, answered = 0.0, "", 0
        for number in range(queries):
            method, datagram = _valid(peer, dice, [*keys, b"rest:own"], targets)
            peer.send(port, datagram)
            came = peer.receive(2.0)
            while came is not None and (decoded(came[0]) or {}).get(b"y") == b"q":
                came = peer.receive(0.5)
            if came is not None:
                answered += 1
                if len(came[0]) / len(datagram) > ratio:
                    ratio = len(came[0]) / len(datagram)
                    which = f"{method.decode()} {len(datagram)} -> {len(came[0])}"
            if number % 5_000 == 0:
                run.say(f"{number:,} queries")
        largest = max(peer.largest, attacker.largest)
        bad = complaints(grapes)
    figures = {"queries": queries, "answered": answered, "largest datagram": largest, "response/query": round(ratio, 2)}
    goals = {
        "datagrams <= 1,400 bytes": largest <= MAX_DATAGRAM_BYTES,
        "response/query <= 15": ratio <= MAX_AMPLIFICATION,
        "nearly all answered": answered >= queries * 0.99,
        "no error logged": not bad,
    }
    return judge({**figures, "worst": which, "errors logged": len(bad)}, goals)


def _fill(attacker: Peer, port: int, key: bytes, number: int) -> None:
    answer = attacker.query(port, b"get_peers", info_hash=key)
    if answer is None:
        return
    for fake in range(number):
        attacker.query(port, b"announce_peer", info_hash=key, port=1_000 + fake, token=answer[b"r"][b"token"])


def _valid(peer: Peer, dice: random.Random, keys: Sequence[bytes], targets: Sequence[bytes]) -> tuple[bytes, bytes]:
    """Returns the method and datagram of a random valid query with a short transaction id."""
    transaction = dice.randbytes(dice.choice((1, 2, 2, 4)))
    writes = b"announce_peer", b"unannounce_peer", b"put"
    method = dice.choice((b"ping", b"find_node", b"get_peers", b"get_peers", b"get", b"get", *writes))
    arguments: dict[str, object] = {}
    if method == b"find_node":
        arguments["target"] = dice.randbytes(20)
    elif method == b"get_peers":
        arguments["info_hash"] = dice.choice([*keys, dice.randbytes(1), dice.randbytes(20)])
    elif method == b"get":
        arguments["target"] = dice.choice([*targets, dice.randbytes(20)])
    elif method in (b"announce_peer", b"unannounce_peer"):
        arguments |= {"info_hash": dice.choice(keys), "port": dice.randrange(1, 65_536), "token": dice.randbytes(8)}
    elif method == b"put":
        arguments |= {"v": b"x" * dice.randrange(1, 900), "token": dice.randbytes(8)}
    return method, peer.packet(method, transaction, **arguments)


def garbage(run: Run) -> Finding:
    """Sends garbage at a fixed rate beside lookups, every other one of a name that was never looked up before."""
    seconds = run.size(10, 2)
    with ring(3) as grapes:
        flooded = grapes[0]
        client = Client(flooded.ports.api)
        for number in range(50):
            client.call("announce", [f"garbage:{number}", 1 + number])
        times, missing, number = [], 0, 0
        before = flooded.cpu()
        with sending("garbage", flooded.ports.dht, seconds, GARBAGE_A_SECOND) as sender:
            while sender.running:
                known = number % 2 == 0
                name = f"garbage:{number // 2 % 50}" if known else f"garbage:nobody:{number}"
                taken, answer = client.timed("lookup", name)
                times.append(taken)
                missing += known and not answer
                number += 1
                time.sleep(0.004)
            sent = sender.result()
        cpu = flooded.cpu() - before
        dropped = flooded.dropped()
        bad = complaints(grapes)
    rate, p99 = sent["sent"] / sent["seconds"], percentile(times, 0.99)
    figures = {"datagrams a second": round(rate), "lookups": len(times), "p50 ms": ms(percentile(times, 0.5))}
    figures |= {"p99 ms": ms(p99), "max ms": ms(max(times)), "not found": missing, "dropped by the kernel": dropped}
    goals = {
        "p99 <= 50 ms": p99 <= P99_SECONDS,
        "20,000 a second": rate >= GARBAGE_A_SECOND * 0.98,
        "all found": missing == 0,
        "no error logged": not bad,
    }
    return judge({**figures, "CPU share": round(cpu / sent["seconds"], 2), "errors logged": len(bad)}, goals)


ROWS = (
    Row(
        "garbage",
        "20,000 datagrams of garbage a second beside lookups",
        "lookup p99 <= 50 ms",
        garbage,
        alone=True,
    ),
    Row(
        "drowning",
        "9,000 fake peers of a name, announced from one address",
        "the honest peer in each of 200 lookups, p99 <= 50 ms",
        drowning,
        alone=True,
    ),
    Row(
        "crowded",
        "a name announced from 2,000 ports of one host, then queried 2,000 times a second",
        "the honest peer in every lookup, p99 <= 50 ms",
        crowded,
        alone=True,
    ),
    Row(
        "poisoning",
        "5,000 fake node ids from one address, silent or answering",
        "at most one entry in the routing table",
        poisoning,
    ),
    Row(
        "amplification",
        "random valid queries of every kind",
        "every datagram <= 1,400 bytes, response/query <= 15",
        amplification,
    ),
)
