"""openapi.json: everything is in it, and every reference leads somewhere."""

from collections.abc import Iterator
from typing import Any

import httpx

from execstream import __version__
from execstream.streams.commands import COMMAND_TYPES

PROMISED = {
    "/v1/executions",
    "/v1/executions/{graph_exec_id}",
    "/v1/executions/{graph_exec_id}/nodes",
    "/v1/executions/{graph_exec_id}/journal",
    "/v1/block",
    "/v1/block/steps",
    "/v1/blocks/errors",
    "/v1/blocks/live",
    "/v1/refusals",
    "/v1/dead-letters",
    "/v1/command",
    "/v1/commands",
    "/v1/commands/{key}/{command_id}",
    "/v1/shared/{token}",
    "/v1/stream",
    "/livez",
    "/readyz",
    "/metrics",
}
METHODS = {"get", "post"}


async def test_everything_is_described(http: httpx.AsyncClient) -> None:
    """All paths are described with their answers: schemas of their own, and problems."""
    described = (await http.get("/openapi.json")).json()
    assert described["openapi"].startswith("3.1")
    assert described["info"]["version"] == __version__
    assert described["paths"].keys() >= PROMISED
    for path, operations in described["paths"].items():
        assert operations.keys() <= METHODS
        for operation in operations.values():
            assert operation["description"], path
            assert "HTTPValidationError" not in str(operation)
            problem = operation["responses"]["default"]["content"]
            assert list(problem) == ["application/problem+json"]
            answers = operation["responses"]
            for content in answers.get("200", answers.get("202"))["content"].values():
                assert content["schema"], path


async def test_references_lead_somewhere(http: httpx.AsyncClient) -> None:
    """And names of operations are used once."""
    described = (await http.get("/openapi.json")).json()
    schemas = described["components"]["schemas"]
    for reference in references(described):
        assert reference.removeprefix("#/components/schemas/") in schemas
    ids = [
        operation["operationId"]
        for operations in described["paths"].values()
        for operation in operations.values()
    ]
    assert len(ids) == len(set(ids))
    assert {"Event", "Problem", "GraphExecutionWithNodes"} <= schemas.keys()


def references(part: Any) -> Iterator[str]:
    """All `$ref` in it."""
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for value in part.values():
            yield from references(value)
    elif isinstance(part, list):
        for value in part:
            yield from references(value)


async def test_each_type_of_command_is_described(http: httpx.AsyncClient) -> None:
    """The body is one of them, told apart by `type`; `id` and `at` may be left out."""
    described = (await http.get("/openapi.json")).json()
    body = described["paths"]["/v1/commands"]["post"]["requestBody"]
    schema = body["content"]["application/json"]["schema"]
    mapping = schema["discriminator"]["mapping"]
    assert schema["discriminator"]["propertyName"] == "type"
    assert mapping.keys() == COMMAND_TYPES.keys()
    assert schema["oneOf"] == [{"$ref": reference} for reference in mapping.values()]
    for type_, reference in mapping.items():
        command = described["components"]["schemas"][reference.rpartition("/")[2]]
        assert command["properties"]["type"] == {"enum": [type_]}
        assert {"type", "user_id"} <= {*command["required"]}
        assert not {"id", "at"} & {*command["required"]}
        assert {"id", "at"} <= command["properties"].keys()


async def test_types_of_problems_answer(http: httpx.AsyncClient) -> None:
    """The `type` of a problem is a path of the server, with its meaning and the way out."""
    for path in ("/v1/executions/nothing", "/v1/executions?cursor=none", "/v1/executions?limit=0"):
        problem = (await http.get(path)).json()
        told = (await http.get(problem["type"])).json()
        assert (problem["type"], problem["status"]) == (f"/problems/{told['code']}", told["status"])
        assert told["meaning"]
        assert told["remedy"]
    assert (await http.get("/problems/none")).json()["type"] == "/problems/not_found"
