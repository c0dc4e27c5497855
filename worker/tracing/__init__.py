"""One trace from whoever submits a job, through the broker and all attempts, to its end.

    submit        producer: the job is stored, and with it the context of this span
    run           consumer, a child of that: one for each hold of the job, whichever process has it
      chat MODEL  client: one for each request to an upstream, which is sent its `traceparent`
      settle      the end is written and announced

The context is a column of the job and not a header of its wake-up, which may be lost and sent
again by the sweep: so retries, and rescues by other processes, are parts of the same trace. A job
that nobody traced when it was submitted (rows of batches; submits by a program without
OpenTelemetry) has a trace whose id follows from the job's, the same in each process. Attributes are
OpenTelemetry's semantic conventions for generative AI (`gen_ai.*`, semconv 1.41), whose prompts and
answers are left out but where `DELTAWORKS_TRACE_CONTENT` asks for them.

OpenTelemetry is an extra (`deltaworks[tracing]`) and is imported only where `OTEL_*` variables ask
for spans, or a program that submits uses it itself. A `traceparent` that came with a request is
kept and passed on all the same.

context     the headers of W3C Trace Context
setup       whether, and where to, spans are exported
spans       transitions of jobs made into spans
attributes  what a span says of a request and its answer
content     prompts and answers in the conventions' form
"""

from worker.tracing.context import propagated, received, submitting
from worker.tracing.setup import set_up

__all__ = ["propagated", "received", "set_up", "submitting"]
