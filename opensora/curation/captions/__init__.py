"""Captions: one captioner per file; importing this package registers them all."""

from opensora.curation.captions import generated, openai, sidecar, template

__all__ = ["generated", "openai", "sidecar", "template"]
