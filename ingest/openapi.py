"""The OpenAPI of the ingest role, with the hot routes that FastAPI does not serve written in."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from ingest import gateway, publish
from ingest.formats import atlas, smile
from tocsin.model.heartbeat import Envelope

_TEMPLATE = "#/components/schemas/{name}"


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _refused() -> dict[str, Any]:
    properties = {"index": {"type": "integer"}, "field": {"type": "string"}, "reason": {"type": "string"}}
    return {"type": "object", "properties": properties, "required": list(properties)}


def _answer() -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "accepted": {"type": "integer"},
            "refused": {"type": "array", "items": {"$ref": _TEMPLATE.format(name="Refused")}},
            "refused_total": {"type": "integer"},
            "hints": {"type": "array", "items": {"type": "object"}},
            "error": {
                "type": "object",
                "properties": {"field": {"type": "string"}, "reason": {"type": "string"}},
            },
        },
        "required": ["accepted", "refused", "hints"],
    }


def _query(name: str, text: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "description": text, "schema": {"type": "string"}}


def _idempotency_key() -> dict[str, Any]:
    text = "names this request: points that come again under it are dropped"
    return {
        "name": "Idempotency-Key", "in": "header", "required": False, "description": text,
        "schema": {"type": "string", "maxLength": publish.IDEMPOTENCY_KEY_MAX},
    }  # fmt: skip


def _heartbeats() -> dict[str, Any]:
    envelope = {"$ref": _TEMPLATE.format(name="Envelope")}
    answer = {"$ref": _TEMPLATE.format(name="Answer")}
    told = {
        "200": "Accepted events are in the log; refused ones are listed with field and reason",
        "400": "No event could be used",
        "401": "No valid write key",
        "403": "Origin not listed for the write key",
        "408": "The body came too slowly",
        "413": "The body is too large, on the wire or inflated, or has too many events",
        "415": "Unknown content encoding",
        "429": "Over a rate limit; see Retry-After",
        "503": "The log is not taking heartbeats; see Retry-After",
    }
    return {
        "post": {
            "tags": ["heartbeats"],
            "summary": "Send heartbeats",
            "operationId": "send_heartbeats",
            "parameters": [
                _query("key", "write key; or Authorization: Bearer"),
                _query("explain", "1: say what each event became and why (it is stored as well)"),
                _query("dry", "1: explain, and store nothing"),
            ],
            "requestBody": {
                "required": True,
                "content": {
                    "application/json": {"schema": envelope},
                    "text/plain": {"schema": envelope},
                    "application/x-ndjson": {"schema": {"type": "string", "description": "an envelope a line"}},
                },
            },
            "responses": {status: {"description": text, "content": _json(answer)} for status, text in told.items()},
        }
    }


def install(api: FastAPI) -> None:
    """Make `api.openapi()` document the hot routes and the raw bodies too."""

    def openapi() -> dict[str, Any]:
        if api.openapi_schema is None:
            document = get_openapi(title=api.title, version=api.version, routes=api.routes)
            _, components = msgspec.json.schema_components([Envelope], ref_template=_TEMPLATE)
            _, of_publish = msgspec.json.schema_components([atlas.Payload], ref_template=_TEMPLATE)
            schemas = {**components, **of_publish, "Answer": _answer(), "Refused": _refused()}
            document.setdefault("components", {}).setdefault("schemas", {}).update(schemas)
            document["paths"][gateway.PATH] = _heartbeats()
            payload = {"$ref": _TEMPLATE.format(name="Payload")}
            post = document["paths"][publish.PATH]["post"]
            smile_body = {smile.CONTENT_TYPE.decode(): {"schema": payload}}
            post["requestBody"] = {"required": True, "content": {**_json(payload), **smile_body}}
            post["parameters"] = [_idempotency_key()]
            post["responses"] = {
                "200": {"description": "All points are in the log"},
                "202": {"description": "Some points are in the log; the body says why others are not"},
                "400": {"description": "No point could be used"},
                "401": {"description": "No valid write key"},
                "403": {"description": "This write key may not publish"},
                "503": {"description": "The log is not taking points; see Retry-After"},
            }
            api.openapi_schema = document
        return api.openapi_schema

    api.openapi = openapi  # type: ignore[method-assign]
