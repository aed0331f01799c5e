"""Ready clips as other projects lay them out: one registered class a layout."""

from opensora.curation.readers import embedded, folders, settings, webdataset

__all__ = ["embedded", "folders", "settings", "webdataset"]
