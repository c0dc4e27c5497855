"""Batches: many jobs from one file."""
