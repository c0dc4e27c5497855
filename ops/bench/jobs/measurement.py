"""One measurement: so many jobs through one way in, and the parts of what they cost."""

import time
from collections.abc import Iterator, Sequence
from datetime import datetime

import msgspec
from sqlalchemy import func, select

from models import Job, JobState
from ops.bench.batch import pipeline
from ops.bench.costs import parts
from ops.bench.costs.groups import Groups
from ops.bench.costs.parts import Messages, Parts
from ops.bench.costs.scene import Scene
from ops.bench.jobs.ways import PYTHON, ROWS, WAYS, Way

# Jobs of each way that warm all processes up.
WARMING = 200
# How long jobs may take: far too long for any that is worth its name. And how often they are
# counted, which is work for the database.
LEAST_PER_S, PATIENCE_S, LOOK_S = 20, 30.0, 0.25
# What is done behind an end, the closing of logs above all, is done by then.
SETTLING_S = 0.5
# The upstream is the world outside: what it uses is told, and not counted.
OUTSIDE = "simulator"
# The rows' logs are of no interest here.
LOG_LIFE_S = 2.0
# Messages of Celery's own floor.
FLOOR = 1_000


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What one measurement found.

    Attributes:
        way: its name.
        jobs, completed: how many were submitted, and how many of them have completed.
        seconds: from the first job's creation to the last one's end.
        cpu_us: of each process, a job.
        claimed, ended: jobs of a statement, on average.
        waited: share of the time in which the worker was ready to run and others had the cores.
        parts: what a job's parts cost by themselves; None where only the growth is of interest.
    """

    database: str
    way: str
    jobs: int
    completed: int
    seconds: float
    cpu_us: dict[str, float]
    claimed: float
    ended: float
    waited: float
    parts: Parts | None = None

    @property
    def per_s(self) -> float:
        """Jobs a second."""
        return self.jobs / self.seconds

    @property
    def job_us(self) -> float:
        """CPU of all processes a job, the simulator's aside."""
        return sum(us for name, us in self.cpu_us.items() if name != OUTSIDE)

    @property
    def factor(self) -> float:
        """How many times the sum of its parts that is; 0 where these were not measured."""
        return self.job_us / self.parts.sum if self.parts else 0.0


class Floor(msgspec.Struct, frozen=True, kw_only=True):
    """Celery's own: messages with an empty task, on the same pool."""

    database: str
    messages: Messages


class Measurement:
    """Takes the measurements of one database, on one worker and one gateway.

    Attributes:
        floor: measured first, while the worker has nothing to do.
    """

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._worker, self._address = scene.work(), scene.serve()
        for way in WAYS:
            self._run(way, WARMING)
        found = parts.messages(scene, 0.0, count=FLOOR)
        self.floor = Floor(database=scene.database, messages=found)
        self._messages: Messages | None = None

    def take(self, way: Way, jobs: int) -> Result:
        """Run so many jobs through the way, and measure the parts of what they cost."""
        result, groups = self._taken(way, jobs)
        scene, per_s, requests_per_s = self._scene, result.per_s, result.per_s * way.requests
        # The ways do not differ so much that each would need a worker of its own.
        found = self._messages = self._messages or parts.messages(scene, per_s)
        request_us = parts.request(scene, self._address, requests_per_s) if way.requests else 0.0
        of_job = Parts(
            task=round(found.task * way.messages, 1),
            send=round(found.send * way.messages, 1),
            broker=round(found.broker * way.messages, 1),
            exchange=parts.exchange(scene, per_s),
            request=round(request_us * way.requests, 1),
            statements=parts.statements(scene, groups, per_s),
        )
        return msgspec.structs.replace(result, parts=of_job)

    def grow(self, way: Way, jobs: int) -> Result:
        """Run so many jobs through the way, and nothing else."""
        return self._taken(way, jobs)[0]

    def _taken(self, way: Way, jobs: int) -> tuple[Result, Groups]:
        scene, worker = self._scene, self._worker
        meters, counts = list(scene.meters.values()), scene.counts()
        before_s, waited_s = [meter.cpu_s() for meter in meters], worker.waited_s()
        submitter_s = self._run(way, jobs)
        used_s = [meter.cpu_s() - then for meter, then in zip(meters, before_s, strict=True)]
        waited_s = worker.waited_s() - waited_s
        counts = scene.counts().since(counts)
        completed, seconds = self._newest(jobs)
        used = dict(zip([meter.name for meter in meters], used_s, strict=True))
        used["submitter"] = submitter_s
        result = Result(
            database=scene.database,
            way=way.name,
            jobs=jobs,
            completed=completed,
            seconds=round(seconds, 3),
            cpu_us={name: round(cpu_s / jobs * 1e6, 1) for name, cpu_s in used.items()},
            claimed=round(counts.claimed / max(counts.claims, 1), 1),
            ended=round(counts.ended / max(counts.ends, 1), 1),
            waited=round(waited_s / seconds, 3),
        )
        return result, Groups.of_jobs(counts, way.at_once)

    def _run(self, way: Way, jobs: int) -> float:
        """Submit so many, and wait for their ends; the submitter's CPU seconds.

        Raises:
            TimeoutError: they do not come.
        """
        wanted = self._ended() + jobs
        words = way.word, jobs, self._address
        used_s = float(self._scene.printed_by("jobs.submitting", *words))
        deadline = time.monotonic() + PATIENCE_S + jobs / LEAST_PER_S
        while (ended := self._ended()) < wanted:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{wanted - ended} of {jobs} jobs do not end ({way.name})")
            time.sleep(LOOK_S)
        time.sleep(SETTLING_S)
        return used_s

    def _ended(self) -> int:
        """How many have, of those that are no rows of a batch."""
        query = select(func.count()).select_from(Job)
        with self._scene.session() as session:
            query = query.where(Job.batch_id.is_(None), Job.finished_at.is_not(None))
            return session.scalar(query) or 0

    def _newest(self, jobs: int) -> tuple[int, float]:
        """How many of the newest so many have completed, and seconds from the first's creation."""
        query = select(Job.state, Job.created_at, Job.finished_at)
        query = query.where(Job.batch_id.is_(None)).order_by(Job.created_at.desc()).limit(jobs)
        with self._scene.session() as session:
            states, created, finished = zip(*session.execute(query).all(), strict=True)
        last: datetime = max(finished)
        return states.count(JobState.COMPLETED.value), (last - min(created)).total_seconds()


def measure(
    database: str, ways: Sequence[Way], jobs: int, sizes: Sequence[int]
) -> Iterator[Result | Floor]:
    """The floor, each way, and the first of all as the number of jobs grows."""
    with Scene(database) as scene:
        measurement = Measurement(scene)
        yield measurement.floor
        for way in ways:
            yield rows(database, jobs) if way is ROWS else measurement.take(way, jobs)
        for size in sizes:
            yield measurement.grow(PYTHON, size)


def rows(database: str, count: int) -> Result:
    """So many rows of a batch, measured as the benchmark of batches does it."""
    found = pipeline.measure(database, count, LOG_LIFE_S)
    return Result(
        database=database,
        way=ROWS.name,
        jobs=found.rows,
        completed=found.right,
        seconds=found.seconds,
        cpu_us=found.cpu_us,
        claimed=round(found.counts.claimed / max(found.counts.claims, 1), 1),
        ended=round(found.counts.ended / max(found.counts.ends, 1), 1),
        waited=found.waited,
        parts=found.parts,
    )
