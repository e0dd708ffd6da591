"""Describes the bodies and answers of the calls as JSON schemas, with examples: recorded ones, but of unannounce."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from grape.web.schemas import Schema, object_of

_HASH: Schema = {"type": "string", "pattern": "^[0-9a-f]{40}$"}
_NAME: Schema = {"type": "string", "minLength": 1}
_PORT: Schema = {"type": "integer", "minimum": 0, "maximum": 65_535}
_BYTES: Schema = {"anyOf": [{"type": "string", "pattern": "^[0-9a-fA-F]*$"}, {"type": "array"}, {"type": "object"}]}
_SALT: Schema = {"anyOf": [{"type": "string"}, {"type": "array"}, {"type": "object"}]}
_VALUE: Schema = {"type": ["string", "integer", "array", "object", "boolean"]}

_SIGNED = object_of(
    {"v": _VALUE, "k": _BYTES, "sig": _BYTES, "seq": {"type": "integer"}, "salt": _SALT, "cas": {"type": "integer"}},
    optional=("k", "sig", "seq", "salt", "cas"),
)
_ITEM = object_of(
    {
        "id": {"type": ["string", "null"], "description": "The node that held it."},
        "token": {"type": ["string", "null"], "description": "Its write token; null if this grape held it."},
        "v": {"description": "The value: text for text and numbers."},
        "k": {"type": "string"},
        "sig": {"type": "string"},
        "seq": {"type": "integer"},
        "salt": {"type": "string"},
    },
    optional=("k", "sig", "seq", "salt"),
)


@attrs.frozen
class Call:
    """The ``data`` of a call's body and its answer; examples are pairs of a body and its answer, both as JSON.

    ``problems`` are the statuses of its errors, beside 200 and 403. An answer that ``may_be_empty`` may have no body.
    """

    data: Mapping[str, object]
    answer: Mapping[str, object]
    examples: Mapping[str, tuple[str, str]]
    problems: tuple[str, ...] = ("400", "413", "415", "500", "503")
    may_be_empty: bool = False


# Their bodies and answers are in tests/vectors, recorded from the Node grape.
CALLS: Mapping[str, Call] = {
    "lookup": Call(
        data=_NAME,
        answer={"type": "array", "items": {"type": "string"}, "maxItems": 100, "uniqueItems": True},
        examples={
            "unknown service": ('{"rid":"r1","data":"http-generic-unknown"}', "[]"),
            "no name": ('{"rid":"r1","data":""}', '"ERR_GRAPE_LOOKUP"'),
        },
    ),
    "announce": Call(
        data={
            "type": "array",
            "prefixItems": [
                _NAME,
                _PORT,
                {
                    "type": "object",
                    "properties": {"ttl": {"type": "number", "minimum": 1, "description": "Seconds; at most the age."}},
                },
            ],
            "minItems": 2,
        },
        answer={"type": "integer", "minimum": 0},
        examples={
            "announced": ('{"rid":"r1","data":["vec-announce-ok",1337]}', "1"),
            "no port": ('{"rid":"r1","data":["vec-ann-m"]}', '"ERR_GRAPE_SERVICE_PORT"'),
        },
    ),
    "put": Call(
        data={"anyOf": [{"type": "string"}, _SIGNED]},
        answer=_HASH,
        examples={
            "text": ('{"rid":"r1","data":{"v":"hello world"}}', '"6d33adc2b6b2c14c3036feefb7fedbca1a880527"'),
            "list": ('{"rid":"r1","data":{"v":[1,"two",[3]]}}', '"5af66385327c79b1c000b0ea661fe517e9f85869"'),
            "no value": ('{"rid":"r1","data":{"foo":"bar"}}', '"opts.v not given"'),
        },
        problems=("301", "302", "400", "413", "415", "500", "503"),
    ),
    "get": Call(
        data={
            "anyOf": [
                _HASH,
                object_of({"hash": _HASH, "salt": _SALT, "cache": {"type": "boolean"}}, optional=("salt", "cache")),
            ]
        },
        answer=_ITEM,
        examples={
            "unknown item": ('{"rid":"r1","data":"00112233445566778899aabbccddeeff00112233"}', ""),
            "no hash": ('{"rid":"r1","data":{}}', '"ERR_GRAPE_GENERIC"'),
        },
        may_be_empty=True,
    ),
    "unannounce": Call(
        data={"type": "array", "prefixItems": [_NAME, _PORT], "minItems": 2},
        answer={"type": "integer", "minimum": 0},
        examples={
            "withdrawn": ('{"rid":"r1","data":["rest:util:net",1337]}', "2"),
            "no port": ('{"rid":"r1","data":["rest:util:net"]}', '"ERR_GRAPE_SERVICE_PORT"'),
        },
    ),
}
