"""Measurements of the parts whose speed is this project's business; run by `opensora bench`."""
