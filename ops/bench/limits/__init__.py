"""An upstream's limit, and what several worker processes make of it."""
