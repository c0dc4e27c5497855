"""What happens after an error: a table that users may override, and one decision by it.

    policy.toml   the packaged table, and what its fields mean
    row           a row and the types of its fields
    lines         where in a file a field stands
    reading       the text of a file -> entries and faults
    checks        fields that do not go together
    table         the policy: the packaged file, a user's on top
    decision      an error, what the job has spent -> retry, suspend or fail
    retrying      the decision as callables for tenacity
    explanation   the decision in sentences, for people

Nothing here does I/O, but for `Policy.load`, which reads the two files.
"""

from worker.policy.decision import Budgets, Decision, Fail, Retry, Suspend, Why, decide
from worker.policy.explanation import Explanation, explain
from worker.policy.retrying import Retries
from worker.policy.row import Origin, Row
from worker.policy.table import Policy

__all__ = [
    "Budgets",
    "Decision",
    "Explanation",
    "Fail",
    "Origin",
    "Policy",
    "Retries",
    "Retry",
    "Row",
    "Suspend",
    "Why",
    "decide",
    "explain",
]
