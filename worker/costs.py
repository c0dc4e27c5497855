"""What requests to upstreams cost, by the prices in the upstreams file (see `worker.catalog`).

Each request is counted once, whatever became of it:

- By the upstream's own usage, where it told any, be it before the stream broke off.
- A count that it did not tell is estimated: the prompt as the limiter does it, the output at four
  characters a token, of what was received. Tokens that were never shown (hidden reasoning) and
  text that was lost on the way are not in an estimate.
- Nothing for a request whose answer did not begin as a stream: refused with an HTTP error status,
  or with an error in the place of a stream's first words; a web page; nobody there; headers that
  never came.
- An answer that did begin costs its prompt, though no character came.

A sum is known as far as prices are: a request to an upstream without a price adds nothing.
"""

from models import Attempt, Job
from worker.catalog import Catalog
from worker.limiter import estimated_output, estimated_prompt
from worker.upstream import Exchange


def spent_on(exchange: Exchange | None, model: str) -> float | None:
    """What an exchange has cost so far, in the currency of the prices.

    Args:
        exchange: None where there was none.
        model: as it was asked for.

    Returns:
        None where no request was sent or no price is known.
    """
    if exchange is None or exchange.started_at is None:
        return None
    price = exchange.request.upstream.price(model)
    if price is None:
        return None
    transcript = exchange.transcript
    if not exchange.begun and transcript.usage is None:
        return 0.0
    return price.of(
        transcript.usage,
        prompt=estimated_prompt(exchange.request.body),
        output=estimated_output(transcript.length),
    )


def spent_on_lost(catalog: Catalog, job: Job, lost: Attempt) -> float | None:
    """What an attempt has cost of which only its log tells (see `channel.lost`): an estimate.

    Where no character was published, nobody knows whether its answer had begun: nothing.

    Returns:
        None where no price is known, or the upstream is not configured any more.
    """
    named = (each for each in catalog.upstreams if each.name == lost.upstream)
    upstream = next(named, None)
    price = None if upstream is None else upstream.price(job.model)
    if price is None:
        return None
    if not lost.length:
        return 0.0
    output = estimated_output(lost.length)
    return price.of(None, prompt=estimated_prompt(job.request), output=output)
