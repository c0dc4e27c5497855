"""The report of a batch: what became of its rows, as one page and for a terminal."""
