"""The manifest: which clips become training data, and why the others do not."""
