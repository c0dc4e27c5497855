"""The room for the contents of files: what batches are read from, and what they are written to.

folder     contents in a folder of this machine, or of a network, that all processes see
objects    contents at a service that fsspec knows: s3://, gs://, abfs:// and others
storage    the room itself, in either of them: whole contents or none, errors in our own words
threads    the same for a loop: each blocking step in a thread

Rows of files are elsewhere (`worker.store.files`): a content knows nothing but its id.
"""

from worker.files.storage import Storage, new_file_id, storage_of
from worker.files.threads import draft, in_thread, pieces

__all__ = ["Storage", "draft", "in_thread", "new_file_id", "pieces", "storage_of"]
