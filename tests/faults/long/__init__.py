"""The long form of the fault suite: the same invariants under thousands of jobs.

ours           workers killed every second, a database that crashes every ten
late_ack       the same kills against a plain Celery task
late_ack_task  that task
report         the table, and the page that is kept
"""
