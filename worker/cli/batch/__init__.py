"""`deltaworks batch`: many jobs from one file.

commands    the options; each command imports the room that does its work when it runs
wish        what the options of `submit` ask for, as a request for a batch
prompts     prompts as the lines of a batch's file
source      what a batch is read from
submitting  `submit`
finding     the batch that an id means
showing     `list` and `status`
progress    how far a batch is, in words and numbers
views       progress as a bar, as lines or as JSON
watching    `watch`
steering    `pause`, `resume`, `cancel` and `retry`
saving      `results`
reporting   `report`
"""

from worker.cli.batch.commands import app

__all__ = ["app"]
