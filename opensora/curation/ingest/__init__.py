"""Ingest: find videos and images; every file gets exactly one row."""
