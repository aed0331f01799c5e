"""Captioners: importing this package registers them all."""

from opensora.curation.captioners import sidecar, template

__all__ = ["sidecar", "template"]
