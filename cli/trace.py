"""`execstream trace`: a run as spans of OpenTelemetry."""

import asyncio
from http.client import HTTPException
from typing import Annotated, Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

import msgspec
from cyclopts import Parameter

from execstream.cli.common import Json, opened, print_json, start, table
from execstream.cli.show import no_such_run
from execstream.cli.terminal import Text, out
from execstream.config.shown_addresses import shown_address
from execstream.storage.story.spans import trace as trace_of
from execstream.streams import exact_json
from execstream.streams.errors import Fatal, reason_of

PATIENCE = 10.0  # seconds for a receiver
MOST_ANSWER = 65_536  # bytes of an answer that are read
PATH = "/v1/traces"
NANOSECONDS = 1_000_000_000


class _Rejected(msgspec.Struct, rename="camel"):
    rejected_spans: int | str = 0  # a number of 64 bits is text in the JSON of Protobuf
    error_message: str = ""


class _Answer(msgspec.Struct, rename="camel"):
    partial_success: _Rejected | None = None


class _NoRedirects(HTTPRedirectHandler):
    """A redirected POST becomes a GET without the spans, which succeeds."""

    def redirect_request(self, *_: Any) -> None:
        return None


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
        raise no_such_run(graph_exec_id)
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
    """Raises NotReceived, also when the receiver takes only a part."""
    address, shown = to.rstrip("/") + PATH, shown_address(to)
    parts = urlsplit(to)
    if parts.scheme not in ("http", "https") or "@" in parts.netloc:
        raise NotReceived(f"{shown} is no address of a receiver, such as http://127.0.0.1:4318.")
    headers = {"Content-Type": "application/json"}
    request = Request(address, exact_json.encode(document), headers)  # noqa: S310 - see above
    try:
        with build_opener(_NoRedirects).open(request, timeout=PATIENCE) as response:
            answer = response.read(MOST_ANSWER)
    except HTTPError as refusal:
        raise NotReceived(f"{shown} refused the spans: {refusal.code} {refusal.reason}.") from None
    except (OSError, HTTPException, ValueError) as error:
        raise NotReceived(f"{shown} did not take the spans: {reason_of(error)}.") from None
    if count := _rejected(answer):
        raise NotReceived(f"{shown} rejected {count} of the spans.")


def _rejected(answer: bytes) -> str:
    """The number of spans that were not taken, with the receiver's reason; empty for none."""
    try:
        partial = msgspec.json.decode(answer or b"{}", type=_Answer).partial_success
    except msgspec.DecodeError:
        return ""  # 200 is enough, whatever follows
    if partial is None or partial.rejected_spans in (0, "0"):
        return ""
    return f"{partial.rejected_spans} ({partial.error_message})"
