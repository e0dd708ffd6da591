"""Declares the routes that tell what a grape is, does and holds: status, contacts, services, Prometheus' discovery."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import ClassVar, Protocol, TypeVar

import attrs
from twisted.internet.defer import Deferred

from grape.node.status import NodeEntry, Page, ServiceEntry, Status
from grape.web.answer import RETRY, Answer
from grape.web.api import Api
from grape.web.body import dump
from grape.web.health import schema_of_told
from grape.web.parameters import Parameter
from grape.web.probes import told_of
from grape.web.request import Request, Right
from grape.web.routes import Routes
from grape.web.schemas import MakeSchema, Schema, Schemas, object_of

T = TypeVar("T")

MAX_PAGE = 1_000
LIMIT = Parameter("limit", "How many entries a page has at most.", int, 100, low=1, high=MAX_PAGE)
AFTER = Parameter("after", "The `next` of the page before; without it the first page is answered.", bytes, b"")

# Of a service, in the list of Prometheus: relabelling can make a label of it.
SERVICE_LABEL = "__meta_grape_service"
# No instance was found, and no other node answers: there may be some.
UNKNOWN = Answer(503, b'"ERR_GRAPE_ISOLATED"', headers=RETRY)

_STATUS = """{"version": "0.1.0", "build": "pure", "node_id": "0beec7b5ea3f0fdbc95d0dd47f3c5bc275da8a33",
 "readiness": {"is_ready": true, "status": "ready", "problems": [],
  "checks": [{"name": "process", "state": "ok", "text": "the grape runs"}]},
 "uptime": 3600.5, "dht_address": "0.0.0.0:20001", "api_address": "[::]:30001", "advertised": "10.0.0.1:20001",
 "contacts": {"good": 2, "questionable": 0}, "services": 12, "items": 3, "queries_in_flight": 0,
 "per_second": {"calls": 3.2, "queries_in": 7.5, "queries_out": 6.1},
 "state": {"file": "/var/lib/grape/grape-20001.sqlite", "last_commit": 0.7, "problem": null},
 "bootstrap": ["grape1.example:20001", "grape2.example:20001"], "peer_max_age": 240.0, "read_only": false,
 "time": 1767225600.0, "descriptors": {"open": 23, "limit": 1024}, "connections": {"open": 2, "limit": 512},
 "limits_hit": {"evicted_peers": 3}}"""
_NODES = """{"nodes": [{"id": "0beec7b5ea3f0fdbc95d0dd47f3c5bc275da8a33", "address": "10.0.0.2:20001",
  "round_trip": 0.0004, "last_heard": 1.2, "state": "good"}], "next": null, "total": 1}"""
_SERVICES = """{"services": [{"name": "rest:util:net", "key": "726573743a7574696c3a6e6574", "peer_count": 1,
  "peers": [{"address": "10.0.0.2:1337", "age": 12.5}]}], "next": null, "total": 1}"""
_TARGETS = """[{"targets": ["10.0.0.2:1337"], "labels": {"__meta_grape_service": "rest:util:net"}}]"""


def _schema_of_status(schemas: Schemas) -> Schema:
    schemas.add("Readiness", schema_of_told(schemas, is_whole=True))
    return schemas.of(Status)


def _page_of(name: str, entry: type) -> MakeSchema:
    def schema(schemas: Schemas) -> Schema:
        entries = {"type": "array", "items": schemas.of(entry)}
        return object_of({name: entries, "next": {"type": ["string", "null"]}, "total": {"type": "integer"}})

    return schema


def _schema_of_targets(schemas: Schemas) -> Schema:
    labels = object_of({SERVICE_LABEL: {"type": "string"}})
    group = object_of({"targets": {"type": "array", "items": {"type": "string"}}, "labels": labels})
    return {"type": "array", "items": group, "maxItems": 1}


class Inspected(Protocol):
    """A node that tells of itself: ``grape.node.inspector.Inspector``."""

    @property
    def is_isolated(self) -> bool: ...

    def status(self) -> Status: ...

    def nodes(self, after: bytes, limit: int) -> Page[NodeEntry]: ...

    def services(self, after: bytes, limit: int) -> Page[ServiceEntry]: ...

    def service(self, key: bytes) -> Page[ServiceEntry]: ...


class Inspection:
    """The routes that tell of a node; ``api`` makes its lookups. ``grape.resource`` mounts them."""

    route: ClassVar[Routes[Inspection]] = Routes()

    def __init__(self, inspected: Inspected, api: Api) -> None:
        self._inspected = inspected
        self._api = api

    @route.get("/status", "Tells what the grape is and does.", Right.INSPECT, example=_STATUS, schema=_schema_of_status)
    def status(self, request: Request) -> Answer:
        """Answers with ``Status`` as JSON."""
        return Answer(200, dump(told_of_status(self._inspected.status())))

    @route.get(
        "/nodes",
        "Lists the contacts, ordered by id.",
        Right.INSPECT,
        LIMIT,
        AFTER,
        example=_NODES,
        schema=_page_of("nodes", NodeEntry),
    )
    def nodes(self, request: Request) -> Answer:
        """Answers with a page of contacts."""
        page = self._inspected.nodes(request.argument("after", bytes), request.argument("limit", int))
        return _page("nodes", page, _node)

    @route.get(
        "/services",
        "Lists the services that are stored here, ordered by the bytes of their names; or the one with a name.",
        Right.INSPECT,
        Parameter("name", "The name of one service, which is shown with more of its peers.", default=""),
        LIMIT,
        AFTER,
        example=_SERVICES,
        schema=_page_of("services", ServiceEntry),
    )
    def services(self, request: Request) -> Answer:
        """Answers with a page of services."""
        name = request.argument("name", str)
        if name:
            page = self._inspected.service(name.encode("utf-8", "replace"))
        else:
            page = self._inspected.services(request.argument("after", bytes), request.argument("limit", int))
        return _page("services", page, _service)

    @route.get(
        "/sd",
        "Looks a service up for Prometheus (http_sd).",
        Right.INSPECT,
        Parameter("name", "The name of the service.", is_required=True),
        example=_TARGETS,
        schema=_schema_of_targets,
        may_be_unavailable=True,
    )
    def discover(self, request: Request) -> Deferred[Answer]:
        """Answers with the peers that a lookup finds."""
        name = request.argument("name", str)
        # The lookup of a client, under the same limits and with the same errors.
        lookup = Request(b"POST", b"/lookup", {}, request.peer, dump({"data": name}), request.local)
        return self._api.call(lookup).addCallback(self._targets, name)

    def _targets(self, found: Answer, name: str) -> Answer:
        peers = json.loads(found.body)
        if not isinstance(peers, list):
            # What a client of the calls is told with status 200 must not look like success here.
            return found if found.status != 200 else Answer(400, found.body)
        if not peers and self._inspected.is_isolated:
            # Prometheus keeps the targets that it has when it is not answered 200.
            return UNKNOWN
        return Answer(200, dump([{"targets": peers, "labels": {SERVICE_LABEL: name}}] if peers else []))


def told_of_status(status: Status) -> dict[str, object]:
    """Returns a status for JSON."""
    readiness = {"is_ready": status.readiness.is_ready, **told_of(status.readiness, verbose=True)}
    rest = attrs.asdict(status, filter=lambda field, _: field.name != "readiness", value_serializer=_rounded)
    first = {"version": status.version, "build": status.build, "node_id": status.node_id, "readiness": readiness}
    return {**first, **rest}


def _page(name: str, page: Page[T], entry: Callable[[T], dict[str, object]]) -> Answer:
    return Answer(200, dump({name: [entry(one) for one in page.entries], "next": page.next, "total": page.total}))


def _node(node: NodeEntry) -> dict[str, object]:
    return {
        "id": node.id,
        "address": node.address,
        "round_trip": round(node.round_trip, 6) if node.round_trip is not None else None,
        "last_heard": round(node.last_heard, 3),
        "state": node.state,
    }


def _service(service: ServiceEntry) -> dict[str, object]:
    # Not by attrs.asdict, which takes ten times as long.
    return {
        "name": service.name,
        "key": service.key,
        "peer_count": service.peer_count,
        "peers": [{"address": peer.address, "age": round(peer.age, 3)} for peer in service.peers],
    }


def _rounded(instance: object, field: object, value: object) -> object:
    return round(value, 3) if isinstance(value, float) else value
