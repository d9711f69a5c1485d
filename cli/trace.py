"""`execstream trace`: a run as spans of OpenTelemetry."""

import asyncio
from typing import Annotated, Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from cyclopts import Parameter

from execstream.cli.common import Json, opened, print_json, start, table
from execstream.cli.show import NoSuchRun
from execstream.cli.terminal import Text, out
from execstream.storage.story.spans import trace as trace_of
from execstream.streams import exact_json
from execstream.streams.errors import Fatal, reason_of

PATIENCE = 10.0  # seconds for a receiver
PATH = "/v1/traces"
NANOSECONDS = 1_000_000_000


class NotReceived(Fatal):
    """The receiver did not take the spans."""


async def trace(
    graph_exec_id: Annotated[str, Parameter(name="GRAPH_EXEC_ID")],
    /,
    *,
    to: Annotated[str | None, Parameter(name="--to")] = None,
    json: Json = False,
) -> None:
    """Show a run as spans of OpenTelemetry, print them as OTLP/JSON, or send them to a receiver.

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
    spans = document["resourceSpans"][0]["scopeSpans"][0]["spans"]
    if to is not None:
        await asyncio.to_thread(_send, to, document)
        if json:
            print_json({"graph_exec_id": graph_exec_id, "spans": len(spans)})
        else:
            out.print(f"Sent {len(spans)} spans of run {graph_exec_id}.")
    elif json:
        print_json(document)
    else:
        _print(spans)


def _print(spans: list[dict[str, Any]]) -> None:
    rows = table("begins", "takes", "span", "error", free=("span", "error"))
    begun = min((int(span["startTimeUnixNano"]) for span in spans), default=0)
    for span in spans:
        begins, ends = (int(span[f"{name}TimeUnixNano"]) for name in ("start", "end"))
        indent = "  " if "parentSpanId" in span else ""
        rows.add_row(
            f"{(begins - begun) / NANOSECONDS:+,.3f} s",
            f"{(ends - begins) / NANOSECONDS:,.3f} s",
            Text(indent + span["name"]),
            Text(span["status"].get("message", "")),
        )
    out.print(rows if spans else "Nothing of the run has ended yet.")


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
