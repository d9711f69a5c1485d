"""Spans of commands on their way, by OpenTelemetry: extra `otel`.

Whether a command is traced is decided once, by its producer; the header `traceparent` of W3C Trace
Context carries that to the workers, which carry it on to the events. Each stage adds its span to
the trace, and a batch one span with links to all traced commands in it. Spans are sent in the
background; those that a receiver does not take are dropped.
"""

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from execstream.config.settings import Settings, variable
from execstream.streams.errors import Fatal

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import SpanKind

HEADER = "traceparent"
PATH = "/v1/traces"
PATIENCE = 2.0  # seconds for a receiver, also at the end of the process
_MILLISECOND = 1_000_000  # nanoseconds

Headers = Sequence[tuple[str, bytes | None]]


class Record(Protocol):
    """A record of Kafka; `timestamp` in milliseconds."""

    @property
    def timestamp(self) -> int: ...
    @property
    def headers(self) -> Headers: ...


class NoTracing(Fatal):
    """The extra is missing."""


class Interval(NamedTuple):
    """Nanoseconds since 1970."""

    begun: int
    ended: int


class Tracer:
    """Makes the spans of one kind of process."""

    def __init__(self, service: str, url: str, ratio: float) -> None:
        """`url`: of a receiver of OTLP over HTTP. `ratio`: part of the commands without a parent
        that are traced. Raises NoTracing."""
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415 - of an extra
                OTLPSpanExporter,
            )
            from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
            from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
            from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
            from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio  # noqa: PLC0415
            from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415
                TraceContextTextMapPropagator,
            )
        except ModuleNotFoundError as missing:
            raise NoTracing(
                f"{variable('traces_url')} needs the extra 'otel' ({missing.name} is missing): "
                "pip install 'execstream[otel]'"
            ) from None
        self._provider = TracerProvider(
            sampler=ParentBasedTraceIdRatio(ratio),
            resource=Resource.create({"service.name": f"execstream-{service}"}),
        )
        exporter = OTLPSpanExporter(endpoint=url.rstrip("/") + PATH, timeout=PATIENCE)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("execstream")
        self._propagator = TraceContextTextMapPropagator()

    def close(self) -> None:
        """Send the remaining spans; waits for the receiver."""
        self._provider.shutdown()

    @contextmanager
    def sending(self, topic: str, about: Mapping[str, str]) -> Iterator[dict[str, bytes]]:
        """The span of a command that is sent in the context; yields the headers that carry it.

        Its parent is the current span of the caller, if there is one.
        """
        from opentelemetry.trace import SpanKind  # noqa: PLC0415 - of an extra

        with self._tracer.start_as_current_span(
            f"send {topic}", kind=SpanKind.PRODUCER, attributes=about
        ):
            carrier: dict[str, str] = {}
            self._propagator.inject(carrier)
            yield {name: text.encode() for name, text in carrier.items()}

    @contextmanager
    def calling(self, command: str) -> Iterator[None]:
        """The span of a call, from its beginning to its outcome."""
        from opentelemetry.trace import SpanKind  # noqa: PLC0415 - of an extra

        with self._tracer.start_as_current_span(f"call {command}", kind=SpanKind.CLIENT):
            yield

    def processed(self, topic: str, records: Iterable[Record], ended: int) -> None:
        """Add to each traced record its way from the broker to the end of its processing."""
        from opentelemetry.trace import SpanKind  # noqa: PLC0415 - of an extra

        for record in records:
            if (parent := self._parent(record.headers)) is not None:
                begun = min(record.timestamp * _MILLISECOND, ended)
                self._add(f"process {topic}", SpanKind.CONSUMER, parent, Interval(begun, ended))

    def committed(self, topic: str, records: Sequence[Record], interval: Interval) -> None:
        """Add to each traced record its way from the broker to its commit, and one span for the
        commit of all."""
        self.processed(topic, records, interval.ended)
        self.batch("commit", [record.headers for record in records], interval)

    def batch(self, name: str, all_headers: Iterable[Headers], interval: Interval) -> None:
        """Add one span for a batch, below its first traced record, with links to all of these."""
        from opentelemetry.trace import Link, SpanKind, get_current_span  # noqa: PLC0415

        parents = [one for headers in all_headers if (one := self._parent(headers)) is not None]
        if parents:
            links = [Link(get_current_span(parent).get_span_context()) for parent in parents]
            self._add(name, SpanKind.INTERNAL, parents[0], interval, links)

    def _parent(self, headers: Headers) -> "Context | None":
        """The span that the headers name; None when it is not traced."""
        from opentelemetry.trace import get_current_span  # noqa: PLC0415 - of an extra

        named = next((value for name, value in headers if name == HEADER and value), None)
        if named is None:
            return None
        context = self._propagator.extract({HEADER: named.decode("latin-1")})
        return context if get_current_span(context).get_span_context().trace_flags.sampled else None

    def _add(
        self,
        name: str,
        kind: "SpanKind",
        parent: "Context",
        interval: Interval,
        links: Sequence[Any] = (),
    ) -> None:
        span = self._tracer.start_span(
            name, context=parent, kind=kind, links=links, start_time=interval.begun
        )
        span.end(end_time=interval.ended)


def tracer_of(settings: Settings, service: str) -> Tracer | None:
    """The tracer that the settings ask for. Raises NoTracing."""
    if settings.traces_url is None:
        return None
    return Tracer(service, settings.traces_url, settings.traces_ratio)


async def close_tracer(tracer: Tracer | None) -> None:
    """Send the remaining spans, if there is a tracer."""
    if tracer is not None:
        await asyncio.to_thread(tracer.close)


def now() -> int:
    """Nanoseconds since 1970."""
    return time.time_ns()
