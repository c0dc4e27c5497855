"""Alembic's environment and the schema's revisions, one file each."""
