"""What a batch with a spending cap really costs."""

import time

import msgspec
from sqlalchemy import func, select

from models import Job
from ops.bench.costs.scene import Scene

CAP, CONCURRENCY = 1.00, 50
# Answers of so many tokens, at a price at which some 250 of them cost as much as the cap.
TOKENS = (10, 20, 40, 80)
PRICES = '[upstream.prices."*"]\ninput = 1.0\noutput = 105.0'
ROWS = 1_000
LOOK_S, PATIENCE_S = 0.2, 120.0


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What one measurement found.

    Attributes:
        cost: of all rows together, once none runs any more.
        dearest: what one row cost at most.
        ended: rows that have ended.
        reason: why the batch is paused.
    """

    database: str
    cap: float
    cost: float
    dearest: float
    ended: int
    reason: str


def measure(database: str) -> Result:
    """Run a batch of more rows than the cap admits, until it is paused and all has ended."""
    with Scene(database, streams=CONCURRENCY, prices=PRICES) as scene:
        scene.environment["DELTAWORKS_INTERACTIVE_RESERVE"] = "0"
        scene.work()
        models = [f"sim?tokens={tokens}&rate=0&ttft=0.2" for tokens in TOKENS]
        id = scene.batch(scene.rows(ROWS, models), mixed_models=True, max_cost=CAP)
        deadline = time.monotonic() + PATIENCE_S
        while _open(scene, id) or not (batch := scene.look(id)).pause_reason:
            if time.monotonic() > deadline:
                raise TimeoutError("the batch does not come to its cap")
            time.sleep(LOOK_S)
        costs = func.coalesce(func.sum(Job.cost), 0.0), func.max(Job.cost), func.count()
        with scene.session() as session:
            ended = Job.batch_id == id, Job.finished_at.is_not(None)
            cost, dearest, rows = session.execute(select(*costs).where(*ended)).one()
    return Result(
        database=database,
        cap=CAP,
        cost=round(cost or 0.0, 4),
        dearest=round(dearest or 0.0, 4),
        ended=rows,
        reason=str(batch.pause_reason),
    )


def _open(scene: Scene, batch: str) -> int:
    """How many of its rows are released and have not ended."""
    mine = Job.batch_id == batch, ~Job.held, Job.finished_at.is_(None)
    with scene.session() as session:
        return session.scalar(select(func.count()).select_from(Job).where(*mine)) or 0
