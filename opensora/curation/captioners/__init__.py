"""Captioners: importing this package registers them all."""

from opensora.curation.captioners import generated, sidecar, template

__all__ = ["generated", "sidecar", "template"]
