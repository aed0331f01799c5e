"""Scorers: importing this package registers them all."""

from opensora.scorers import flow, match, technical

__all__ = ["flow", "match", "technical"]
