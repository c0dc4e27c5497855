"""What work costs: where that is measured, and what its parts cost by themselves."""
