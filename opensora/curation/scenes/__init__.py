"""Scenes: where the cuts and transitions of a video lie."""
