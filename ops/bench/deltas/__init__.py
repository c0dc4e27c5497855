"""CPU per delta, and how many a second one process carries, beside everything else that reads."""
