"""What batches cost: reading files in, rows from end to end, what they do to others."""
