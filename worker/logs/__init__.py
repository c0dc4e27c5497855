"""What the processes of this program log, and what they never do.

One line for a record, to standard error: for programs a JSON object, for people time, level and
message (`DELTAWORKS_LOG_FORMAT`). One line for a transition of a job, with its fields:

    error     failed by a fault of our own, or as poison
    warning   rescued; an end that waits in the spool
    info      settled (whatever its state), retrying, given back, lost
    debug     submitted, claimed, started

So a job that meets no trouble costs one line. Prompts and keys are in no line: the arguments of the
task `deltaworks.submit` are prompts, and Celery quotes the bodies of messages it cannot use, so
those records are replaced; the words of exceptions may quote anything, so a traceback is a list of
places. Libraries say what is wrong; what they do well they keep to themselves.

setup      who logs what to where
records    records of the standard library's `logging`, made into lines
steps      transitions made into lines
withheld   what is kept out
"""

from worker.logs.setup import log_as_celery, log_as_command, log_as_process

__all__ = ["log_as_celery", "log_as_command", "log_as_process"]
