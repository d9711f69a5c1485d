"""`execstream trace`: a run as spans of OpenTelemetry."""

import asyncio
from typing import Annotated, Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from cyclopts import Parameter

from execstream.cli.common import Json, opened, print_json, start
from execstream.cli.show import NoSuchRun
from execstream.cli.terminal import out
from execstream.storage.story.spans import trace as trace_of
from execstream.streams import exact_json
from execstream.streams.errors import Fatal, reason_of

PATIENCE = 10.0  # seconds for a receiver
PATH = "/v1/traces"


class NotReceived(Fatal):
    """The receiver did not take the spans."""


async def trace(
    graph_exec_id: Annotated[str, Parameter(name="GRAPH_EXEC_ID")],
    /,
    *,
    to: Annotated[str | None, Parameter(name="--to")] = None,
    json: Json = False,
) -> None:
    """Print a run as spans of OpenTelemetry (OTLP/JSON), or send them to a receiver.

    The run is `invoke_agent`, and each step that has ended is an `execute_tool` below it, with
    tokens and cost. Sent again, it has the same ids. Inputs and outputs are left out.

    Parameters
    ----------
    to
        Send the spans to a receiver of OTLP over HTTP, such as http://127.0.0.1:4318.
    """
    async with opened(start()) as db:
        document = await trace_of(db, graph_exec_id)
    if document is None:
        raise NoSuchRun(
            f"There is no run {graph_exec_id}: `execstream list` shows those there are."
        )
    if to is None:
        print_json(document)
        return
    await asyncio.to_thread(_send, to, document)
    [resource] = document["resourceSpans"]
    count = len(resource["scopeSpans"][0]["spans"])
    if json:
        print_json({"graph_exec_id": graph_exec_id, "spans": count})
    else:
        out.print(f"Sent {count} spans of run {graph_exec_id}.")


def _send(to: str, document: dict[str, Any]) -> None:
    """Raises NotReceived."""
    if urlsplit(to).scheme not in ("http", "https"):
        raise NotReceived(f"{to!r} is no address of a receiver, such as http://127.0.0.1:4318.")
    address = to.rstrip("/") + PATH
    headers = {"Content-Type": "application/json"}
    request = Request(address, exact_json.encode(document), headers)  # noqa: S310 - see above
    try:
        with urlopen(request, timeout=PATIENCE):  # noqa: S310
            pass
    except HTTPError as refusal:
        raise NotReceived(
            f"{address} refused the spans: {refusal.code} {refusal.reason}."
        ) from None
    except (OSError, ValueError) as error:
        raise NotReceived(f"{address} did not take the spans: {reason_of(error)}.") from None
