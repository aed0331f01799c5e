"""Ready clips as other projects lay them out: one registered class a layout."""

from opensora.curation.readers import folders, settings

__all__ = ["folders", "settings"]
