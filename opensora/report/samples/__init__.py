"""Samples in the report: all of them, what was measured on them, how to make them again."""
