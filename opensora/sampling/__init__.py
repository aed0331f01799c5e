"""Sampling: prompts and a checkpoint become videos, a table and one record per sample."""
