"""Additions to openapi.json beyond the routes' own types."""

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

from execstream.dashboard.access import access_of
from execstream.dashboard.problems import MEDIA_TYPE, Problem
from execstream.streams import json_schemas
from execstream.streams.json_schemas import Described

_SCHEMAS = "#/components/schemas/"

PROBLEMS: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "The fault, in a sentence.",
        "content": {MEDIA_TYPE: {"schema": {"$ref": _SCHEMAS + "Problem"}}},
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
                        "data": {"type": "array", "items": {"$ref": _SCHEMAS + "Event"}},
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


def _commands() -> Described:
    """Commands as the route takes them, which fills in `id` and `at`."""
    commands = json_schemas.command_schema().under(_SCHEMAS)
    for name in json_schemas.command_definitions().values():
        command = commands.definitions[name]
        command["required"] = [one for one in command["required"] if one not in ("id", "at")]
    return commands


COMMAND_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "A command of contract section 2; `id` and `at` may be left out.",
        "content": {
            "application/json": {
                "schema": {
                    **_commands().root,
                    "discriminator": {
                        "propertyName": "type",
                        "mapping": {
                            type_: _SCHEMAS + name
                            for type_, name in json_schemas.command_definitions().items()
                        },
                    },
                }
            }
        },
    }
}


def describe(app: FastAPI, routes: Sequence[BaseRoute]) -> None:
    """Have `app` describe commands, events, problems, and the scopes of its `routes` in its
    openapi.json.
    """

    def whole() -> dict[str, Any]:
        if app.openapi_schema is None:
            described = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
            )
            schemas = described.setdefault("components", {}).setdefault("schemas", {})
            own = {
                **json_schemas.any_event_schema().under(_SCHEMAS).definitions,
                **_commands().definitions,
                "Problem": Problem.model_json_schema(),
            }
            for name, schema in own.items():
                schemas.setdefault(name, schema)
            _add_scopes(routes, described)
            app.openapi_schema = described
        return app.openapi_schema

    app.openapi = whole  # type: ignore[method-assign] # FastAPI's way of extending it


def _add_scopes(routes: Sequence[BaseRoute], described: dict[str, Any]) -> None:
    """Name the scope of each route as `x-scope`."""
    for route in routes:
        if isinstance(route, APIRoute) and (access := access_of(route)) and access.scope:
            for method in route.methods or ():
                described["paths"][route.path_format][method.lower()]["x-scope"] = access.scope
