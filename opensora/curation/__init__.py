"""Curation: from folders of raw videos to one table of clips with captions and scores."""
