"""Lets Snakemake find the display of opensora: it looks for packages of this name."""

from opensora.dag.display.progress import LogHandler

__all__ = ["LogHandler"]
