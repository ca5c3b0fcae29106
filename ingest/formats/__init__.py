"""Ingest formats: one file each, bytes in, typed records and refusals out; no I/O."""
