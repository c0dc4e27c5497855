"""The models of a batch's rows: which it may use, that they are one, what a row may cost."""

from collections.abc import Mapping

from models import Batch
from worker.catalog import Catalog
from worker.limiter import estimated_prompt, estimated_tokens
from worker.request import is_allowed, not_allowed, shown


class Faulty(Exception):
    """A row cannot be run."""

    def __init__(self, code: str, message: str, param: str | None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param


class Models:
    """Looks at the model of each row, be it one of a file or one that is run again.

    Attributes:
        reserve: what the dearest row may cost; known for batches with `max_cost` only.
    """

    def __init__(self, batch: Batch, catalog: Catalog) -> None:
        self._batch = batch
        self._catalog = catalog
        self._names: set[str] = set()
        self.reserve = 0.0

    @property
    def model(self) -> str | None:
        """The rows' model, if they name one only."""
        return next(iter(self._names)) if len(self._names) == 1 else None

    def check(self, model: str, body: Mapping[str, object]) -> None:
        """Go on only if the batch can run this row.

        Raises:
            Faulty: it cannot.
        """
        if model not in self._names:  # most rows name the model of the one before
            self._add(model)
        if self._batch.max_cost is not None:
            self._reserve_for(model, body)

    def _add(self, model: str) -> None:
        allowed = self._batch.allowed_models
        if not is_allowed(model, allowed):
            message = f"body.model: {not_allowed(model, allowed)}"
            raise Faulty("permission_denied", message, "body.model")
        if self._names and not self._batch.mixed_models:
            first = next(iter(self._names))
            message = f"body.model: is {shown(model)}, earlier rows ask for {shown(first)}; "
            message += "split the file, or create the batch with mixed_models"
            raise Faulty("model_mismatch", message, "body.model")
        self._names.add(model)

    def _reserve_for(self, model: str, body: Mapping[str, object]) -> None:
        """What the row may cost: a cap is kept by it until rows have ended and told."""
        cost = _may_cost(self._catalog, model, body)
        if cost is None:
            message = f"body.model: {_no_price(self._catalog, model)}"
            raise Faulty("no_price", message, "body.model")
        self.reserve = max(self.reserve, cost)


def _may_cost(catalog: Catalog, model: str, body: Mapping[str, object]) -> float | None:
    """What one request of a row may cost, by a guess at its tokens, at the dearest upstream that
    serves its model; None where one of these has no price.
    """
    prices = [upstream.price(model) for upstream in catalog.serving(model)]
    known = [price for price in prices if price is not None]
    if not known or len(known) < len(prices):
        return None
    prompt = estimated_prompt(body)
    output = estimated_tokens(body) - prompt
    return max(price.of(None, prompt=prompt, output=output) for price in known)


def _no_price(catalog: Catalog, model: str) -> str:
    """Why a batch with a spending cap cannot run the model, and what to do."""
    unpriced = [each.name for each in catalog.serving(model) if each.price(model) is None]
    place = f" at {', '.join(unpriced)}" if unpriced else ""
    problem = f"{shown(model)} has no price{place}, and the batch has max_cost"
    return f"{problem}; add one to the upstreams file, or leave max_cost out"
