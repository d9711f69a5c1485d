"""Additions to openapi.json beyond the routes' own types."""

from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from execstream.dashboard.problems import MEDIA_TYPE, Problem
from execstream.streams.events import Event

_REF = "#/components/schemas/{name}"

PROBLEMS: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "What is wrong, in a sentence.",
        "content": {MEDIA_TYPE: {"schema": {"$ref": _REF.format(name="Problem")}}},
    }
}

EVENTS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A page of events.",
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["data", "next_cursor", "as_of"],
                    "properties": {
                        "data": {"type": "array", "items": {"$ref": _REF.format(name="Event")}},
                        "next_cursor": {"type": ["string", "null"]},
                        "as_of": {"type": "string", "format": "date-time"},
                    },
                }
            }
        },
    }
}


def stream_of(*kinds: str) -> dict[int | str, dict[str, Any]]:
    """A stream of server-sent events of some kinds."""
    return {
        200: {
            "description": f"Server-sent events: {', '.join(kinds)}.",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        }
    }


def _without_false_items(schema: Any) -> Any:
    """`items: false` of tuples left out, which generators of clients take for no schema.

    `maxItems` states the same.
    """
    if isinstance(schema, list):
        return [_without_false_items(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: _without_false_items(one)
        for name, one in schema.items()
        if (name, one) != ("items", False)
    }


def describe(app: FastAPI) -> None:
    """Have `app` describe events and problems in its openapi.json."""

    def whole() -> dict[str, Any]:
        if app.openapi_schema is None:
            described = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
            )
            schemas = described.setdefault("components", {}).setdefault("schemas", {})
            _, events = msgspec.json.schema_components([Event], ref_template=_REF)
            for name, schema in {**events, "Problem": Problem.model_json_schema()}.items():
                schemas.setdefault(name, _without_false_items(schema))
            app.openapi_schema = described
        return app.openapi_schema

    app.openapi = whole  # type: ignore[method-assign] # FastAPI's way of extending it
