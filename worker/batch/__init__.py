"""Batches: many jobs from one file, on the same queue as all others.

submission  what its owner can do to it
request     what a batch is asked for by
lines       the lines of its file
duplicates  which line used a name first
reading     its file becomes rows
windows     when it may run
limits      what holds it back
fairness    whose rows come next
dispatch    releasing rows as slots become free
tending     leading batches to their end
collecting  results as they stand, those of retried rows among them
results     rows as lines of OpenAI's files
writing     its files of results
document    a batch as its owners see it
report      what became of it, for people
service     all this in one worker process
"""

from worker.batch.service import Batches
from worker.batch.submission import BatchSubmission

__all__ = ["BatchSubmission", "Batches"]
