"""A collector of spans over real sockets: OTLP by HTTP and protobuf, as OpenTelemetry sends it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue


class Spanned(NamedTuple):
    """A span; ids are hexadecimal, as in `traceparent`."""

    name: str
    service: str
    trace: str
    id: str
    parent: str
    attributes: dict[str, object]
    events: list[str]
    failed: bool


class Collector:
    """Keeps what came."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.port = 0

    @property
    def env(self) -> dict[str, str]:
        """What has a process send its spans here, soon."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.port}",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }

    def spans(self) -> list[Spanned]:
        """All spans so far, in the order in which they ended."""
        return [span for body in list(self.bodies) for span in _spans(body)]


@contextmanager
def collecting() -> Iterator[Collector]:
    """The collector, listening on loopback."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            collector.bodies.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Tests are quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()


def _spans(body: bytes) -> Iterator[Spanned]:
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        named = {each.key: _value(each.value) for each in resource.resource.attributes}
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield Spanned(
                    span.name,
                    str(named["service.name"]),
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    {each.key: _value(each.value) for each in span.attributes},
                    [event.name for event in span.events],
                    span.status.code == 2,
                )


def _value(value: AnyValue) -> object:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    return None if kind is None else getattr(value, kind)
