"""Whether, and where to, this process exports spans: OpenTelemetry's own variables say it.

An endpoint (`OTEL_EXPORTER_OTLP_ENDPOINT`, or `..._TRACES_ENDPOINT`) asks for them, or
`OTEL_TRACES_EXPORTER=otlp`; not so `OTEL_SDK_DISABLED=true` and `OTEL_TRACES_EXPORTER=none`. All
others (`OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_TRACES_SAMPLER`, `OTEL_RESOURCE_ATTRIBUTES`, ...) are
read by the SDK. It speaks OTLP by HTTP and protobuf.
"""

import logging
import os

from worker import __version__, settings, transitions
from worker.tracing.context import use

logger = logging.getLogger(__name__)

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")


def set_up(service: str) -> None:
    """Have spans made and exported in this process, where the environment asks for them.

    Args:
        service: this process's `service.name`, where `OTEL_SERVICE_NAME` names none.
    """
    if not _asked_for():
        return
    try:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        logger.warning("OTEL_* asks for spans, and there are none: install deltaworks[tracing]")
        return
    from worker.tracing.spans import JobSpans

    provider = trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):  # else `opentelemetry-instrument` was here before
        os.environ.setdefault("OTEL_SERVICE_NAME", service)
        resource = Resource.create({"service.version": __version__})
        provider = TracerProvider(resource=resource)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        trace.set_tracer_provider(provider)
    spans = JobSpans(provider, content=settings.load().trace_content)
    use(spans)
    transitions.observe(spans.observe)


def _asked_for() -> bool:
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporter = os.environ.get("OTEL_TRACES_EXPORTER", "").strip()
    if exporter not in ("", "otlp"):
        if exporter != "none":
            logger.warning("OTEL_TRACES_EXPORTER=%s is not known here; use otlp or none", exporter)
        return False
    if exporter == "" and not any(os.environ.get(name) for name in ENDPOINTS):
        return False
    protocol = next((os.environ[name] for name in PROTOCOLS if os.environ.get(name)), None)
    if protocol not in (None, "http/protobuf"):
        logger.warning(
            "OTLP by %s is not spoken here, spans are not exported; set %s=http/protobuf and the "
            "collector's port for it (4318 where nothing else is said)",
            protocol, PROTOCOLS[1],
        )  # fmt: skip
        return False
    return True
