"""Requests that a generator makes from OpenAPI: no answer is an error of the server's, and each is
as it is described.

`HYPOTHESIS_PROFILE=long` sends more than 10,000.
"""

from pathlib import Path

import httpx
import pytest

from tests.clients.program import run
from tests.exploring import IS_LONG
from tests.install.environments import Environment
from tests.orders import Orders
from tests.worker import Installation

pytestmark = [pytest.mark.fetched, pytest.mark.timeout(3_600 if IS_LONG else 600)]

GENERATOR = "schemathesis==4.32.5"
CHECKS = "not_a_server_error,response_schema_conformance,status_code_conformance"
# Requests of a route and method, valid ones and others.
MOST, PHASES = (200, "coverage,fuzzing") if IS_LONG else (12, "fuzzing")


async def test_fuzzed_requests(
    place: Installation, http: httpx.AsyncClient, tmp_path: Path
) -> None:
    """Streams are left out: they do not end."""
    environment = Environment.create(tmp_path / "environment")
    environment.install(GENERATOR)
    orders = Orders(user_id="fuzzed")
    step = orders.move_step("n", "FAILED", stats={"error": "rate limit"})
    await place.put([orders.create(orders.node("n")), orders.start(), step, orders.raw(b"bad")])
    await place.drained()

    options = ("--checks", CHECKS, "--phases", PHASES, "--max-examples", str(MOST), "--seed", "1")
    printed = await run(
        tmp_path,
        *(environment.python.parent / "st", "run", f"{http.base_url}/openapi.json"),
        *(*options, "--exclude-path", "/v1/stream"),
    )

    assert "passed" in printed
    assert (await http.get("/readyz")).status_code == httpx.codes.OK
