"""Every metric of the project: name, kind, labels, help. Dashboards and alerts are checked by it.

A label's values are bounded: states, lanes, categories and the words below; upstreams and models
as the configuration names them (`bounds`); never an id, a key or a word of somebody's own.
"""

from typing import Literal

from msgspec import Struct

Kind = Literal["counter", "gauge", "histogram", "summary"]

# Bounds of histograms, in seconds.
QUICK_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
PATIENT_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
LONG_S = (0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0)
# Tokens a second.
PACES = (1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0)


class Metric(Struct, frozen=True):
    """One metric.

    Attributes:
        name: as Prometheus has it; a counter's ends in `_total`.
        kind: its type.
        help: what it tells, for people.
        labels: names of its labels, in order.
        known: values of the labels that are there from the start, with 0: what appears with its
            first event has no increase that an alert could see.
        bounds: upper bounds of a histogram's buckets.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    known: tuple[tuple[str, ...], ...] = ()
    bounds: tuple[float, ...] = ()


BUILD = Metric("deltaworks_build_info", "gauge", "1, with its version.", ("version", "python"))

# Jobs and attempts, by the processes that ran them. `category` is `none` where there was no error.
SUBMITTED = Metric(
    "deltaworks_jobs_submitted_total",
    "counter",
    "Jobs that this process accepted; rows of batches are counted by their batch.",
    ("lane",),
)
ENDED = Metric(
    "deltaworks_jobs_ended_total",
    "counter",
    "Jobs that this process ended, for ever, and the category of their error.",
    ("state", "lane", "category"),
)
JOB_SECONDS = Metric(
    "deltaworks_job_seconds",
    "histogram",
    "From a job's acceptance to its end, of jobs in no batch that this process ran.",
    ("lane",),
    bounds=LONG_S,
)
QUEUE_SECONDS = Metric(
    "deltaworks_queue_seconds",
    "histogram",
    "From a job's acceptance to its claim, of jobs in no batch that needed one attempt.",
    ("lane",),
    bounds=LONG_S,
)
ATTEMPTS = Metric(
    "deltaworks_attempts_total",
    "counter",
    "Requests to upstreams that are over, by the category of what ended them.",
    ("upstream", "model", "category"),
)
FIRST_TOKEN_SECONDS = Metric(
    "deltaworks_first_token_seconds",
    "histogram",
    "From a request to its first character; told when the attempt is over.",
    ("upstream", "model", "lane"),
    bounds=PATIENT_S,
)
TOKEN_PACE = Metric(
    "deltaworks_output_tokens_per_second",
    "histogram",
    "Output tokens, by the upstream's own count, over the time since the first character.",
    ("upstream", "model"),
    bounds=PACES,
)
TOKENS = Metric(
    "deltaworks_tokens_total",
    "counter",
    "Tokens, by the upstreams' own counts.",
    ("upstream", "model", "kind"),
)
COST = Metric(
    "deltaworks_cost_total",
    "counter",
    "What requests have cost, in the currency of the upstreams file, as far as prices are known.",
    ("upstream", "model"),
)
RETRIES = Metric(
    "deltaworks_retries_total",
    "counter",
    "Attempts that were followed by another one of the same hold.",
    ("upstream", "category", "code"),
)
GIVEN_BACK = Metric(
    "deltaworks_jobs_given_back_total",
    "counter",
    "Jobs put back to the queue: for the limiter, an error's category, or a process that ended.",
    ("lane", "reason"),
)
WAITS = Metric(
    "deltaworks_wait_seconds",
    "summary",
    "Waits of jobs in their slots, by what there was none of; `retry` is between two attempts.",
    ("lane", "reason"),
)

# What a worker process holds and does now.
SLOTS = Metric(
    "deltaworks_slots",
    "gauge",
    "Jobs, or messages of several rows, that the process takes at a time.",
)
HELD = Metric(
    "deltaworks_held_jobs", "gauge", "Jobs that the process holds, waiting or streaming.", ("lane",)
)
OPEN_STREAMS = Metric(
    "deltaworks_open_streams",
    "gauge",
    "Requests under way at upstreams.",
    ("upstream", "lane"),
)
DELTAS = Metric(
    "deltaworks_deltas_total",
    "counter",
    "Deltas that were published, as they were merged, with each attempt's beginning and end.",
    ("lane",),
)
PUBLISH_SECONDS = Metric(
    "deltaworks_publish_seconds",
    "histogram",
    "What publishing adds: from the first delta of a write, as read, to Redis' answer.",
    bounds=QUICK_S,
)
LOOP_LAG = Metric("deltaworks_loop_lag_seconds", "gauge", "How late the process's loop answered.")

# Leases and the fence.
LEASE_LOSSES = Metric(
    "deltaworks_lease_losses_total",
    "counter",
    "Holds that were lost: the lease ran out unrenewed, or the row had been taken.",
    ("reason",),
    (("untrusted",), ("taken",)),
)
RENEWALS_FAILED = Metric(
    "deltaworks_lease_renewals_failed_total",
    "counter",
    "Renewals of all leases of the process that the database did not answer.",
)
FENCED = Metric(
    "deltaworks_fenced_writes_total",
    "counter",
    "Writes of an attempt that was no longer the current one, refused; of cancelled jobs, too.",
    ("where",),
    (("channel",), ("database",)),
)
REBUILT = Metric(
    "deltaworks_logs_rebuilt_total", "counter", "Logs that Redis had lost, written anew."
)

# The limiter.
LIMITER_ANSWERS = Metric(
    "deltaworks_limiter_answers_total",
    "counter",
    "What the limiter was asked for: granted, or what there was none of.",
    ("upstream", "lane", "answer"),
)
LIMITER_DEFERRALS = Metric(
    "deltaworks_limiter_deferrals_total",
    "counter",
    "Attempts that the limiter sent away, by what there was none of.",
    ("upstream", "lane", "reason"),
)
LIMITER_ALONE = Metric(
    "deltaworks_limiter_alone",
    "gauge",
    "1 while Redis is gone and the process keeps to its own part of the limits.",
)
COOL_DOWNS = Metric(
    "deltaworks_cool_downs_total",
    "counter",
    "Cool-downs that this process met; each process counts them for itself.",
    ("upstream",),
)
COOLING = Metric(
    "deltaworks_cooling_seconds",
    "gauge",
    "Seconds that the latest cool-down this process met has yet to last.",
    ("upstream",),
)

# The database, the spool, the sweep.
DATABASE_ERRORS = Metric(
    "deltaworks_database_errors_total",
    "counter",
    "Statements that failed: refused, unsure (perhaps carried out), or by a fault of our own.",
    ("kind",),
    (("refused",), ("unsure",), ("fault",)),
)
SPOOL = Metric(
    "deltaworks_spooled_ends_total",
    "counter",
    "Ends of jobs that waited on disk for the database: kept, refused, settled, lost.",
    ("what",),
)
SWEPT = Metric("deltaworks_sweep_timestamp_seconds", "gauge", "When the process last swept.")
WOKEN = Metric(
    "deltaworks_jobs_woken_total",
    "counter",
    "Wake-ups that the sweep sent: of jobs that were due, or whose first wake-up came to nothing.",
    ("lane",),
)
RESCUED = Metric(
    "deltaworks_jobs_rescued_total", "counter", "Jobs taken back from holders that were silent."
)
DEATHS = Metric(
    "deltaworks_process_deaths_total", "counter", "Worker processes found dead by the sweep."
)

# The gateway and all who read.
READERS = Metric("deltaworks_readers", "gauge", "Readers of jobs at this gateway.")
DROPPED_READERS = Metric(
    "deltaworks_readers_dropped_total",
    "counter",
    "Readers cut off because their connection took nothing.",
)
READER_GAPS = Metric(
    "deltaworks_reader_gaps_total",
    "counter",
    "Subscribers that were too slow for the live messages and had to read the log.",
)
RESPONSES = Metric(
    "deltaworks_gateway_responses_total", "counter", "Responses of the gateway.", ("status",)
)

# What only the whole fleet's books tell: asked by beat, every few seconds.
SURVEYED = Metric(
    "deltaworks_survey_timestamp_seconds", "gauge", "When beat last had the database's answers."
)
QUEUED = Metric(
    "deltaworks_queued_jobs",
    "gauge",
    "Queued jobs, at most 100,000 of each kind counted: `worker` waits for a worker, `moment` "
    "until it is due, `release` for slots of the bulk lane. Rows of batches that have not been "
    "released are in deltaworks_batch_rows.",
    ("lane", "waiting"),
)
OLDEST_QUEUED = Metric(
    "deltaworks_oldest_queued_seconds",
    "gauge",
    "How long the oldest job has waited for a worker since it was accepted, or due; 0 for none. "
    "Rows of batches do not count before they are retried.",
    ("lane",),
)
RUNNING = Metric("deltaworks_running_jobs", "gauge", "Jobs in progress.", ("lane",))
PROCESSES = Metric("deltaworks_worker_processes", "gauge", "Worker processes with a live lease.")
BATCHES = Metric("deltaworks_batches", "gauge", "Batches that have not ended.", ("status",))
PAUSED_BATCHES = Metric(
    "deltaworks_batches_paused", "gauge", "Open batches that are paused.", ("reason",)
)
BATCH_ROWS = Metric(
    "deltaworks_batch_rows",
    "gauge",
    "Rows of batches that have not ended: done, failed, or open.",
    ("state",),
)
BATCH_BEHIND = Metric(
    "deltaworks_batch_behind_seconds",
    "gauge",
    "The batch that is furthest behind: seconds of its window that its rows should have taken "
    "less; negative where all are ahead. Time outside of its run window does not count.",
)
BATCH_LEFT = Metric(
    "deltaworks_batch_window_left_seconds",
    "gauge",
    "Until the first completion window of an open batch is over.",
)
SUSPENSIONS = Metric(
    "deltaworks_suspensions",
    "gauge",
    "Suspensions that stand against an upstream's key.",
    ("upstream", "category"),
)
REDIS_MEMORY = Metric(
    "deltaworks_redis_memory_bytes", "gauge", "Memory that Redis uses.", ("server",)
)
REDIS_MEMORY_MAX = Metric(
    "deltaworks_redis_memory_max_bytes",
    "gauge",
    "Memory that Redis may use: its maxmemory, or all of its machine's where there is none.",
    ("server",),
)
MESSAGES = Metric(
    "deltaworks_broker_messages", "gauge", "Messages that wait in a Redis broker.", ("queue",)
)

ALL = tuple(each for each in list(globals().values()) if isinstance(each, Metric))

# prometheus-client's own, of every process; Linux only.
OF_THE_PROCESS = (
    "process_virtual_memory_bytes",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_cpu_seconds_total",
    "process_open_fds",
    "process_max_fds",
)
